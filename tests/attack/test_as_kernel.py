"""Code as the kernel: in a cell, on the kernel's two sockets, with the memory it was lent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave.core.ids import VersionName
from enclave.keys.uri import file_uri
from enclave.sandbox.runtime_mounts import neutral_path
from enclave.sealed.reader import open_unwrapper, open_version
from enclave.sealed.store import SealedStore

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("inside_kernel.py")
FORGED = "f" * 32
ENVIRONMENT = {
    "HOME", "USER", "PATH", "LANG", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYDEVD_DISABLE_FILE_VALIDATION",
    "PYDEVD_USE_FRAME_EVAL", "IPYTHONDIR", "MPLCONFIGDIR", "MPLBACKEND", "ENCLAVE_PROJECT", "LD_LIBRARY_PATH", "PWD",
    "JPY_PARENT_PID", "TERM", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "PAGER", "GIT_PAGER",
}  # fmt: skip


@pytest.fixture(scope="module")
def other(enclave: Any, rosa: Any) -> Iterator[dict[str, str]]:
    """Another kernel of the same person, with a lease and an egress request of its own."""
    notebook = enclave.notebook(rosa, "other")
    code = "import enclave_kernel as enclave; ds = enclave.open('demo-ct'); print(len(ds.table('patients')))"
    assert notebook.run(code).status == "ok"
    lease = enclave.events(kind="dataset.open", outcome="ok")[-1]
    yield {"kernel": lease["kernel"], "lease": lease["detail"]["lease"]}
    notebook.close()


@pytest.fixture(scope="module")
def facts(enclave: Any, other: dict[str, str], request_names: tuple[str, ...]) -> dict[str, Any]:
    """What a well-informed attacker knows from outside."""
    home = enclave.home
    unwrapper = open_unwrapper(file_uri(home.key_file("kek")))
    version = open_version(SealedStore(home.state("sealed")), VersionName("demo-ct", 1), unwrapper=unwrapper)
    review = [entry.name for entry in version.manifest.entries if entry.kind == "review"]
    run = neutral_path(home) / "run"
    folder = other["kernel"][:12]
    neighbours = [
        place / "kernels" / folder / name for place in (home.run_dir, run) for name in ("lease.sock", "zmq/k-1")
    ]
    return {
        "requests": request_names,
        "foreign_lease": other["lease"],
        "foreign_request": "0" * 32,
        "forged_cell": FORGED,
        "own": [f"/run/enclave/{name}.sock" for name in ("lease", "submit", "launcher", "hub", "server", "auditd")],
        "review": review[0] if review else "review/none",
        "paths": [*map(str, (*home.run_dir.glob("*.sock"), run / "auditd.sock", *neighbours))],
    }


@pytest.fixture(scope="module")
def found(enclave: Any, notebook: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """What the attacker got; each part is one test below."""
    parts = ["requests", "leases", "sealed", "submissions", "frames", "sockets", "crowd", "late"]
    code = SCRIPT.read_text() + f"\nprint(attack({parts!r}, {facts!r}))"
    result = notebook.run(code, timeout_s=100)
    assert result.status == "ok", result.error
    found: dict[str, Any] = json.loads(result.text.partition("ATTACK ")[2])
    broken = {name: value for name, value in found.items() if isinstance(value, str) and name != "late"}
    assert broken == {}
    return found


@pytest.fixture(scope="module")
def events(enclave: Any, notebook: Any, found: dict[str, Any], other: dict[str, str]) -> list[dict[str, Any]]:
    """The ledger's events about the attacked kernel."""
    end = time.monotonic() + 60
    while True:  # the record of how the cell ended follows the cell by a moment
        kernel = enclave.events(kind="cell.execute", outcome="ok")[-1]["kernel"]
        if kernel != other["kernel"]:
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    return [event for event in enclave.events() if event.get("kernel") == kernel]


def test_both_sockets_answer_their_own_requests_only(found: dict[str, Any]) -> None:
    assert len(found["requests"]) > 100
    assert set(found["requests"].values()) == {"invalid/invalid"}


def test_a_lease_is_good_for_its_own_kernel_and_its_own_objects(found: dict[str, Any]) -> None:
    got = dict(found["leases"])
    assert got.pop("own") == "answered"
    assert got.pop("of_other_kernel") == "denied/lease_of_other_kernel"
    assert got.pop("list_of_other_kernel") == "denied/lease_of_other_kernel"
    assert {name for name, answer in got.items() if answer == "answered"} == set()


def test_what_the_broker_refused_is_in_the_ledger(found: dict[str, Any], events: list[dict[str, Any]]) -> None:
    reasons = {(event["kind"], event["reason"]) for event in events if event["outcome"] == "refused"}
    assert ("dataset.read", "lease_of_other_kernel") in reasons
    assert ("dataset.read", "lease_unknown") in reasons
    assert {reason for kind, reason in reasons if kind == "dataset.open"} >= {"lease_of_other_kernel"}
    assert len(reasons) >= 6, reasons


def test_the_tap_names_the_cell_and_not_the_kernel(
    enclave: Any, found: dict[str, Any], events: list[dict[str, Any]]
) -> None:
    assert FORGED not in json.dumps(enclave.events())
    cells = {event["cell"] for event in events if event["kind"] == "cell.execute" and event["outcome"] == "intent"}
    reads = [event for event in events if event["kind"] in ("dataset.read", "dataset.open")]
    assert reads
    assert {event["cell"] for event in reads} <= cells | {"background"}


def test_a_read_after_the_cell_is_recorded_as_one_outside_of_cells(enclave: Any, found: dict[str, Any]) -> None:
    end = time.monotonic() + 60
    reads = enclave.events(kind="dataset.read", cell="background")
    while not reads and time.monotonic() < end:
        time.sleep(0.2)
        reads = enclave.events(kind="dataset.read", cell="background")
    assert reads


def test_lent_memory_cannot_be_changed_by_any_way_in(found: dict[str, Any]) -> None:
    sealed = found["sealed"]
    assert {name: got for name, got in sealed["attempts"].items() if not got.startswith("error: ")} == {}
    assert sealed["seals"] & 0xF == 0xF
    assert sealed["unchanged"]


def test_two_holders_of_the_same_memory_do_not_share_a_place_in_it(found: dict[str, Any]) -> None:
    assert found["sealed"]["own_place"]


def test_nothing_but_bounded_memory_with_plain_names_is_handed_in(found: dict[str, Any]) -> None:
    got = dict(found["submissions"])
    assert got.pop("status_with_descriptors") in ("invalid/invalid", "closed")
    refused = {"invalid", "not_found", "closed"}
    assert {name: answer for name, answer in got.items() if answer.split("/")[0] not in refused} == {}


def test_refused_submissions_are_in_the_ledger(found: dict[str, Any], events: list[dict[str, Any]]) -> None:
    reasons = {
        event["reason"] for event in events if event["kind"] == "egress.submit" and event["outcome"] == "refused"
    }
    assert {"egress_file_kind", "egress_file_name", "egress_file_count", "egress_text"} <= reasons


def test_what_is_no_message_ends_its_connection(found: dict[str, Any]) -> None:
    assert set(found["frames"].values()) == {"closed"}


def test_a_crowd_of_connections_is_cut_and_harms_nobody(enclave: Any, found: dict[str, Any]) -> None:
    assert 0 < found["crowd"]["still_open"] <= 64
    assert found["crowd"]["after"] == "answered"
    threads = len(list(Path(f"/proc/{enclave.pid('brokerd')}/task").iterdir()))
    assert threads < 200


def test_it_sees_its_two_sockets_and_nothing_of_its_neighbours(found: dict[str, Any]) -> None:
    sockets = found["sockets"]
    assert sockets["reached"] == {}
    assert sockets["sockets"] == ["/run/enclave/lease.sock", "/run/enclave/submit.sock"]
    for what in ("replace_lease", "connection", "code"):
        assert sockets[what].startswith("error: "), what
    assert set(sockets["environment"]) <= ENVIRONMENT
