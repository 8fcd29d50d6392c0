"""A daemon's socket: who may ask, what an answer is, what survives a restart."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from other_user import answer_to

from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, UnavailableError
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.framing import encode, receive_frame, send_frame
from enclave.wire.messages.schema import Done, request
from enclave.wire.peer import Reply, WireServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Echoed:
    text: str
    pid: int = 0
    uid: int = 0


@request("test.echo", reply=Echoed)
@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    text: str


@request("test.fail", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    how: str


@request("test.pipe", reply=Done, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    keep: bool = False


def open_count():
    return len(list(Path("/proc/self/fd").iterdir()))


class Stand:
    def __init__(self, path):
        self.path, self.kept, self.ended = path, [], []
        self.allowed = frozenset({os.getuid()})

    def start(self):
        handlers = {Echo: self.echo, Fail: self.fail, Pipe: self.pipe}
        self.server = WireServer(
            self.path, handlers, log=Log("test"), allowed_uids=self.allowed, max_descriptors=2,
            on_close=self.ended.append,
        )  # fmt: skip
        self.server.start()

    def echo(self, message, call):
        if message.text == "huge":
            return Echoed(text="x" * (2 << 20))
        return Echoed(text=message.text, pid=call.peer.pid, uid=call.peer.uid)

    def fail(self, message, call):
        if message.how == "conflict":
            raise ConflictError("thing: wanted it free, got it taken", code="thing.taken")
        raise ValueError("CANARY from the data")

    def pipe(self, message, call):
        if message.keep:
            self.kept.append(call.descriptors.pop())
        return Reply(Done(), [os.open("/dev/null", os.O_RDONLY)])


@pytest.fixture
def stand(tmp_path):
    stand = Stand(tmp_path / "s.sock")
    stand.start()
    yield stand
    stand.server.close()


@pytest.fixture
def client(stand):
    client = WireClient(stand.path, timeout_s=5)
    yield client
    client.close()


def test_the_peer_is_who_the_kernel_says(client):
    reply = client.call(Echo(text="a"))
    assert (reply.pid, reply.uid) == (os.getpid(), os.getuid())


def test_an_error_of_a_service_arrives_as_its_family_with_its_code(client):
    with pytest.raises(ConflictError) as caught:
        client.call(Fail(how="conflict"))
    assert caught.value.code == "thing.taken"
    assert "wanted it free" in caught.value.message


def test_a_fault_in_a_handler_tells_neither_peer_nor_log_its_text(client, capfd):
    with pytest.raises(EnclaveError) as caught:
        client.call(Fail(how="crash"))
    assert "CANARY" not in caught.value.message
    assert client.call(Echo(text="still here")).text == "still here"
    logged = capfd.readouterr().err
    assert "CANARY" not in logged
    assert "ValueError" in logged


def test_a_stranger_hears_that_it_is_refused_and_is_let_go(stand, client):
    stand.server._allowed = frozenset({os.getuid() + 1})
    with pytest.raises(DeniedError):
        client.call(Echo(text="a"))
    deadline = time.monotonic() + 30
    while not stand.ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(stand.ended) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; run the tests as root too")
def test_another_user_is_refused_whatever_the_mode_of_the_socket(stand):
    stand.path.chmod(0o666)
    assert answer_to(65534, stand.path, Echo(text="a")) == "denied"


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"v": 2, "id": "1", "type": "test.echo", "body": {"text": "a"}},
        {"v": 1, "id": "1", "type": "test.echo"},
        {"v": 1, "id": "1", "type": "test.echo", "body": {"text": "a"}, "more": 1},
        {"v": 1, "id": "1", "type": "test.nothing", "body": {}},
        {"v": 1, "id": "1", "type": "audit.append", "body": {}},
        {"v": 1, "id": "1", "type": "test.echo", "body": {"text": "a", "more": 1}},
        {"v": 1, "id": "1", "type": "test.echo", "body": {}},
        {"v": 1, "id": "1", "type": "test.echo", "body": {"text": 1}},
        {"v": 1, "id": "1", "type": ["x"], "body": None},
        {"v": True, "id": 7, "type": None, "body": []},
    ],
)
def test_a_wrong_envelope_is_answered_as_invalid_and_the_connection_lives_on(stand, envelope):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(stand.path))
        send_frame(sock, envelope)
        answer, _ = receive_frame(sock)
        assert answer["ok"] is False
        assert answer["error"]["family"] == "invalid"
        send_frame(sock, {"v": 1, "id": "2", "type": "test.echo", "body": {"text": "b"}})
        answer, _ = receive_frame(sock)
        assert (answer["id"], answer["body"]["text"]) == ("2", "b")


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", struct.pack(">I", 4) + b"nope", b"\0\0", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_bytes_that_are_no_frame_end_their_connection_and_no_other(stand, client, data):
    client.call(Echo(text="before"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(stand.path))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # when bytes were left unread
            assert sock.recv(10) == b""
    assert client.call(Echo(text="after")).text == "after"


def test_an_answer_beyond_the_limit_is_an_error_and_not_a_broken_connection(client):
    with pytest.raises(InvalidError) as caught:
        client.call(Echo(text="huge"))
    assert caught.value.code == "answer_too_large"
    assert client.call(Echo(text="a")).text == "a"


def test_a_request_beyond_the_limit_is_refused_before_it_is_sent(client):
    with pytest.raises(InvalidError) as caught:
        client.call(Echo(text="x" * (2 << 20)))
    assert caught.value.code == "request_too_large"


def test_a_client_finds_a_restarted_daemon_by_itself(stand, client):
    client.call(Echo(text="a"))
    stand.server.close()
    stand.start()
    assert client.call(Echo(text="b")).text == "b"


def test_idle_connections_do_not_cost_time(client):
    fastest = math.inf
    for _ in range(50):
        began = time.monotonic()
        client.call(Echo(text="a"))
        fastest = min(fastest, time.monotonic() - began)
    assert fastest < 0.02


def test_without_a_daemon_the_error_says_what_to_look_at(stand, client):
    stand.server.close()
    with pytest.raises(UnavailableError, match="demo status"):
        client.call(Echo(text="a"))


def test_a_second_daemon_on_a_live_socket_is_refused_and_a_dead_one_is_replaced(stand, tmp_path):
    with pytest.raises(UnavailableError):
        Stand(stand.path).start()
    left_behind = tmp_path / "old.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(left_behind))
    fresh = Stand(left_behind)
    fresh.start()
    fresh.server.close()


def test_descriptors_left_by_a_handler_are_closed_and_those_it_took_are_not(stand, client):
    pipes = [os.pipe() for _ in range(2)]
    before = open_count()
    for keep in (False, True):
        _, (null,) = client.call_with_descriptors(
            Pipe(keep=keep), descriptors=[pipes[0][1], pipes[1][1]], max_descriptors=1
        )
        os.close(null)
    (kept,) = stand.kept
    os.write(kept, b"x")
    os.close(kept)
    deadline = time.monotonic() + 30
    while open_count() > before + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_count() <= before + 2  # the connection's two ends
    for fd in (fd for pipe in pipes for fd in pipe):
        os.close(fd)


def test_a_request_that_takes_no_descriptors_is_refused_with_one_and_the_connection_goes_on(stand, client):
    pipe = os.pipe()
    with pytest.raises(InvalidError, match="without descriptors"):
        client.call_with_descriptors(Echo(text="a"), descriptors=[pipe[0]])
    assert client.call(Echo(text="a")).text == "a"
    for fd in pipe:
        os.close(fd)


def test_many_callers_at_once_are_all_answered(stand):
    wrong = []

    def ask(number):
        client = WireClient(stand.path, timeout_s=20)
        for step in range(10):
            text = f"{number}-{step}"
            if client.call(Echo(text=text)).text != text:
                wrong.append(text)
        client.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_out_of_descriptors_a_daemon_recovers(stand):
    child = os.fork()  # a process of its own: the limit is not for the tests
    if child == 0:
        code = 1
        try:
            server = Stand(stand.path.with_name("t.sock"))
            server.start()
            used = open_count()
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 6, used + 6))
            crowd = []
            try:
                for _ in range(20):
                    sock = socket.socket(socket.AF_UNIX)
                    crowd.append(sock)
                    sock.connect(str(server.path))
            except OSError:
                time.sleep(0.3)
            for sock in crowd:
                sock.close()
            time.sleep(0.5)
            code = 0 if WireClient(server.path, timeout_s=5).call(Echo(text="a")).text == "a" else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_reply_to_another_request_is_not_taken(tmp_path):
    path = tmp_path / "liar.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def lie():
            sock, _ = listener.accept()
            receive_frame(sock)
            send_frame(sock, {"v": 1, "id": "other", "ok": True, "body": {"text": "x"}})
            sock.close()

        thread = threading.Thread(target=lie)
        thread.start()
        with pytest.raises(UnavailableError):
            WireClient(path, timeout_s=5).call(Echo(text="a"))
        thread.join()


def test_a_path_too_long_for_a_socket_is_named(tmp_path):
    with pytest.raises(InvalidError, match="107"):
        Stand(tmp_path / ("x" * 120)).start()


def test_encoding_is_canonical():
    assert encode({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()


def test_connections_beyond_the_limit_are_closed_and_cost_nothing(tmp_path):
    server = WireServer(
        tmp_path / "s", {Echo: lambda m, _: Echoed(text=m.text)}, log=Log("t"), allowed_uids=None, max_connections=4
    )
    server.start()
    threads = threading.active_count()
    held = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for sock in held:
        sock.connect(str(tmp_path / "s"))
    assert held[-1].recv(1) == b""
    assert threading.active_count() <= threads + 4
    for sock in held:
        sock.close()
    end = time.monotonic() + 30
    with contextlib.closing(WireClient(tmp_path / "s")) as client:
        while True:
            with contextlib.suppress(UnavailableError):
                assert client.call(Echo(text="again")).text == "again"
                break
            assert time.monotonic() < end
    server.close()


def test_a_service_that_is_out_of_threads_serves_again_when_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = WireServer(
        tmp_path / "t.sock", {Echo: lambda m, _: Echoed(text=m.text)}, log=Log("test"), allowed_uids=None
    )
    server.start()
    start, left = threading.Thread.start, [2]

    def scarce(thread: threading.Thread) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    client = WireClient(tmp_path / "t.sock", timeout_s=5)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            client.call(Echo(text="x"))
    assert client.call(Echo(text="again")).text == "again"
    client.close()
    server.close()
