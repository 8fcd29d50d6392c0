"""What the launcher tells its tap, on the first line of the tap's stdin: no key ever stands in an argument list."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.sandbox.tap.policy import DisplayPolicy
from enclave.wire.messages.schema import Json

IDLE_EXIT = 75  # the tap's exit code when nobody used its kernel for ``idle_s``


@dataclass(frozen=True, slots=True, kw_only=True)
class TapSettings:
    """``front`` and ``back`` are Jupyter connection infos (ipc) with a key each; sockets are host paths.

    ``left`` maps hour and day to ``[bytes, images, rows]`` that the person may still be shown in this project,
    ``granted`` is what of it this tap has already. ``environment`` names the kernel's package set; ``notebook`` is the
    path of the notebook as the client stated it first, empty when it did not.
    """

    kernel: str
    person: str
    role: str
    project: str
    session: str
    notebook: str
    environment: str
    front: Json
    back: Json
    audit_socket: str
    broker_socket: str
    airlock_socket: str
    display: DisplayPolicy
    left: Json
    granted: Json
    idle_s: float
