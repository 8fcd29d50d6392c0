"""What a real kernel's notebook shows, what it does not, and that the ledger knows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from enclave.core.errors import IntegrityError
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log
from enclave.sandbox import display_budgets
from enclave.sandbox.display_budgets import DisplayBudgets
from enclave.sandbox.tap.amounts import NOTHING, Amount
from enclave.sandbox.tap.policy import DisplayPolicy
from enclave.wire.messages import launcher

SMALL = """
[launcher.display]
html_kb = 64
cell = { mb = 1, images = 2, rows = 1000 }
hour = { mb = 3, images = 4, rows = 2500 }
day = { mb = 100, images = 100, rows = 100000 }
freeze_after = 3
"""
PICTURE = (
    "import base64, zlib, struct\n"
    "def part(k, d): return struct.pack('>I', len(d)) + k + d + struct.pack('>I', zlib.crc32(k + d))\n"
    "PNG = b'\\x89PNG\\r\\n\\x1a\\n' + part(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0))"
    " + part(b'IDAT', zlib.compress(b'\\0\\0')) + part(b'IEND', b'')\n"
    "from IPython.display import display, Image, HTML, SVG, Javascript\n"
)


def _wait(found: Any, *, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def shown(notebook: Any, code: str) -> list[dict[str, Any]]:
    """All messages of one cell on iopub, as a client gets them."""
    found: list[dict[str, Any]] = []
    notebook.client.execute_interactive(code, timeout=30, output_hook=found.append)
    return found


def bundles(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["content"]["data"] for one in messages if "data" in one["content"]]


def refusals(stand: Any, count: int) -> list[dict[str, Any]]:
    _wait(lambda: len(stand.ledger.events(kind="output.refused")) >= count)
    return stand.ledger.events(kind="output.refused")


def test_text_pictures_and_tables_are_shown_and_nothing_that_runs(stand: Any, notebook: Any) -> None:
    notebook.run(PICTURE)
    code = (
        "display(Image(PNG + b'hidden tail'))\n"
        "display(HTML('<table><tr><td onclick=\"x()\">7</td></tr></table><script>steal()</script>'))\n"
        "display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><script>steal()</script></svg>'))\n"
        "display(Javascript('steal()'))\n"
        "display({'application/json': {'x': 1}}, raw=True)\n"
        "print(42)"
    )
    messages = shown(notebook, code)
    text = json.dumps([one["content"] for one in messages if one["msg_type"] != "execute_input"])
    assert "steal" not in text
    assert "hidden tail" not in text
    picture, table, *rest = bundles(messages)
    assert set(picture) == {"image/png", "text/plain"}
    assert table["text/html"] == "<table><tr><td>7</td></tr></table>"
    assert [set(one) for one in rest] == [{"text/plain"}] * 3
    assert {"name": "stdout", "text": "42\n"} in [one["content"] for one in messages]
    reasons = {(one["reason"], one["detail"]["mime"]) for one in refusals(stand, 3)}
    assert {("mime_type", "image/svg+xml"), ("mime_type", "application/javascript")} <= reasons
    assert _wait(lambda: stand.ledger.events(kind="output.cleaned"))
    end = _wait(
        lambda: [e for e in stand.ledger.events(kind="cell.execute", outcome="ok") if e["detail"]["outputs_refused"]]
    )
    assert end[0]["detail"]["outputs_refused"] == 3


def test_a_widget_and_its_comms_become_one_line_of_text(stand: Any, notebook: Any) -> None:
    code = (
        "from comm import create_comm\n"
        "c = create_comm(target_name='jupyter.widget', data={'state': {}})\n"
        "[c.send({'value': n}) for n in range(50)]\n"
        "view = {'application/vnd.jupyter.widget-view+json': {'model_id': c.comm_id}, 'text/plain': 'HBox()'}\n"
        "display(view, raw=True)"
    )
    messages = shown(notebook, code)
    assert not [one for one in messages if one["msg_type"].startswith("comm")]
    (data,) = bundles(messages)
    assert data["text/plain"].startswith("HBox()\n[enclave] Shown as text")
    found = {(one["reason"], one["detail"]["mime"]) for one in refusals(stand, 2)}
    assert ("comm", "comm_open") in found
    assert len(refusals(stand, 2)) <= 4  # fifty messages, each rule and type once


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_a_cell_is_warned_then_cut_and_the_next_one_shows_again(stand: Any, notebook: Any) -> None:
    _, text = notebook.run("for n in range(5): print('x' * 200_000, flush=True)\nprint('y' * 200_000)\nprint('end')")
    assert "80 % of what this cell may show is used" in text
    assert "Rule cell_budget: the bytes" in text
    assert "end" not in text
    assert "Left for this cell" in text
    assert notebook.run("print(7)")[1] == "7\n"
    reasons = [(one["reason"], one["detail"]["measure"]) for one in refusals(stand, 1)]
    assert reasons == [("cell_budget", "bytes")]
    assert _wait(lambda: stand.ledger.events(kind="output.warned"))


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_pictures_and_rows_have_budgets_of_their_own(stand: Any, notebook: Any) -> None:
    notebook.run(PICTURE)
    data = bundles(shown(notebook, "for _ in range(4): display(Image(PNG))"))
    assert [("image/png" in one) for one in data] == [True, True, False]
    assert "the pictures that this cell may show are spent" in data[2]["text/plain"]
    _, text = notebook.run("for n in range(30): print('\\n' * 60, flush=True)")
    assert "the rows that this cell may show are spent" in text
    assert {one["detail"]["measure"] for one in refusals(stand, 2)} == {"images", "rows"}


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_the_hours_budget_holds_over_a_restart_and_a_second_kernel_and_then_freezes(
    stand: Any, notebook: Any, notebook_on: Any
) -> None:
    _wait(lambda: time.time() % 3600 < 3540, seconds=61)  # an hour that ends meanwhile gives the budget back
    for _ in range(2):
        notebook.run("print('x' * 900_000)")
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=20)
    other = notebook_on(stand.service_socket())
    try:
        for _ in range(3):
            text = other.run("print('x' * 900_000)")[1]
            if "hour_budget" in text:
                break
        assert "Rule hour_budget: the bytes that this hour may show are spent" in text
        assert "for this hour" in text
        # What its tap had drawn before the other asked may still be shown, once.
        assert any("Rule hour_budget" in notebook.run("print('x' * 900_000)")[1] for _ in range(2))
        assert notebook.run("6 * 7")[1] == "42"  # small outputs still fit
        for _ in range(3):
            reply, _ = other.run("print('x' * 900_000)")
        assert _wait(lambda: stand.ledger.events(kind="kernel.freeze", outcome="ok"))
        reply, text = other.run("print(1)")
        if reply["status"] == "ok":
            reply, text = other.run("print(1)")
        assert reply["ename"] == "KernelFrozen"
        assert "display_budget" in text
    finally:
        other.close()
    (event,) = stand.ledger.events(kind="kernel.freeze", outcome="ok")
    assert event["reason"] == "display_budget"


@pytest.mark.parametrize("launcher_settings", [SMALL + '\n[launcher.display_of.demo]\nmime_types = ["text/plain"]\n'])
def test_a_project_has_a_list_of_its_own(stand: Any, notebook: Any) -> None:
    (data,) = bundles(shown(notebook, "from IPython.display import HTML\nHTML('<b>x</b>')"))
    assert set(data) == {"text/plain"}
    assert "Shown as text" in data["text/plain"]


def test_budgets_survive_a_restart_of_the_launcher(tmp_path: Path) -> None:
    path = tmp_path / "display.json"

    def begin() -> DisplayBudgets:
        return DisplayBudgets(path, default=DisplayPolicy(), changes={}, clock=SystemClock(), log=Log("test"))

    first = begin()
    first.draw("rosa", "demo", need=Amount(1 << 20, 3, 5), spare=NOTHING)
    first.refused("rosa", "demo")
    first.close()
    second = begin()
    assert second.left("rosa", "demo")["hour"] == [1023 << 20, 997, 1_999_995]
    assert second.left("rita", "demo")["hour"] == [1024 << 20, 1000, 2_000_000]
    second.close()
    path.write_text("{")
    with pytest.raises(IntegrityError):
        begin()


def test_the_end_of_a_lease_is_told_before_the_kernel_ends_and_to_every_cell_after(stand: Any, notebook: Any) -> None:
    client = notebook.client
    sent = notebook.begin("import time; time.sleep(600)")
    stand.client.call(launcher.EndKernel(kernel=notebook.kernel, reason="grant_revoked"))
    order = []
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") != sent:
            continue
        if message["msg_type"] == "stream":
            order.append("told")
            text = message["content"]["text"]
        elif message["msg_type"] == "error":
            order.append("ended")
            break
    assert order == ["told", "ended"]
    for part in (
        "the grant to a dataset that it had open was revoked (grant_revoked)",
        "Since 20",
        "Ask a data steward",
    ):
        assert part in text
    notebook.reply(sent)
    reply, _ = notebook.run("1")
    assert reply["ename"] == "KernelEnded"
    assert "grant_revoked" in reply["evalue"]


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_a_kernel_can_ask_how_much_output_is_left_and_cannot_change_it(stand: Any, notebook: Any) -> None:
    notebook.run("import json, enclave_kernel as enclave")

    def left() -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = json.loads(notebook.run("print(json.dumps(enclave.output_budget()))")[1])
        return found

    before = left()
    assert before["cell"] == {"bytes": 1 << 20, "images": 2, "rows": 1000}
    assert set(before) == {"cell", "hour", "day"}
    assert before["day"]["rows"] <= 100_000
    for _ in range(3):
        notebook.run("print('x' * 900_000)")
    after = _wait(lambda: (now := left())["hour"]["bytes"] < before["hour"]["bytes"] - 500_000 and now, seconds=30)
    assert after["day"]["bytes"] < before["day"]["bytes"]
    for attempt in (
        "open('/run/enclave/output-budget.json', 'w')",
        "__import__('os').unlink('/run/enclave/output-budget.json')",
    ):
        assert "Error" in notebook.run(attempt)[1]
    assert left()["cell"] == before["cell"]


FORGED = (
    "k = get_ipython().kernel; W = 'hid' + 'den'; own = k.get_parent()\n"
    "def say(kind, content, parent, **header):\n"
    "    m = k.session.msg(kind, content, header={**k.session.msg_header(kind), **header}, parent=parent)\n"
    "    k.session.send(k.iopub_socket, m, ident=W.encode())\n"
    "for parent in (own, {}, {'msg_id': own['header']['msg_id'], 'date': W, 'more': W}):\n"
    "    say('execute_input', {'code': W, 'execution_count': 1 << 900}, parent)\n"
    "    say('status', {'execution_state': 'busy', 'more': W}, parent, username=W, more=W)\n"
    "    say('display_data', {'data': {'x/' + W: W}, 'metadata': {}, 'transient': {}}, parent, more=W)\n"
    "    say('stream', {'name': 'stdout', 'text': 'se' + 'en'}, parent, session=W)\n"
    "print('end', flush=True)"
)


def test_header_topic_parent_echo_and_counts_of_a_kernel_reach_no_client(stand: Any, notebook: Any) -> None:
    heard = zmq.Context.instance().socket(zmq.SUB)
    heard.connect(f"ipc://{notebook.manager.get_connection_info()['ip']}-2")
    heard.subscribe(b"")
    assert heard.poll(5000)  # our subscription stands
    notebook.run(FORGED)
    frames: list[bytes] = []
    while not any(b'end\\n"}' in one for one in frames):
        assert heard.poll(5000)
        frames += heard.recv_multipart()
    heard.close(linger=0)
    assert sum(one.count(b"seen") for one in frames) == 3
    assert sum(b"[enclave] Not shown" in one for one in frames) == 3
    assert not [one for one in frames if b"hidden" in one or str(1 << 900)[:20].encode() in one]


SPY = (
    "k = get_ipython().kernel; seen = []\n"
    "def spy(stream, ident, parent):\n"
    "    seen.append((ident, parent))\n"
    "    for n in range(3): k.session.send(stream, 'history_reply', {'status': 'ok', 'history': [n]}, parent, ident)\n"
    "k.shell_handlers['history_request'] = spy"
)


def test_what_is_not_recorded_tells_a_kernel_nothing_and_is_answered_once(stand: Any, notebook: Any) -> None:
    notebook.run(SPY)
    client = notebook.client
    content = {"hist_access_type": "search", "pattern": "hidden", "code": "hidden", "n": 1 << 900, "raw": "hidden"}
    sent = client.session.msg("history_request", content, metadata={"code": "hidden"})
    sent["header"] |= {"username": "hidden", "more": "hidden", "msg_id": f"hidden-{sent['header']['msg_id']}"}
    client.session.send(client.shell_channel.socket, sent, buffers=[b"hidden"])
    assert notebook.reply(sent["header"]["msg_id"])["history"] == [0]
    told, text = notebook.run(
        "print(len(seen), [s for s in ('hid' + 'den',) if s in str(seen)], str(1 << 900) in str(seen))"
    )
    assert (told["status"], text) == ("ok", "1 [] False\n")
    assert not client.shell_channel.msg_ready()


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_answers_are_held_to_the_budgets_as_outputs_are(stand: Any, notebook: Any) -> None:
    """As many as one likes, however small each is."""
    notebook.run(
        "k = get_ipython().kernel\n"
        "def answer(stream, ident, parent):\n"
        "    k.session.send(stream, 'history_reply', {'status': 'ok', 'history': ['v' * 4000]}, parent, ident)\n"
        "k.shell_handlers['history_request'] = answer"
    )
    shown = 0
    for _ in range(3):
        notebook.run("pass")  # what stands between two cells has the budget of one
        shown += sum(len(notebook.reply(notebook.client.history(n=1))["history"]) for _ in range(280))
    assert shown * 4000 < 3 << 20
    assert notebook.reply(notebook.client.history(n=1))["history"] == []


def test_a_heartbeat_says_that_a_kernel_lives_and_carries_nothing_long(stand: Any, notebook: Any) -> None:
    beat = zmq.Context.instance().socket(zmq.DEALER)
    beat.connect(f"ipc://{notebook.manager.get_connection_info()['ip']}-5")
    beat.send_multipart([b"", b"own bytes"])
    assert beat.poll(5000)
    assert beat.recv_multipart() == [b"", b"own bytes"]
    beat.send_multipart([b"", b"x" * 2000])
    assert not beat.poll(500)
    beat.close(linger=0)


def test_budgets_that_the_disk_did_not_take_are_written_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display_budgets, "SAVE_S", 0.01)
    write, full = display_budgets.write_whole, [True]

    def refuse(path: Path, data: bytes) -> None:
        if full[0]:
            raise OSError(28, "no space left")
        write(path, data)

    monkeypatch.setattr(display_budgets, "write_whole", refuse)
    path = tmp_path / "display.json"
    budgets = DisplayBudgets(path, default=DisplayPolicy(), changes={}, clock=SystemClock(), log=Log("test"))
    budgets.draw("rosa", "demo", need=Amount(100), spare=NOTHING)
    time.sleep(0.1)
    full[0] = False
    assert _wait(lambda: path.exists() and b"rosa" in path.read_bytes(), seconds=10)
    budgets.close()
