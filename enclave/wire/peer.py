"""The serving end of a Unix socket: who connected, what may be asked, one thread per connection."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enclave.core.errors import DeniedError, EnclaveError, InvalidError, UnavailableError
from enclave.runtime.log import Log
from enclave.wire.framing import VERSION, WireError, encode, receive_frame, send_encoded
from enclave.wire.messages.schema import from_json, request_type, to_json

_UCRED = struct.Struct("3i")
FRAME_TIMEOUT_S = 600.0
STRANGER_TIMEOUT_S = 5.0
ACCEPT_PAUSE_S = 0.1
MAX_CONNECTIONS = 1024
MAX_OF_ONE_SANDBOX = 64  # on a socket that belongs to one kernel or server, whose code may be hostile
MAX_MESSAGE = 4000


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel says (SO_PEERCRED, unix(7)): host pid and uid."""

    pid: int
    uid: int
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that carries descriptors; they are closed here once sent."""

    body: Any
    descriptors: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a handler sees it: the peer and the descriptors that came along.

    What is still in ``descriptors`` when the handler ends is closed; who keeps or closes one takes it out first.
    """

    peer: Peer
    descriptors: list[int] = field(default_factory=list)

    def only_descriptor(self) -> int:
        """The one beside the frame, still to be closed here; raises ``InvalidError`` for none or several."""
        if len(self.descriptors) != 1:
            raise InvalidError(f"request: wanted one descriptor beside it, got {len(self.descriptors)}")
        return self.descriptors[0]


Handler = Callable[[Any, Call], Any]


class WireServer:
    """Serves a closed set of requests on one socket.

    ``handlers`` maps request classes to functions ``(message, call) -> reply message or Reply``.
    ``allowed_uids`` None means that whoever can open the socket may ask: use it only for sockets whose
    path is itself the identity. Beyond ``max_connections`` at once a further one is closed. An error of ours is
    sent back; any other becomes ``unexpected`` and is logged by class and place only. ``on_misuse`` hears a code of
    ours for what is refused before any handler sees it; it must not raise.
    """

    def __init__(  # noqa: PLR0913 - the rules of one socket, all but two by keyword
        self,
        path: Path,
        handlers: Mapping[type[Any], Handler],
        *,
        log: Log,
        allowed_uids: frozenset[int] | None,
        mode: int = 0o600,
        max_descriptors: int = 0,
        max_connections: int = MAX_CONNECTIONS,
        on_close: Callable[[Peer], None] | None = None,
        on_misuse: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._by_name = {request_type(cls).name: (cls, handler) for cls, handler in handlers.items()}
        self._log = log
        self._allowed = allowed_uids
        self._max_descriptors = max_descriptors
        self._max_connections = max_connections
        self._on_close = on_close
        self._on_misuse = on_misuse or (lambda _code: None)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._count = 0
        self._closed = False
        self._listener = _listen(path, mode)
        self._thread = threading.Thread(target=self._accept, name=f"wire:{path.name}", daemon=True)

    def start(self) -> None:
        """Begins to accept; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stops accepting and ends every open connection."""
        self._closed = True
        with self._guard:
            for sock in (self._listener, *self._open):
                _shut(sock)
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if self._closed:
                    return
                # Out of descriptors or memory, or a client gone again: others still want to be served later.
                self._log.warning("cannot accept", socket=self.path.name, errno=error.errno or 0)
                time.sleep(ACCEPT_PAUSE_S)
                continue
            with self._guard:
                if self._closed:
                    sock.close()
                    return
                if len(self._open) >= self._max_connections:
                    sock.close()  # each costs a thread and a descriptor of ours, which others need too
                    continue
                self._open.add(sock)
                self._count += 1
                number = self._count
            self._begin(sock, number)

    def _begin(self, sock: socket.socket, number: int) -> None:
        """Takes one connection that was just accepted; must not wait."""
        self._serve_in_thread(sock, number)

    def _serve_in_thread(self, sock: socket.socket, number: int, first: dict[str, Any] | None = None) -> None:
        try:
            threading.Thread(target=self._serve, args=(sock, number, first), daemon=True).start()
        except RuntimeError:  # out of threads: this one is refused, and others still want to be served later
            self._log.warning("no thread for a connection", socket=self.path.name)
            self._forget(sock)
            time.sleep(ACCEPT_PAUSE_S)

    def _serve(self, sock: socket.socket, number: int, first: dict[str, Any] | None) -> None:
        """All requests of one connection; ``first`` was read already."""
        peer = Peer(0, -1, number)
        try:
            sock.settimeout(FRAME_TIMEOUT_S)
            peer = peer_of(sock, number)
            if not self._may_ask(peer):
                sock.settimeout(STRANGER_TIMEOUT_S)  # hears once that it is refused, and holds nothing of ours
                self._one(sock, peer)
                return
            if first is not None:
                self._reply(sock, peer, first, [])
            while self._one(sock, peer):
                pass
        except (OSError, WireError) as error:
            if isinstance(error, WireError):
                self._on_misuse("not_a_frame")
            if not self._closed:
                self._log.warning("connection ended", socket=self.path.name, uid=peer.uid, error=type(error).__name__)
        finally:
            self._forget(sock)
            if self._on_close is not None:
                self._on_close(peer)

    def _forget(self, sock: socket.socket) -> None:
        with self._guard:
            self._open.discard(sock)
        sock.close()

    def _may_ask(self, peer: Peer) -> bool:
        return self._allowed is None or peer.uid in self._allowed

    def _one(self, sock: socket.socket, peer: Peer) -> bool:
        received = receive_frame(sock, max_descriptors=self._max_descriptors)
        if received is None:
            return False
        self._reply(sock, peer, *received)
        return True

    def _reply(self, sock: socket.socket, peer: Peer, frame: dict[str, Any], descriptors: list[int]) -> None:
        request_id = str(frame["id"]) if isinstance(frame.get("id"), str) else ""
        sent: Sequence[int] = ()
        try:
            reply = self._answer(frame, Call(peer, descriptors))
            if isinstance(reply, Reply):
                sent, reply = reply.descriptors, reply.body
            answer = {"v": VERSION, "id": request_id, "ok": True, "body": to_json(reply)}
            data = _encoded(answer)
        except EnclaveError as error:
            sent = _closed(sent)
            data = refusal(request_id, error)
        finally:
            _closed(descriptors)
            descriptors.clear()
        try:
            send_encoded(sock, data, sent)
        finally:
            _closed(sent)

    def _answer(self, frame: dict[str, Any], call: Call) -> Any:
        if not self._may_ask(call.peer):
            self._on_misuse("foreign_process")
            raise DeniedError(f"{self.path.name}: wanted a process of this enclave, got another one")
        if set(frame) != {"v", "id", "type", "body"} or frame["v"] != VERSION:
            self._on_misuse("not_an_envelope")
            raise InvalidError("wire: wanted v, id, type and body of this version, got another envelope")
        known = self._by_name.get(str(frame["type"]))
        if known is None:
            self._on_misuse("request_not_served")
            raise InvalidError(f"{self.path.name}: wanted a request that this socket serves, got another one")
        cls, handler = known
        if call.descriptors and not request_type(cls).descriptors:
            self._on_misuse("stray_descriptors")
            raise InvalidError(f"{self.path.name}: wanted a request without descriptors, got some beside it")
        try:
            message = from_json(cls, frame["body"])
        except InvalidError:
            self._on_misuse("not_a_message")
            raise
        try:
            return handler(message, call)
        except EnclaveError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in a handler must not leak its text, nor end the daemon
            self._log.error("handler failed", error, request=str(frame["type"]))
            raise EnclaveError("the service failed while doing this; its log says where") from None


def peer_of(sock: socket.socket, number: int) -> Peer:
    """Who connected; raises ``OSError``."""
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid, number)


def refusal(request_id: str, error: EnclaveError) -> bytes:
    """The frame that tells an error."""
    return encode({"v": VERSION, "id": request_id, "ok": False, "error": _fault(error)})


def check_free(path: Path) -> None:
    """Raises ``UnavailableError`` when somebody listens there: a daemon that begins by clearing up asks first."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise UnavailableError(f"{path.name}: wanted a free socket, got one in use; another daemon is running")


def _listen(path: Path, mode: int) -> socket.socket:
    if len(os.fsencode(path)) > 107:
        raise InvalidError(f"socket path: wanted at most 107 bytes, got {len(os.fsencode(path))}; use a shorter home")
    check_free(path)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(mode)
    listener.listen(128)
    return listener


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def _encoded(answer: dict[str, Any]) -> bytes:
    try:
        return encode(answer)
    except WireError:
        words = "answer: wanted one that fits a frame of 1 MiB, got a larger one; ask for less"
        raise InvalidError(words, code="answer_too_large") from None


def _fault(error: EnclaveError) -> dict[str, str]:
    message = error.message.encode("utf-8", "replace").decode("utf-8")[:MAX_MESSAGE]
    return {"family": error.family, "code": error.code, "message": message}


def _closed(descriptors: Sequence[int]) -> tuple[int, ...]:
    """Closes them; what is left of them is nothing."""
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)
    return ()
