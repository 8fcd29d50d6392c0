"""The sockets of a tap: what the client sees in front, the kernel behind.

All back sockets carry one identity, for the kernel routes stdin by the identity that asked on shell. The front
keeps everything it was given; the back lets the kernel wait (and keep what it has not sent) when the tap is behind,
so that no output is lost and the tap's memory stays bounded.

The folder of the kernel's sockets belongs to the kernel, and the tap stands outside of its sandbox: a link there would
lead the tap to another's socket. Each is therefore opened without following one, looked at, and reached as that very
thing, by a name in the tap's own folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import zmq
from zmq.backend import Socket as PlainSocket

from enclave.sandbox.tap.message import LARGE_BYTES

Channel = Literal["shell", "control", "stdin", "iopub", "hb"]
CHANNELS: Final[tuple[Channel, ...]] = ("control", "shell", "stdin", "iopub", "hb")
_BACK_HWM: Final = 1000
_FRONT_TYPES: Final = {
    "shell": zmq.ROUTER,
    "control": zmq.ROUTER,
    "stdin": zmq.ROUTER,
    "iopub": zmq.XPUB,
    "hb": zmq.ROUTER,
}
_BACK_TYPES: Final = {
    "shell": zmq.DEALER,
    "control": zmq.DEALER,
    "stdin": zmq.DEALER,
    "iopub": zmq.SUB,
    "hb": zmq.DEALER,
}


SHARED_BYTES: Final = 512 << 10
_MORE: Final = int(zmq.SNDMORE)
_AT_ONCE: Final = int(zmq.NOBLOCK)
_give: Final[Any] = PlainSocket.send  # any, for its stub has no call whose ``copy`` is computed


def send(sock: zmq.Socket[bytes], frames: Sequence[bytes | memoryview]) -> None:
    """Sends one message; a frame that is not bytes may be changed afterwards only below ``SHARED_BYTES``.

    A smaller one is copied: what is shared with ZeroMQ is given back by a thread of pyzmq's, which takes longer. By
    the class below pyzmq's own, which makes enumerations of flags for every frame: a small message takes 5 µs
    and not 25 to 40.
    """
    *first, last = frames
    for frame in first:
        _give(sock, frame, _MORE, copy=len(frame) < SHARED_BYTES)
    _give(sock, last, 0, copy=len(last) < SHARED_BYTES)


def receive(sock: zmq.Socket[bytes]) -> list[bytes | memoryview]:
    """One message, what is large of it without a copy; raises ``zmq.Again`` when there is none."""
    frames: list[bytes | memoryview] = []
    more = True
    while more:
        frame: Any = PlainSocket.recv(sock, _AT_ONCE, copy=False)
        frames.append(frame.bytes if len(frame) < LARGE_BYTES else frame.buffer)
        more = frame.more
    return frames


class Legs:
    """Front and back sockets by channel."""

    def __init__(self, *, front: dict[str, Any], back: dict[str, Any], max_message_bytes: int) -> None:
        self._context = zmq.Context(io_threads=1)
        self._back_info = back
        self._max = max_message_bytes
        own = Path(front["ip"])
        self._links = {name: own.with_name(f"{own.name}-b{back[f'{name}_port']}") for name in CHANNELS}
        self._found: dict[Channel, int] = {}  # the kernel's sockets that were looked at
        self._missing: set[Channel] = set()
        self.front: dict[str, zmq.Socket[bytes]] = {name: self._front_socket(name, front) for name in CHANNELS}
        self.back: dict[str, zmq.Socket[bytes]] = {}
        self.connect_back()

    @property
    def looking(self) -> bool:
        """Whether a kernel begins of which not every socket was found yet: ``look`` again soon."""
        return bool(self._missing)

    def expect_kernel(self) -> None:
        """A kernel begins, in an empty folder: its sockets are looked for."""
        self._forget_kernel()
        self._missing = set(CHANNELS)

    def look(self) -> tuple[Channel, ...]:
        """Takes the kernel's sockets that are there; names those in whose place something else lies, once each."""
        foreign: list[Channel] = []
        for name in sorted(self._missing):
            try:
                fd = os.open(
                    endpoint(self._back_info, name).removeprefix("ipc://"), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
                )
            except OSError:
                continue  # not there yet
            self._missing.discard(name)
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.close(fd)
                foreign.append(name)
                continue
            self._found[name] = fd
            self._links[name].symlink_to(f"/proc/self/fd/{fd}")
        return tuple(foreign)

    def _forget_kernel(self) -> None:
        for link in self._links.values():
            link.unlink(missing_ok=True)
        for fd in self._found.values():
            os.close(fd)
        self._found.clear()
        self._missing.clear()

    def connect_back(self) -> None:
        """Connects anew to the kernel's endpoints; what was on its way to an ended kernel is forgotten."""
        for sock in self.back.values():
            sock.close(linger=0)
        self._forget_kernel()
        identity = secrets.token_bytes(16)
        identity = b"\x01" + identity[1:]  # a leading zero is libzmq's own
        for name in CHANNELS:
            sock = self._context.socket(_BACK_TYPES[name])
            sock.linger = 0
            sock.set_hwm(0)
            sock.reconnect_ivl = 20
            sock.reconnect_ivl_max = 200
            sock.maxmsgsize = self._max
            if name == "iopub":
                sock.rcvhwm = _BACK_HWM
                sock.subscribe(b"")
            else:
                sock.routing_id = identity
            sock.connect(f"ipc://{self._links[name]}")  # tried again until there is something
            self.back[name] = sock

    def close(self) -> None:
        """Gives what is still queued to clients a moment, then closes."""
        for sock in self.front.values():
            sock.close(linger=500)
        for sock in self.back.values():
            sock.close(linger=0)
        self._context.term()
        with contextlib.suppress(OSError):  # the launcher takes the folder away, perhaps before us
            self._forget_kernel()

    def _front_socket(self, name: Channel, info: dict[str, Any]) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(_FRONT_TYPES[name])
        sock.set_hwm(0)
        sock.linger = 500
        sock.maxmsgsize = self._max
        if name == "iopub":
            sock.xpub_verbose = True
        else:
            sock.router_handover = True  # a client that reconnects keeps its identity
        sock.bind(endpoint(info, name))
        return sock


def endpoint(info: dict[str, Any], channel: str) -> str:
    """The ipc endpoint of one channel, spelled as jupyter_client does."""
    return f"ipc://{info['ip']}-{info[f'{channel}_port']}"
