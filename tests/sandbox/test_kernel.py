"""A kernel behind its tap, from a real client."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from enclave.core.errors import DeniedError, NotFoundError
from enclave.wire.client import WireClient
from enclave.wire.messages import launcher, projects


def _wait(found: Any, *, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def _outcomes(stand: Any, kind: str = "cell.execute") -> list[str]:
    return [event["outcome"] for event in stand.ledger.events(kind=kind)]


@pytest.mark.row("S10.1")
def test_a_cell_runs_in_the_sandbox_and_stands_in_the_ledger(stand: Any, notebook: Any) -> None:
    reply, text = notebook.run("import os; print(os.getuid(), 6 * 7)")
    assert reply["status"] == "ok"
    assert text == "1000 42\n"
    assert _wait(lambda: len(_outcomes(stand)) >= 2)
    events = stand.ledger.events(kind="cell.execute")
    assert [event["outcome"] for event in events] == ["intent", "ok"]
    assert events[0]["cell"] == events[1]["cell"]
    assert events[0]["detail"]["code_hash"]
    assert events[1]["objects"] == ["tables/patients"]
    assert events[1]["detail"]["datasets"] == ["demo-ct@1"]
    (output,) = events[1]["detail"]["outputs"]
    assert output["size"] == len("1000 42\n")


def test_the_broker_hears_which_cell_runs_before_it_runs_and_when_it_ended(stand: Any, notebook: Any) -> None:
    """When a cell asks on the lease socket, its own id stands on the page; when a thread of it does later, none."""
    notebook.run("import enclave_kernel, threading; enclave_kernel.datasets()")
    notebook.run("enclave_kernel.datasets()")
    assert _wait(lambda: stand.far.pages.running(notebook.kernel) is None)
    notebook.run("threading.Timer(0.3, enclave_kernel.datasets).start()")
    assert _wait(lambda: len(stand.far.executions) >= 3)
    cells = [event["cell"] for event in stand.ledger.events(kind="cell.execute", outcome="intent")]
    assert [cell for _, cell in stand.far.executions] == [*cells[:2], None]


def test_a_failed_cell_is_recorded_as_failed_and_aborts_what_waits(stand: Any, notebook: Any) -> None:
    client = notebook.client
    first = client.execute("import time; time.sleep(2); 1 / 0")
    second = client.execute("print('never')")
    assert [notebook.reply(sent)["status"] for sent in (first, second)] == ["error", "aborted"]
    assert _wait(lambda: len(_outcomes(stand)) >= 2)
    assert _outcomes(stand) == ["intent", "failed"]


@pytest.mark.row("S6.1")
def test_a_kernel_has_no_network(notebook: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        _, text = notebook.run(
            "import socket\n"
            "for attempt in (lambda: socket.create_connection(('127.0.0.1', %d), 2),"
            " lambda: socket.getaddrinfo('example.org', 80)):\n"
            "    try: attempt(); print('open')\n"
            "    except OSError: print('closed')\n"
            "print([n for _, n in socket.if_nameindex()], len(open('/proc/net/route').readlines()) - 1)".replace(
                "%d", str(port)
            )
        )
    assert text == "closed\nclosed\n['lo'] 0\n"


def test_a_kernel_is_not_root_on_the_host_and_sees_nobody_else(stand: Any, notebook: Any) -> None:
    (info,) = stand.client.call(launcher.ListKernels()).kernels
    status = Path(f"/proc/{info.host_pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in uids
    assert int(uids[0]) == info.host_uid
    _, text = notebook.run("import os; print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))")
    assert text == "[1, 2]\n"


@pytest.mark.parametrize("channel", ["execute_request", "debug_request", "create_subshell_request"])
def test_the_control_channel_runs_no_code(stand: Any, notebook: Any, channel: str) -> None:
    client = notebook.client
    message = client.session.msg(channel, {"code": "open('/tmp/ran', 'w')", "silent": True})
    client.control_channel.send(message)
    reply = client.get_control_msg(timeout=30)
    assert reply["content"]["status"] == "error"
    _, text = notebook.run("import os; print(os.path.exists('/tmp/ran'))")
    assert text == "False\n"
    kind = "cell.execute" if channel == "execute_request" else "cell.message"
    assert _wait(lambda: stand.ledger.events(kind=kind, outcome="refused"))


@pytest.mark.parametrize("options", [{"silent": True}, {"user_expressions": {"x": "1 + 1"}}, {"store_history": False}])
def test_every_way_to_execute_is_recorded(stand: Any, notebook: Any, options: dict[str, Any]) -> None:
    client = notebook.client
    sent = client.execute("pass", **options)
    notebook.reply(sent)
    assert _wait(lambda: _outcomes(stand)[:1] == ["intent"])


def test_completion_inspection_and_comms_are_recorded_by_kind(stand: Any, notebook: Any) -> None:
    client = notebook.client
    notebook.run("class Trap:\n    def __dir__(self): return ['sprung']\ntrap = Trap()")
    assert "sprung" in str(notebook.reply(client.complete("trap."))["matches"])
    assert notebook.reply(client.inspect("trap"))["status"] == "ok"
    client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": "none", "data": {}}))
    for kind in ("cell.complete", "cell.inspect", "cell.comm"):
        assert _wait(lambda k=kind: _outcomes(stand, k)[:1] == ["intent"]), kind


def test_input_is_recorded_and_reaches_the_cell(stand: Any, notebook: Any) -> None:
    client = notebook.client
    sent = client.execute("answer = input('which? ')", allow_stdin=True)
    assert client.get_stdin_msg(timeout=30)["content"]["prompt"] == "which? "
    client.input("forty")
    notebook.reply(sent)
    _, text = notebook.run("print(answer)")
    assert text == "forty\n"
    assert _outcomes(stand, "cell.input") == ["intent"]


def test_forged_replayed_and_ambiguous_messages_are_refused(stand: Any, notebook: Any) -> None:
    client = notebook.client
    session, channel = client.session, client.shell_channel.socket
    frames = session.serialize(session.msg("execute_request", {"code": "runs = globals().get('runs', 0) + 1"}))
    channel.send_multipart(frames)
    channel.send_multipart(frames)  # replayed
    channel.send_multipart([frames[0], b"0" * 64, *frames[2:]])  # another signature
    twice = [*frames[2:5], b'{"code": "runs = 50", "code": "runs = 60"}']
    channel.send_multipart([frames[0], session.sign(twice), *twice])  # two readings
    _, text = notebook.run("print(runs)")
    assert text == "1\n"
    refused = _wait(lambda: len(stand.ledger.events(kind="cell.message", outcome="refused")) == 3)
    assert refused
    reasons = sorted(event["reason"] for event in stand.ledger.events(kind="cell.message"))
    assert reasons == ["bad_signature", "malformed", "replayed"]


def test_an_interrupt_ends_a_cell_and_not_the_kernel(notebook: Any) -> None:
    notebook.run("mark = 7")
    sent = notebook.begin("import time\nwhile True: time.sleep(0.01)")
    notebook.manager.interrupt_kernel()
    assert notebook.reply(sent)["ename"] == "KeyboardInterrupt"
    assert notebook.run("print(mark)")[1] == "7\n"


def test_a_restart_keeps_the_endpoints_and_forgets_the_state(stand: Any, notebook: Any) -> None:
    notebook.run("mark = 7")
    before = notebook.manager.get_connection_info()
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=20)
    assert notebook.manager.get_connection_info() == before
    assert notebook.run("print('mark' in globals())")[1] == "False\n"
    assert len(stand.client.call(launcher.ListKernels()).kernels) == 1


def test_shutdown_leaves_no_orphan(stand: Any, notebook: Any) -> None:
    notebook.run("import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)")
    running = stand.descendants()
    assert len(running) >= 4  # bwrap, pid 1 inside, the interpreter, sleep, the tap
    notebook.manager.shutdown_kernel(now=True)
    assert _wait(lambda: not [pid for pid in running if Path(f"/proc/{pid}").exists()])
    assert stand.client.call(launcher.ListKernels()).kernels == ()
    assert _wait(lambda: len(stand.far.closed) == 2)


def test_a_killed_launcher_takes_its_kernels_along(stand: Any, notebook: Any) -> None:
    running = stand.descendants()
    stand.process.send_signal(signal.SIGKILL)
    stand.process.wait(5)
    assert _wait(lambda: not [pid for pid in running if Path(f"/proc/{pid}").exists()])
    notebook.manager.provisioner.ended = True


def test_end_kernel_kills_at_once_and_says_why(stand: Any, notebook: Any) -> None:
    sent = notebook.begin("import os, signal\nos.kill(1, signal.SIGSTOP)\nwhile True: pass")
    stand.client.call(launcher.EndKernel(kernel=notebook.kernel, reason="certificate_revoked"))
    reply = notebook.reply(sent)
    assert "certificate_revoked" in reply["evalue"]
    stops = _wait(lambda: stand.ledger.events(kind="kernel.stop"))
    assert stops[0]["reason"] == "certificate_revoked"
    assert _wait(lambda: _outcomes(stand) == ["intent", "failed"])


@pytest.mark.slow
def test_a_kernel_that_eats_memory_ends_with_a_reason(stand: Any, notebook: Any) -> None:
    if stand.limits() == "rlimits":
        reply, _ = notebook.run("b = bytearray(6 << 30)")
        assert reply["ename"] == "MemoryError"
        return
    sent = notebook.client.execute("b = bytearray(6 << 30)\nfor i in range(0, len(b), 4096): b[i] = 1")
    told = notebook.reply(sent, timeout=60)["evalue"]
    assert "memory_limit" in told
    assert "used more than its 4096 MB of memory" in told
    assert "read less at once" in told


@pytest.mark.row("S7.1")
def test_somebody_outside_of_every_project_gets_no_kernel(stand: Any) -> None:
    stand.far.projects = ()
    client = WireClient(stand.service_socket())
    with pytest.raises(DeniedError) as refusal:
        client.call(launcher.StartKernel(project="demo"))
    assert refusal.value.code == "not_a_member"
    (event,) = stand.ledger.events(kind="kernel.start")
    assert (event["outcome"], event["reason"]) == ("refused", "not_a_member")


def test_a_closed_project_starts_no_kernel(stand: Any) -> None:
    stand.far.projects = (projects.Project(name="demo", title="", purpose="", state="closed", members={}),)
    with pytest.raises(DeniedError) as refusal:
        WireClient(stand.service_socket()).call(launcher.StartKernel(project="demo"))
    assert refusal.value.code == "project_not_open"


def test_a_kernel_is_nobody_elses(stand: Any, notebook: Any) -> None:
    other = WireClient(stand.home.socket("launcherd"))
    path = other.call(launcher.OpenServiceSocket(service="other")).socket
    client = WireClient(Path(path))
    for message in (launcher.PollKernel, launcher.InterruptKernel, launcher.RestartKernel):
        with pytest.raises(NotFoundError):
            client.call(message(kernel=notebook.kernel))
    with pytest.raises(NotFoundError):
        client.call(launcher.NameNotebook(kernel=notebook.kernel, notebook="mine.ipynb"))
    assert [one["reason"] for one in stand.ledger.events(kind="kernel.reach")] == ["kernel_of_another"] * 4
    client.call(launcher.StopKernel(kernel=notebook.kernel))
    assert notebook.run("print(1)")[1] == "1\n"


def test_a_person_socket_ends_with_the_connection_that_asked_for_it(stand: Any) -> None:
    asking = WireClient(stand.home.socket("launcherd"))
    path = Path(asking.call(launcher.OpenServiceSocket(service="reports")).socket)
    kernel = WireClient(path).call(launcher.StartKernel(project="demo")).kernel
    assert kernel
    running = stand.descendants()
    asking.close()
    assert _wait(lambda: not path.exists())
    assert _wait(lambda: not [pid for pid in running if Path(f"/proc/{pid}").exists()])


def test_no_mode_of_the_checkout_changes(stand: Any, notebook: Any) -> None:
    import enclave

    root = Path(next(iter(enclave.__path__))).parent
    before = {path: path.stat().st_mode for path in (root, root / "enclave", root / "kernels")}
    notebook.run("pass")
    assert {path: path.stat().st_mode for path in before} == before
    assert not os.path.ismount(root / "enclave")


def test_a_dead_tap_takes_the_kernel_along_and_a_restart_brings_both_back(stand: Any, notebook: Any) -> None:
    (tap,) = [pid for pid in stand.descendants() if b"enclave.cli.tap" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(tap, signal.SIGKILL)
    socket_path = Path(os.environ["ENCLAVE_LAUNCHER_SOCKET"])
    ask = WireClient(socket_path)
    assert _wait(lambda: ask.call(launcher.PollKernel(kernel=notebook.kernel)).exit_code is not None)
    assert "tap" in ask.call(launcher.PollKernel(kernel=notebook.kernel)).reason
    notebook.manager.restart_kernel(now=True)
    notebook.client.stop_channels()
    notebook.client = notebook.manager.blocking_client()
    notebook.client.start_channels()
    notebook.client.wait_for_ready(timeout=20)
    assert notebook.run("print(1)")[1] == "1\n"


@pytest.mark.slow
@pytest.mark.row("S7.3")
@pytest.mark.parametrize("launcher_settings", ["[launcher.kernel]\nidle_s = 2.0\n"])
def test_an_unused_kernel_is_given_back(stand: Any, notebook: Any) -> None:
    notebook.run("import time; time.sleep(2.5)")
    stops = _wait(lambda: stand.ledger.events(kind="kernel.stop"), seconds=60)
    assert stops[0]["reason"] == "idle"
    assert stand.client.call(launcher.ListKernels()).kernels == ()
