"""A line never waits: it asks at once or says that it cannot, and takes an answer only for the question it asked."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave.core.errors import ConflictError
from enclave.runtime.log import Log
from enclave.wire.framing import encode
from enclave.wire.messages import airlock, broker
from enclave.wire.messages.schema import Done
from enclave.wire.peer import WireServer
from enclave.wire.polled_line import MAX_AT_ONCE, BrokenLineError, PolledLine


class Watched:
    """A line with a poller of its own."""

    def __init__(self, path: Path) -> None:
        self.poll = select.poll()
        self.open: set[int] = set()
        self.line = PolledLine(path, watch=self._watch, unwatch=self._unwatch)

    def _watch(self, fd: int) -> None:
        self.open.add(fd)
        self.poll.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        self.open.remove(fd)
        self.poll.unregister(fd)

    def answer(self) -> Any:
        """The answer once it is all there."""
        while True:
            assert self.poll.poll(5000)
            found = self.line.answer()
            if found is not None or not self.line.waiting:
                return found


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Callable[[], socket.socket]]:
    """A daemon that says what the test says; a call gives the connection that the line made."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "far.sock"))
        listener.listen(1)
        listener.settimeout(5)
        yield lambda: listener.accept()[0]


def _asked(sock: socket.socket) -> str:
    (length,) = struct.unpack(">I", sock.recv(4))
    return str(json.loads(sock.recv(length))["id"])


def _frame(value: dict[str, Any]) -> bytes:
    data = encode(value)
    return struct.pack(">I", len(data)) + data


def test_an_answer_arrives_and_the_connection_serves_the_next_question(tmp_path: Path) -> None:
    server = WireServer(
        tmp_path / "a.sock", {airlock.CloseSubmitListener: lambda _m, _c: Done()}, log=Log("t"), allowed_uids=None
    )
    server.start()
    watched = Watched(tmp_path / "a.sock")
    for _ in range(2):
        watched.line.ask(airlock.CloseSubmitListener(kernel="k"))
        assert watched.answer() == Done()
    assert len(watched.open) == 1
    server.close()


def test_what_the_service_refuses_is_raised(tmp_path: Path) -> None:
    def refuse(_m: Any, _c: Any) -> Done:
        raise ConflictError("kernel: wanted another, got this", code="other_kernel")

    server = WireServer(tmp_path / "a.sock", {airlock.CloseSubmitListener: refuse}, log=Log("t"), allowed_uids=None)
    server.start()
    watched = Watched(tmp_path / "a.sock")
    watched.line.ask(airlock.CloseSubmitListener(kernel="k"))
    with pytest.raises(ConflictError) as fault:
        watched.answer()
    assert fault.value.code == "other_kernel"
    server.close()


def test_an_answer_in_pieces_is_taken_when_it_is_whole(far: Any, tmp_path: Path) -> None:
    watched = Watched(tmp_path / "far.sock")
    watched.line.ask(airlock.CloseSubmitListener(kernel="k"))
    with far() as other:
        data = _frame({"v": 1, "id": _asked(other), "ok": True, "body": {}})
        other.sendall(data[:7])
        assert watched.poll.poll(5000)
        assert watched.line.answer() is None
        assert watched.line.waiting
        other.sendall(data[7:])
        assert watched.answer() == Done()


@pytest.mark.parametrize("what", ["another id", "no json", "two frames", "too long", "the end"])
def test_anything_but_the_answer_breaks_the_line(far: Any, tmp_path: Path, what: str) -> None:
    watched = Watched(tmp_path / "far.sock")
    watched.line.ask(airlock.CloseSubmitListener(kernel="k"))
    with far() as other:
        good = _frame({"v": 1, "id": _asked(other), "ok": True, "body": {}})
        other.sendall(
            {
                "another id": _frame({"v": 1, "id": "0" * 16, "ok": True, "body": {}}),
                "no json": struct.pack(">I", 4) + b"nope",
                "two frames": good + good,
                "too long": struct.pack(">I", 1 << 30) + b"x",
                "the end": b"",
            }[what]
        )
        if what == "the end":
            other.shutdown(socket.SHUT_RDWR)
        with pytest.raises(BrokenLineError):
            watched.answer()
    assert not watched.open
    assert not watched.line.waiting


def test_what_nobody_asked_for_ends_the_connection(far: Any, tmp_path: Path) -> None:
    watched = Watched(tmp_path / "far.sock")
    watched.line.ask(airlock.CloseSubmitListener(kernel="k"))
    with far() as other:
        other.sendall(_frame({"v": 1, "id": _asked(other), "ok": True, "body": {}}))
        assert watched.answer() == Done()
        other.sendall(_frame({"v": 1, "id": "0" * 16, "ok": True, "body": {}}))
        assert watched.poll.poll(5000)
        with pytest.raises(BrokenLineError):
            watched.line.answer()


def test_what_cannot_be_asked_at_once_is_not_asked(far: Any, tmp_path: Path) -> None:
    watched = Watched(tmp_path / "nobody.sock")
    with pytest.raises(BrokenLineError):
        watched.line.ask(airlock.CloseSubmitListener(kernel="k"))
    watched = Watched(tmp_path / "far.sock")
    with pytest.raises(BrokenLineError):
        watched.line.ask(broker.Reads(kernel="k", cell="c" * MAX_AT_ONCE))
    watched.line.ask(airlock.CloseSubmitListener(kernel="k"))
    with pytest.raises(BrokenLineError):
        watched.line.ask(airlock.CloseSubmitListener(kernel="d"))
    assert watched.line.waiting


@pytest.mark.parametrize("brings", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_descriptor_beside_an_answer_is_taken_only_by_who_expects_one(
    far: Callable[[], socket.socket], tmp_path: Path, brings: bool, number: int
) -> None:
    watched = Watched(tmp_path / "far.sock")
    line = PolledLine(tmp_path / "far.sock", watch=watched._watch, unwatch=watched._unwatch, brings=brings)
    watched.line = line
    line.ask(airlock.CloseSubmitListener(kernel="k"))
    with far() as sock, (tmp_path / "file").open("w") as file:
        answer = _frame({"body": {}, "id": _asked(sock), "ok": True, "v": 1})
        sock.sendmsg(
            [answer], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{number}i", *[file.fileno()] * number))]
        )
        if brings and number == 2:
            with pytest.raises(BrokenLineError):
                watched.answer()
        else:
            assert watched.answer() == Done()
    found = line.brought()
    assert len(found) == (1 if brings and number == 1 else 0)
    for descriptor in found:
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    assert line.brought() == []
    line.drop()


def test_descriptors_go_with_a_question(tmp_path: Path) -> None:
    taken: list[bytes] = []

    def take(_: Any, call: Any) -> Done:
        taken.append(os.pread(call.only_descriptor(), 9, 0))
        return Done()

    server = WireServer(
        tmp_path / "a.sock", {airlock.TakeSubmitPage: take}, log=Log("t"), allowed_uids=None, max_descriptors=1
    )
    server.start()
    watched = Watched(tmp_path / "a.sock")
    (tmp_path / "file").write_bytes(b"what goes")
    with (tmp_path / "file").open("rb") as file:
        watched.line.ask(airlock.TakeSubmitPage(kernel="k"), descriptors=[file.fileno()])
    assert watched.answer() == Done()
    assert taken == [b"what goes"]
    watched.line.drop()
    server.close()
