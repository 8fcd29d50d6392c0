"""Code as the single-user server: with its uid, in its namespaces, with its token, on its sockets."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from enclave.cli.demo_people import token_for
from enclave.core.errors import DeniedError
from enclave.runtime.home import Home
from enclave.sandbox.runtime_mounts import neutral_path
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, audit, intake, launcher, projects, reports

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("inside_server.py")
OWN_SOCKETS = ("/run/enclave/hub.sock", "/run/enclave/launcher.sock", "/run/enclave/server.sock")
ENVIRONMENT = {"ENCLAVE_LAUNCHER_SOCKET", "HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PWD", "SHELL", "USER"} | {
    "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"
}  # fmt: skip


def inode(path: Path) -> str:
    found = path.lstat()
    return f"{found.st_dev}:{found.st_ino}"


@pytest.fixture(scope="module")
def foreign_kernel(enclave: Any) -> Iterator[str]:
    """A kernel of somebody else: of a service, as reports have them."""
    client = enclave.launcher()
    socket_path = Path(client.call(launcher.OpenServiceSocket(service="reports")).socket)
    own = WireClient(socket_path, timeout_s=60)
    yield own.call(launcher.StartKernel(project="demo", path="demo/x.ipynb")).kernel
    own.close()
    client.close()


@pytest.fixture(scope="module")
def facts(enclave: Any, server: Any, foreign_kernel: str, request_names: tuple[str, ...]) -> dict[str, Any]:
    """What a well-informed attacker knows from outside."""
    home: Home = enclave.home
    secrets = [home.key_file("kek"), home.state("audit") / "segments", home.settings_file, home.state("demo")]
    return {
        "paths": [*map(str, (home.root, home.run_dir, *secrets)), "/etc/shadow", str(Path(__file__).parents[2])],
        "host_pids": [os.getpid(), enclave.status()["supervisor"], *enclave.status()["pids"].values()],
        "ports": list(range(enclave.port, enclave.port + 6)),
        "abstract": f"enclave-attack-{os.getpid()}",
        "foreign_kernel": foreign_kernel,
        "server": next((home.run_dir / "servers").iterdir()).name,
        "requests": [name for name in request_names if not name.startswith(("kernel.", "launcher."))],
        "sockets": [*map(str, home.run_dir.glob("*.sock")), str(neutral_path(home) / "run" / "auditd.sock")],
        "tokens": {"olga": token_for(home, "olga"), "nobody": "0" * 32},
    }


@pytest.fixture(scope="module")
def found(enclave: Any, server: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """What the attacker got; each part is one test below."""
    parts = ["files", "paths", "processes", "environment", "network", "launcher", "frames", "daemons", "hub", "tap"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + facts["abstract"])
        listener.listen()
        result: dict[str, Any] = server.run(SCRIPT, {**facts, "parts": [*parts, "limits"]})
    broken = {name: value for name, value in result.items() if isinstance(value, str)}
    assert broken == {}
    return result


def test_no_file_of_the_home_is_seen_but_the_persons_own_code(enclave: Any, found: dict[str, Any]) -> None:
    root = enclave.home.root
    seen = set(found["files"]["inodes"])
    assert len(seen) > 1000
    places = {*root.rglob("*"), *enclave.home.run_dir.rglob("*")}
    hits = {path for path in places if not path.is_dir() and inode(path) in seen}
    servers = enclave.home.run_dir / "servers"
    assert {path for path in hits if path.is_relative_to(servers)}  # it would notice
    assert {path for path in hits if not path.is_relative_to(servers)} == set()
    assert found["files"]["keys"] == []


def test_no_socket_is_seen_but_its_own_three_and_its_own_kernels(found: dict[str, Any]) -> None:
    others = [
        path
        for path in found["files"]["sockets"]
        if path not in OWN_SOCKETS and not path.startswith("/run/enclave/kernels/")
    ]
    assert others == []
    assert {result for result in found["daemons"].values() if not result.startswith("error: ")} == set()


def test_nothing_of_the_host_opens_by_name_by_detour_or_by_link(found: dict[str, Any]) -> None:
    assert found["paths"] == {}


def test_it_writes_nowhere_but_in_memory_its_code_and_its_socket_folder(found: dict[str, Any]) -> None:
    allowed = ("/dev/pts", "/dev/shm", "/home/person", "/run/enclave", "/tmp")
    outside = [path for path in found["files"]["writable"] if not path.startswith(allowed)]
    assert outside == []
    assert [path for path in found["files"]["writable"] if path.startswith("/run/enclave/")] == []


def test_no_process_of_anyone_else_is_seen_or_reached(found: dict[str, Any]) -> None:
    own = str(found["processes"]["own"])
    foreign = {pid: line for pid, line in found["processes"]["lines"].items() if pid != own}
    assert foreign
    assert all("jupyterhub.singleuser" in line for line in foreign.values())
    assert found["processes"]["reached"] == []
    opened = [what for what, got in found["processes"]["memory"].items() if not got.startswith("error")]
    assert {what.split("/")[0] for what in opened} == {own}


def test_it_holds_no_right_and_gains_none(found: dict[str, Any]) -> None:
    assert int(found["limits"]["caps"], 16) == 0
    assert found["limits"]["gained"].startswith("error")
    assert found["limits"]["core"][0] == 0
    assert found["limits"]["uid_map"] == "1"


def test_there_is_no_network(found: dict[str, Any]) -> None:
    network = found["network"]
    assert (network["ports"], network["interfaces"], network["routes"]) == ([], ["lo"], 0)
    assert network["abstract"].startswith("error")
    assert network["names"].startswith("error")


def test_its_environment_holds_its_own_token_and_no_other_secret(enclave: Any, found: dict[str, Any]) -> None:
    environment: dict[str, str] = found["environment"]
    assert {name for name in environment if not name.startswith("JUPYTERHUB_")} <= ENVIRONMENT
    values = "\n".join(environment.values())
    home = enclave.home
    files = [*home.state("hub").glob("*.*"), *home.state("keys").glob("*.key")]
    secrets = [
        path.read_text().split()[-1] for path in files if path.suffix in (".client", ".token", ".secret", ".key")
    ]
    assert len(secrets) >= 10
    assert [secret for secret in secrets if secret in values] == []
    assert str(home.root) not in values


def test_the_launcher_refuses_it_every_request_of_a_daemon(enclave: Any, found: dict[str, Any]) -> None:
    of_daemons = {
        name: got for name, got in found["launcher"].items() if "." not in name or name.startswith("foreign ")
    }
    assert len(of_daemons) > 40
    assert set(of_daemons.values()) == {"invalid/invalid"}


def test_another_ones_kernel_stays_unknown_and_runs_on(
    enclave: Any, found: dict[str, Any], foreign_kernel: str
) -> None:
    got = found["launcher"]
    for act in ("poll", "interrupt", "restart", "kill"):
        assert got[f"other.{act}"] == "not_found/not_found"
    assert foreign_kernel not in got["other.list"]
    assert foreign_kernel in {kernel.kernel for kernel in enclave.kernels()}


def test_a_kernel_for_another_project_person_or_place_is_refused(enclave: Any, found: dict[str, Any]) -> None:
    got = found["launcher"]
    assert got["start.other_project"] == "denied/not_a_member"
    for what in ("service", "traversal", "absolute", "role", "nul", "line", "terminal"):
        assert got[f"start.{what}"] == "invalid/invalid", what
    assert enclave.events(kind="kernel.start", outcome="refused", reason="not_a_member", actor="rosa")


def test_what_is_no_message_ends_its_connection_and_nothing_else(found: dict[str, Any]) -> None:
    frames = dict(found["frames"])
    assert frames.pop("after") == '{"kernels": '
    assert frames.pop("with_150_waiting").startswith(("closed", "error"))  # the limit is its own socket's
    assert set(frames.values()) == {"closed", "invalid/invalid"}


def test_the_gate_passes_four_requests_about_this_person_to_the_hub(found: dict[str, Any]) -> None:
    hub = dict(found["hub"])
    assert hub.pop("smuggled") == [400]
    allowed = {name: hub.pop(name) for name in list(hub) if name.startswith("allowed ")}
    assert {status for status in allowed.values() if status >= 300} == set()
    assert hub.pop("user with the token of nobody") == 403
    assert set(hub.values()) <= {400, 403, 404}, {name: status for name, status in hub.items() if status < 400}


def test_what_the_gate_refused_is_in_the_ledger(enclave: Any, found: dict[str, Any]) -> None:
    refused = enclave.events(kind="gate.refused", outcome="refused", actor="rosa")
    reasons = Counter(event["reason"] for event in refused)
    assert {"not_listed", "foreign_client", "foreign_person", "body_too_large"} <= set(reasons)


def test_the_tap_runs_nothing_that_is_unsigned_repeated_or_on_another_channel(
    enclave: Any, found: dict[str, Any]
) -> None:
    tap = found["tap"]
    assert (tap["honest"], tap["still_works"]) == ("ok", "ok")
    for name in ("replayed", "wrong_key", "no_key", "no_delimiter", "few_parts"):
        assert tap[name] == "no answer", name
    for name in ("on_control", "debug", "subshell", "unknown", "large"):
        assert tap[name] == "error EnclaveRefused", name
    events = [event for event in enclave.events(outcome="refused") if event.get("kernel") == tap["kernel"]]
    reasons = {event["reason"] for event in events}
    assert {"replayed", "bad_signature", "malformed", "message_not_allowed", "cell_too_large"} <= reasons
    ran = [event for event in enclave.events(kind="cell.execute", outcome="ok") if event["kernel"] == tap["kernel"]]
    assert len(ran) == 2


def test_its_token_gives_nothing_of_the_hub_but_its_own_name_and_activity(enclave: Any, found: dict[str, Any]) -> None:
    token = found["environment"]["JUPYTERHUB_API_TOKEN"]
    with httpx.Client(
        base_url=f"http://127.0.0.1:{enclave.port}/hub/api", headers={"Authorization": f"token {token}"}
    ) as hub:
        scopes = hub.get("/user").json()["scopes"]
        assert scopes
        assert [scope for scope in scopes if not scope.endswith(("!user=rosa", "!server=rosa/"))] == []
        assert [
            scope for scope in scopes if scope.startswith(("custom:", "admin", "servers", "tokens", "delete"))
        ] == []
        asked = [
            hub.get("/users"), hub.get("/users/olga"), hub.get("/groups"), hub.get("/services"), hub.get("/proxy"),
            hub.post("/users/rosa/server", json={}), hub.delete("/users/rosa/server"),
            hub.post("/users/rosa/tokens", json={}), hub.post("/users/olga/tokens", json={}),
            hub.post("/users/rosa/tokens", json={"scopes": ["custom:enclave:researcher"]}),
            hub.post("/users/olga/activity", json={"last_activity": "2026-01-01T00:00:00Z"}),
            hub.post("/shutdown", json={}), hub.patch("/users/rosa", json={"admin": True}),
        ]  # fmt: skip
    assert {answer.status_code for answer in asked} <= {403, 404}


def test_its_token_is_worth_nothing_to_any_daemon(enclave: Any, found: dict[str, Any]) -> None:
    token = found["environment"]["JUPYTERHUB_API_TOKEN"]
    before = len(enclave.events(outcome="refused"))
    asked: list[tuple[str, Any]] = [
        ("airlockd", airlock.ListRequests(token=token)),
        ("auditd", audit.Query(token=token, sql="SELECT 1")),
        ("registryd", projects.ShowProject(token=token, name="demo")),
        ("registryd", projects.CreateProject(token=token, name="mine", title="Mine", purpose="Mine.")),
        ("intaked", intake.AddBatch(token=token, directory="/", dataset="demo-ct", recipe="demo")),
        ("reportd", reports.ListRuns(token=token)),
    ]
    for daemon, message in asked:
        client = WireClient(enclave.home.socket(daemon), timeout_s=20)
        with pytest.raises(DeniedError):
            client.call(message)
        client.close()
    refused = [event for event in enclave.events(outcome="refused")[before:] if event["actor"] == "rosa"]
    assert len(refused) >= len(asked)


def test_a_link_in_place_of_its_socket_leads_the_gate_nowhere(enclave: Any, server: Any, rosa: Any) -> None:
    """The gate is a process that daemons know. What it sends first is HTTP, which is no frame of theirs."""
    view = neutral_path(enclave.home) / "run" if os.getuid() == 0 else enclave.home.run_dir
    behind = {name: str(view / f"{name}.sock") for name in ("auditd", "launcherd", "brokerd")}
    before = len(enclave.events())
    pids = enclave.status()["pids"]
    statuses: list[int] = []

    def browse() -> None:
        statuses.extend(rosa.get("/user/rosa/api").status_code for _ in range(8))

    asking = threading.Thread(target=browse)
    asking.start()
    facts = {"behind_links": behind, "link_s": 0.4, "parts": ["links"]}
    assert server.run(SCRIPT, facts)["links"] == dict.fromkeys(behind, "set")
    asking.join(30)
    assert rosa.get("/user/rosa/api").status_code == 200
    assert statuses
    assert enclave.status()["pids"] == pids
    new = enclave.events()[before:]
    assert {event["kind"] for event in new} <= {"gate.refused", "login.grant", "login.ok"}, json.dumps(new)[:500]
