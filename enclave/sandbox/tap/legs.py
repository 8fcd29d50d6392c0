"""The sockets of a tap: what the client sees in front, the kernel behind.

All back sockets carry one identity, for the kernel routes stdin by the identity that asked on shell. The front
keeps everything it was given; the back lets the kernel wait (and keep what it has not sent) when the tap is behind,
so that no output is lost and the tap's memory stays bounded.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
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
        self.front: dict[str, zmq.Socket[bytes]] = {name: self._front_socket(name, front) for name in CHANNELS}
        self.back: dict[str, zmq.Socket[bytes]] = {}
        self.connect_back()

    def connect_back(self) -> None:
        """Connects anew to the kernel's endpoints; what was on its way to an ended kernel is forgotten."""
        for sock in self.back.values():
            sock.close(linger=0)
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
            sock.connect(endpoint(self._back_info, name))
            self.back[name] = sock

    def close(self) -> None:
        """Gives what is still queued to clients a moment, then closes."""
        for sock in self.front.values():
            sock.close(linger=500)
        for sock in self.back.values():
            sock.close(linger=0)
        self._context.term()

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
