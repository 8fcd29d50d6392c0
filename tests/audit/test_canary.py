"""A value from the data is nowhere in the ledger, whatever carries it there: a field, an exception, a query, a cell."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest

from enclave.audit.event import Event, event_to_json
from enclave.core.errors import EnclaveError, InvalidError
from enclave.policy.model import Actor
from enclave.wire.client import WireClient
from enclave.wire.framing import encode, receive_frame
from enclave.wire.messages.audit import Append, Query

CANARY = "Zanaryquist^Quilla-19010203"
GOOD = Event(id="0" * 32, time="2026-11-22T12:00:00.000000Z", kind="audit.rebuild", actor="service:test", outcome="ok")


def everywhere(auditd, capfd):
    """All bytes of the ledger's folder and of what the daemon and its store said."""
    out = capfd.readouterr()
    found = {"log": (out.out + out.err).encode()}
    for path in auditd.home.root.rglob("*"):
        if path.is_file():
            found[str(path)] = path.read_bytes()
    return found


def assert_nowhere(auditd, capfd):
    """Looks while the store is open, and again when all of it lies on the disk."""
    for _ in ("open", "closed"):
        for where, data in everywhere(auditd, capfd).items():
            assert CANARY.encode() not in data, where
            assert CANARY.encode("utf-16-le") not in data, where
        auditd.stop()


@pytest.fixture
def ask(auditd):
    auditd.people["ada"] = Actor("ada", frozenset({"auditor"}))
    client = WireClient(auditd.home.socket("auditd"))
    yield lambda sql: client.call(Query(token="ada", sql=sql))
    client.close()


@pytest.mark.row("S16.4")
@pytest.mark.parametrize(
    "change",
    [
        {"kind": CANARY},
        {"id": CANARY},
        {"outcome": CANARY},
        {"detail": {CANARY: 1}},
        {"detail": {"rows": CANARY}},
        {CANARY: "x"},
        {"objects": CANARY},
        {"version": CANARY},
    ],
    ids=str,
)
def test_an_event_of_another_form_leaves_nothing_of_itself(auditd, capfd, change):
    client = WireClient(auditd.home.socket("auditd"))
    with pytest.raises(EnclaveError) as caught:
        client.call(Append(event=event_to_json(GOOD) | change))
    client.close()
    assert CANARY not in caught.value.message
    assert_nowhere(auditd, capfd)


@pytest.mark.parametrize(
    "frame", [CANARY.encode(), encode({"v": 1, "id": "ab", "type": CANARY, "body": {CANARY: CANARY}})]
)
def test_a_request_of_another_form_leaves_nothing_of_itself(auditd, capfd, frame):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(auditd.home.socket("auditd")))
        sock.sendall(struct.pack(">I", len(frame)) + frame)
        answer = receive_frame(sock)
    assert answer is None or CANARY not in str(answer)
    assert_nowhere(auditd, capfd)


@pytest.mark.row("S16.4")
@pytest.mark.parametrize("where", ["_commit", "checkpoint", "append_all"])
def test_an_exception_that_carries_a_value_leaves_nothing_of_it(auditd, capfd, monkeypatch, where):
    def fail(*_args, **_options):
        raise ValueError(CANARY)

    with monkeypatch.context() as broken:
        broken.setattr(auditd.daemon.ledger, where, fail)
        if where == "checkpoint":
            auditd.daemon._try("checkpoint failed", auditd.daemon.ledger.checkpoint)
        else:
            with pytest.raises(EnclaveError) as caught:
                auditd.client.append(GOOD)
            assert CANARY not in caught.value.message
    auditd.client.record("audit.rebuild", actor="service:test")
    assert_nowhere(auditd, capfd)


@pytest.mark.row("S16.4")
@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT '{CANARY}'",
        f"SELECT CAST('{CANARY}' AS INTEGER)",
        f"SELECT error('{CANARY}')",
        f"SELECT * FROM read_text('/{CANARY}')",
        f'SELECT * FROM "{CANARY}"',
        f"SELEC '{CANARY}'",
        f"SELECT repeat('{CANARY}', 1000)",
    ],
)
def test_what_a_query_says_stands_in_no_file_in_clear(auditd, capfd, ask, sql):
    # A mistake in the SQL is told with the words of the SQL; what the engine met while it ran is not.
    with contextlib.suppress(InvalidError):
        ask(sql)
    assert len(auditd.events(kind="audit.query", actor="ada")) == 2
    assert_nowhere(auditd, capfd)


@pytest.mark.parametrize("sql", [f"SELECT CAST('{CANARY}' AS INTEGER)", f"SELECT error('{CANARY}')"])
def test_what_the_engine_meets_while_it_runs_is_not_told_with_its_value(ask, sql):
    with pytest.raises(InvalidError) as caught:
        ask(sql)
    assert CANARY not in caught.value.message


def test_a_cell_and_its_output_stand_in_no_file_in_clear_and_answer_the_auditor(auditd, capfd, ask):
    told = {"actor": "rosa", "project": "demo", "cell": "1" * 32}
    auditd.client.record("cell.execute", outcome="intent", bodies={"code": f"print('{CANARY}')"}, **told)
    auditd.client.record("cell.execute", bodies={"output": CANARY}, **told)
    assert CANARY in ask("SELECT code FROM cell_executions").rows[0][0]
    assert_nowhere(auditd, capfd)
