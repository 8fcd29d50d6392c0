"""The sockets of a tap: what the client sees in front, the kernel behind.

All back sockets carry one identity, for the kernel routes stdin by the identity that asked on shell. The front
keeps everything it was given; the back lets the kernel wait (and keep what it has not sent) when the tap is behind,
so that no output is lost and the tap's memory stays bounded.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, Literal

import zmq

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
