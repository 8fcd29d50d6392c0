"""The ledger's client: one receipt for one act, whatever the other end says or does not say."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

import pytest

from enclave.audit.client import AuditClient
from enclave.core.errors import InvalidError, UnavailableError
from enclave.wire.framing import decode, encode

LEAF = "ab" * 32
TIME = "2026-11-22T12:00:00.000000Z"


class Far:
    """The far side: gives what ``answer`` makes of each request, in the pieces that it is in."""

    def __init__(self, path, answer):
        self.asked = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError):
            while data := sock.recv(1 << 21):
                while len(data) - 4 < struct.unpack_from(">I", data)[0]:
                    data += sock.recv(1 << 21)
                request = decode(data[4:])
                self.asked.append(request)
                for piece in self._answer(request, len(self.asked)):
                    if piece is None:
                        sock.shutdown(socket.SHUT_RDWR)
                    else:
                        sock.sendall(piece)

    def hang_up(self):
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        self.hang_up()


@pytest.fixture
def far(tmp_path):
    opened = []

    def make(answer):
        path = tmp_path / "a.sock"
        opened.append(Far(path, answer))
        return AuditClient(path, deadline_s=0.5), opened[-1]

    yield make
    for one in opened:
        one.close()


def frame(value):
    data = encode(value)
    return struct.pack(">I", len(data)) + data


def receipt(request, seq, **change):
    body = {"leaf_hash": LEAF, "seq": seq, "time": TIME}
    return frame({"v": 1, "id": request["id"], "ok": True, "body": body} | change)


def refusal(request, family, code):
    fault = {"family": family, "code": code, "message": "x"}
    return frame({"v": 1, "id": request["id"], "ok": False, "error": fault})


def record(client, **more):
    return client.record("audit.rebuild", actor="service:test", detail={"rows": 1}, **more)


def test_a_receipt_is_taken_whole_or_in_pieces(far):
    def in_pieces(request, count):
        data = receipt(request, count)
        return [data] if count == 1 else [data[i : i + 7] for i in range(0, len(data), 7)]

    client, _ = far(in_pieces)
    assert [record(client).seq, record(client).seq] == [1, 2]
    assert client.ledger_time is not None


def test_a_long_request_and_a_receipt_of_another_spelling_pass(far):
    client, stand = far(lambda request, count: [receipt(request, count, body={"leaf_hash": LEAF, "seq": count})])
    assert record(client, bodies={"source": "x" * 900_000}).seq == 1
    assert len(stand.asked[0]["body"]["bodies"]["source"]) == 900_000


def test_a_request_that_fits_no_frame_is_refused_before_it_is_sent_and_the_line_lives_on(far):
    client, stand = far(lambda request, count: [receipt(request, count)])
    record(client)
    with pytest.raises(InvalidError, match="1 MiB"):
        record(client, bodies={"source": "x" * (1 << 20)})
    assert len(stand.asked) == 1
    assert record(client).seq == 2


@pytest.mark.parametrize(
    "lie",
    [
        lambda request: [receipt(request | {"id": "ffff"}, 7)],
        lambda request: [receipt(request, 7) + receipt(request, 8)],
        lambda request: [receipt(request, 7)[:-9], None],
        lambda request: [struct.pack(">I", 1 << 30) + b"{}"],
        lambda request: [b"HTTP/1.1 200 OK\r\n\r\n"],
        lambda request: [frame({"v": 1, "id": request["id"], "ok": True, "body": {"seq": 7}, "more": 1})[:-1] + b" "],
        lambda request: [None],
    ],
    ids=["another id", "two at once", "cut off", "too long", "no frame", "another spelling", "nothing"],
)
def test_what_is_no_answer_to_this_request_is_no_receipt_and_the_event_is_sent_again_with_its_id(far, lie):
    client, stand = far(lambda request, count: lie(request) if count == 2 else [receipt(request, count)])
    record(client)
    assert record(client).seq == 3
    first, again = stand.asked[1:]
    assert first["body"] == again["body"]


def test_only_lies_are_no_receipt(far):
    client, stand = far(lambda request, count: [receipt(request | {"id": "ffff"}, count)])
    with pytest.raises(UnavailableError) as caught:
        record(client)
    assert caught.value.code == "ledger_unavailable"
    assert len({request["body"]["event"]["id"] for request in stand.asked}) == 1


def test_a_ledger_that_says_nothing_refuses_the_act_in_its_time(far):
    client, stand = far(lambda request, count: [receipt(request, count)] if count == 1 else [])
    record(client)
    with pytest.raises(UnavailableError) as caught:
        record(client)
    assert caught.value.code == "ledger_unavailable"
    assert len(stand.asked) <= 3


def test_lines_that_a_restart_broke_are_told_from_a_ledger_that_is_away(far, monkeypatch):
    client, stand = far(lambda request, count: [receipt(request, count)])
    record(client)
    stand.hang_up()
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited") if seconds else None)
    assert record(client).seq == 2


def test_a_final_refusal_is_told_at_once_and_a_passing_one_is_asked_again(far):
    def answer(request, count):
        if count == 1:
            return [refusal(request, "unavailable", "ledger_quota")]
        return [refusal(request, "unavailable", "ledger_unavailable")] if count == 2 else [receipt(request, count)]

    client, stand = far(answer)
    with pytest.raises(UnavailableError) as caught:
        record(client)
    assert caught.value.code == "ledger_quota"
    assert record(client).seq == 3
    assert len(stand.asked) == 3


def test_a_refusal_for_another_reason_keeps_its_family(far):
    client, _ = far(lambda request, count: [refusal(request, "invalid", "nonsense")])
    with pytest.raises(InvalidError):
        record(client)
