"""What a witness says and how it is asked: C2SP tlog-cosignature (``cosignature/v1``) and tlog-witness. Pure.

A witness signs, with the time, that the largest tree it has seen of a log has this root and continues the one before.
The request ``add-checkpoint`` is ``old SIZE``, a consistency proof in base64, an empty line, the checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from enclave.audit.checkpoint import Sign, VerifierKey, Verify, note_body, signature_line, signatures_by
from enclave.core.errors import InvalidError

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = 16 << 10
_TIME = struct.Struct(">Q")
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """One request: the size that the client believes the witness to hold, the way from there, the checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: str


def write_request(request: AddCheckpoint) -> bytes:
    """The body of a POST to ``add-checkpoint``."""
    lines = [f"old {request.old_size}", *(base64.b64encode(step).decode() for step in request.proof)]
    return ("\n".join(lines) + "\n\n" + request.checkpoint).encode()


def parse_request(data: bytes) -> AddCheckpoint:
    """The request in ``data``; raises ``InvalidError`` for any other bytes."""
    try:
        head, _, checkpoint = data.decode("utf-8").partition("\n\n")
        first, *steps = head.split("\n")
        old = _OLD.fullmatch(first)
        proof = tuple(base64.b64decode(step, validate=True) for step in steps)
    except (UnicodeDecodeError, binascii.Error, ValueError):
        old, proof, checkpoint = None, (), ""
    if old is None or not checkpoint or len(proof) > MAX_PROOF_LINES or any(len(step) != 32 for step in proof):
        raise InvalidError("add-checkpoint: wanted old size, proof and checkpoint, got another form")
    return AddCheckpoint(int(old.group(1)), proof, checkpoint)


def cosign(checkpoint: str, *, key: VerifierKey, sign: Sign, time_s: int) -> str:
    """The signature line of a witness under ``checkpoint``; ``time_s`` is POSIX time, above zero."""
    return signature_line(key, _TIME.pack(time_s) + sign(_message(checkpoint, time_s)))


def cosigned_at(text: str, *, key: VerifierKey, verify: Verify) -> int | None:
    """When the witness ``key`` last cosigned this note (POSIX time); None when it did not."""
    times = []
    for raw in signatures_by(text, key=key):
        if len(raw) == _TIME.size + 64:
            (time_s,) = _TIME.unpack_from(raw)
            if 0 < time_s < 1 << 63 and verify(key.public_key, _message(text, time_s), raw[_TIME.size :]):
                times.append(time_s)
    return max(times, default=None)


def with_signatures(checkpoint: str, lines: Sequence[str]) -> str:
    """The note with further signature lines below those that it has."""
    return checkpoint + "".join(lines)


def _message(checkpoint: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{note_body(checkpoint)}".encode()
