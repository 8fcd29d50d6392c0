"""What hostile code says on its socket is on record, without its words and without a flood."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave.audit.misuse import MAX_PER_WINDOW, MisuseRecorder
from enclave.runtime.log import Log
from enclave.wire.messages.broker import DatasetList, ListDatasets
from enclave.wire.peer import WireServer

CANARY = "Zanaryquist^Quilla"


@pytest.fixture
def path(auditd: Any, tmp_path: Path) -> Iterator[Path]:
    recorder = MisuseRecorder(auditd.client, Log("test"), "lease", "rosa", "demo", "ab" * 16)
    place = auditd.home.run_dir / "m.sock"
    handlers = {ListDatasets: lambda _m, _c: DatasetList(datasets=())}
    server = WireServer(place, handlers, log=Log("test"), allowed_uids=None, on_misuse=recorder)
    server.start()
    yield place
    server.close()


def _send(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(struct.pack(">I", len(data)) + data)
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(1 << 16)


def _frame(**fields: Any) -> bytes:
    frame = {"v": 1, "id": "1", "type": "lease.list", "body": {}, **fields}
    return json.dumps(frame, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.row("S10.1")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"{" + CANARY.encode(), "not_a_frame"),
        (_frame(more=CANARY), "not_an_envelope"),
        (_frame(type=CANARY), "request_not_served"),
        (_frame(type="launcher.kernel_end", body={"kernel": CANARY}), "request_not_served"),
        (_frame(body={"x": CANARY}), "not_a_message"),
    ],
)
def test_each_kind_of_misuse_is_an_event_without_the_words_of_who_did_it(
    auditd: Any, path: Path, sent: bytes, code: str
) -> None:
    _send(path, sent)
    (event,) = _events(auditd)
    assert (event["actor"], event["outcome"], event["reason"]) == ("rosa", "refused", code)
    assert (event["project"], event["kernel"], event["detail"]["socket"]) == ("demo", "ab" * 16, "lease")
    assert CANARY not in json.dumps(event)


def test_a_proper_request_is_no_misuse(auditd: Any, path: Path) -> None:
    assert b'"ok":true' in _send(path, _frame())
    assert auditd.events(kind="socket.misuse") == []


def test_a_flood_is_a_few_events_and_a_count(auditd: Any, path: Path) -> None:
    for _ in range(3 * MAX_PER_WINDOW):
        _send(path, _frame(type="x"))
    assert len(_events(auditd, count=MAX_PER_WINDOW)) == MAX_PER_WINDOW


def test_without_a_ledger_the_refusal_stands_and_is_counted_later(auditd: Any, path: Path) -> None:
    auditd.stop()
    assert b'"ok":false' in _send(path, _frame(type="x"))
    auditd.start()
    _send(path, _frame(type="x"))
    assert [event["detail"]["unrecorded_before"] for event in _events(auditd)] == [1]


def _events(auditd: Any, *, count: int = 1) -> list[dict[str, Any]]:
    import time

    end = time.monotonic() + 30
    while len(found := auditd.events(kind="socket.misuse")) < count and time.monotonic() < end:
        time.sleep(0.02)
    return found
