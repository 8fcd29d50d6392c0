"""Bodies: long texts (a cell's source, a reason) kept encrypted beside the records, which hold their salted hashes.

The salt lies inside the encrypted body, so destroying the body destroys what could confirm a guess of it, while every
proof over the records stays whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from enclave.audit.segments import FILE_HEAD, BadBytes, SegmentReader, read_segment, segment_files
from enclave.core.canonical import JsonValue, canonical_bytes, parse_json
from enclave.core.errors import EnclaveError, InvalidError
from enclave.keys.box import Box

MAX_BODIES_BYTES = 1 << 20  # what fits one frame of the wire
_SALT_BYTES = 16
_MAX_SEALED = 2 * MAX_BODIES_BYTES


@dataclass(frozen=True, slots=True)
class Body:
    """One text as it was given."""

    seq: int
    name: str
    text: str


def make_bodies(
    bodies: Mapping[str, str], *, box: Box, event_id: str, salt: Callable[[int], bytes]
) -> tuple[dict[str, JsonValue], bytes]:
    """What the record says about its bodies, and their sealed bytes; both empty without bodies."""
    if not bodies:
        return {}, b""
    if sum(len(text.encode("utf-8", "surrogatepass")) for text in bodies.values()) > MAX_BODIES_BYTES:
        raise InvalidError(f"event bodies: wanted at most {MAX_BODIES_BYTES} bytes, got more")
    hashes: dict[str, JsonValue] = {}
    plain: dict[str, JsonValue] = {}
    for name, text in bodies.items():
        grain = salt(_SALT_BYTES)
        data = text.encode("utf-8", "replace")
        hashes[name] = {"bytes": len(data), "hash": hashlib.sha256(grain + data).hexdigest()}
        plain[name] = {"salt": grain.hex(), "text": data.decode("utf-8")}
    return hashes, box.seal(canonical_bytes(plain), context=_context(event_id))


class BodyReader:
    """Opens bodies in the order of their records."""

    def __init__(self, folder: Path, *, box: Box, next_seq: int = 0) -> None:
        self._reader = SegmentReader(folder, next_seq=next_seq, max_record=_MAX_SEALED)
        self._box = box

    def read(self, event_ids: Mapping[int, str]) -> list[Body]:
        """The bodies of these records (sequence number → event id); those shredded or damaged are left out."""
        if not event_ids:
            return []
        found: list[Body] = []
        for item in self._reader.read(upto=max(event_ids) + 1, count=1 << 30):
            event_id = event_ids.get(item.seq)
            if event_id is None:
                continue
            try:
                plain = parse_json(self._box.open(item.payload, context=_context(event_id)))
            except EnclaveError:
                continue
            found.extend(Body(item.seq, name, value["text"]) for name, value in plain.items())
        return found


def trim_bodies(folder: Path, *, size: int) -> None:
    """Cuts off bodies whose records never became durable (a crash came between the two)."""
    for path in segment_files(folder)[-1:]:
        for item in read_segment(path, max_record=_MAX_SEALED):
            if isinstance(item, BadBytes) or item.seq >= size:
                os.truncate(path, max(item.offset, FILE_HEAD.size))
                return


def _context(event_id: str) -> bytes:
    return b"enclave.audit.body:" + event_id.encode()
