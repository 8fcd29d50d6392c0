"""Bodies: long texts (a cell's source, a reason) kept encrypted beside the records, which hold their salted hashes.

The salt lies inside the encrypted body, so destroying the body destroys what could confirm a guess of it, while every
proof over the records stays whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from enclave.audit.body_keys import BodyKeys, month_of, overwrite
from enclave.audit.segments import (
    FILE_HEAD,
    RECORD_HEAD,
    Record,
    SegmentReader,
    frame,
    read_segment,
    segment_files,
)
from enclave.core.canonical import JsonValue, canonical_bytes, parse_json
from enclave.core.errors import EnclaveError, InvalidError
from enclave.keys.box import Box
from enclave.runtime.durable import sync_folder

MAX_BODIES_BYTES = 1 << 20  # what fits one frame of the wire
_SALT_BYTES = 16
MAX_SEALED_BYTES = 2 * MAX_BODIES_BYTES  # one record of bodies, encrypted


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


@dataclass(frozen=True, slots=True)
class Shredded:
    """How many bodies are gone, and the months whose keys went with their last body."""

    bodies: int
    months: tuple[str, ...]


def shred_bodies(folder: Path, *, seqs: AbstractSet[int], keys: BodyKeys, before: Path) -> Shredded:
    """Takes the bodies of these records out of all segments of bodies older than ``before``, which is still written to.

    A segment is written anew without them and the old bytes are overwritten; done again after a crash it does the rest.
    """
    gone = 0
    for leftover in folder.glob(".*.part"):  # of a time that was cut short
        leftover.unlink()
    for path in segment_files(folder):
        if path.name < before.name:
            gone += _rewrite(path, seqs)
    used = {month for path in segment_files(folder) for month in _months(path)}
    unused = sorted(keys.months() - used - {_newest(keys)})
    for month in unused:
        keys.destroy(month)
    return Shredded(gone, tuple(month.decode() for month in unused))


def _rewrite(path: Path, seqs: AbstractSet[int]) -> int:
    part = path.with_name(f".{path.name}.part")
    gone = kept = 0
    with path.open("rb") as source, part.open("xb") as target:
        target.write(source.read(FILE_HEAD.size))
        for item in read_segment(path, max_record=MAX_SEALED_BYTES):
            if isinstance(item, Record) and item.seq in seqs:
                gone += 1
                continue
            if isinstance(item, Record):
                kept += 1
                target.write(frame(item.seq, item.payload))
            elif item.offset:
                source.seek(item.offset)  # what cannot be read is not ours to judge; it goes with its segment
                target.write(source.read(item.lost_bytes))
        target.flush()
        os.fsync(target.fileno())
    if not gone:
        part.unlink()
        return 0
    with path.open("r+b") as old:
        if kept:
            part.replace(path)
            sync_folder(path.parent)  # first, or a power cut leaves the old name with nothing but zeros
        overwrite(old.fileno())
    if not kept:
        part.unlink()
        path.unlink()
        sync_folder(path.parent)
    return gone


def _months(path: Path) -> Iterator[bytes]:
    for item in read_segment(path, max_record=MAX_SEALED_BYTES):
        month = month_of(item.payload) if isinstance(item, Record) else None
        if month is not None:
            yield month


def _newest(keys: BodyKeys) -> bytes:
    """The newest month may be getting its first body just now."""
    return max(keys.months(), default=b"")


class BodyReader:
    """Opens bodies in the order of their records."""

    def __init__(self, folder: Path, *, box: Box, next_seq: int = 0) -> None:
        self._reader = SegmentReader(folder, next_seq=next_seq, max_record=MAX_SEALED_BYTES)
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
    """Cuts off what comes after the last body of a durable record (a crash came between the two)."""
    for path in segment_files(folder)[-1:]:
        end = FILE_HEAD.size
        for item in read_segment(path, max_record=MAX_SEALED_BYTES):
            if isinstance(item, Record) and item.seq < size:
                end = item.offset + RECORD_HEAD.size + len(item.payload)
        if end < path.stat().st_size:
            os.truncate(path, end)


def lost_bodies(folder: Path, *, first: int, size: int) -> dict[bytes, int]:
    """The records ``first`` … ``size`` - 1 of a ledger that name texts which are not there: event id → number.

    A crash of the machine can leave a record without its texts, for both are made durable at the same time; then
    nobody has a receipt for it.
    """
    wanted = dict(with_bodies(SegmentReader(folder / "segments", next_seq=first).read(upto=size, count=size)))
    reader = SegmentReader(folder / "bodies", next_seq=first, max_record=MAX_SEALED_BYTES)
    there = {item.seq for item in reader.read(upto=size, count=size)} if wanted else set()
    return {bytes.fromhex(event_id): seq for seq, event_id in wanted.items() if seq not in there}


def with_bodies(records: Iterable[Record]) -> Iterator[tuple[int, str]]:
    """Number and event id of the records that have bodies, which canonical JSON puts first."""
    for record in records:
        if record.payload.startswith(b'{"bodies":'):
            with contextlib.suppress(EnclaveError, KeyError, TypeError):
                yield record.seq, str(parse_json(record.payload)["event"]["id"])


def _context(event_id: str) -> bytes:
    return b"enclave.audit.body:" + event_id.encode()
