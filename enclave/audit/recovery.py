"""Opening a store after whatever happened to it: the good part is kept, the damage is told.

What a signed checkpoint covers is *proven*: its leaf hashes are taken from the tiles, so the tree goes on unbroken
even when records below it were changed or lost; that damage stays in the files for ``verify`` to find. Records after
the last checkpoint are taken as far as they are whole; what follows is copied to ``damaged/`` and cut off. All
records are held against whatever else was signed, so that no start signs over a change in silence when tiles or the
checkpoint are missing or older ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from enclave.audit.checkpoint import TreeHead, VerifierKey, Verify, parse_checkpoint, verify_checkpoint
from enclave.audit.kept_checkpoints import COSIGNED, HISTORY, checkpoints_aside, older_checkpoints
from enclave.audit.merkle import TILE_WIDTH, Tree, leaf_hash
from enclave.audit.segments import (
    FULL,
    RECORD_HEAD,
    BadBytes,
    Record,
    first_seq_of,
    read_segment,
    segment_files,
)
from enclave.audit.spare import cut_spare
from enclave.audit.tiles import TileFolder, levels_of, open_tiles_of, root_at, root_of, split_hashes
from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import EnclaveError, IntegrityError
from enclave.runtime.durable import sync_folder


@dataclass(frozen=True, slots=True)
class Damage:
    """Stored bytes that were not what was written. ``proven``: a checkpoint covers them, so receipts were given."""

    segment: str
    offset: int
    lost_bytes: int
    first_bad_seq: int
    proven: bool


class Durable(NamedTuple):
    """A record that will not be lost: its place, its leaf hash, and eight bytes that tell its event from another."""

    seq: int
    leaf: bytes
    fingerprint: bytes


@dataclass(slots=True)
class Recovered:
    """Where the log stands after opening. ``resume`` is the segment to go on in and its good length.

    ``head`` is what the last checkpoint says; ``contradicted``: the stored records are not those that it signed.
    """

    leaves: list[bytes]
    head: TreeHead | None
    contradicted: bool = False
    resume: tuple[Path, int] | None = None
    damage: list[Damage] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The number of records, lost ones below the checkpoint counted too."""
        return len(self.leaves)

    def tree(self) -> Tree:
        """The tree over them."""
        return Tree(size=len(self.leaves), open_tiles=open_tiles_of(self.leaves))


def recover(folder: Path, *, key: VerifierKey, verify: Verify) -> Recovered:
    """Reads the whole store below ``folder`` and repairs its tail."""
    proven, head = _proven_leaves(folder, key, verify)
    scan = _Scan(proven)
    for path in segment_files(folder / "segments"):
        cut_spare(path)
        scan.segment(path)
    result = Recovered(scan.leaves, head, damage=scan.damage())
    _compare_with_signed(folder, result, len(proven), key, verify)
    _cut_tail(folder, scan, result)
    return result


def _compare_with_signed(folder: Path, result: Recovered, proven: int, key: VerifierKey, verify: Verify) -> None:
    """Tells what was signed beyond the ``proven`` records and is not what is stored."""
    heads = _heads_beyond(folder, proven, key, verify)
    if result.head is not None and result.head.size > proven:
        heads.append(result.head)
    levels = levels_of(result.leaves) if heads else []
    fit = [head for head in heads if head.size <= result.size and root_at(levels, head.size) == head.root]
    if len(fit) < len(heads):
        good = max((head.size for head in fit), default=proven)
        result.damage.append(Damage("", 0, 0, good, proven=True))
        result.contradicted = result.head in heads and result.head not in fit
    elif result.head is None and _was_signed(folder, result.size):
        result.damage.append(Damage("checkpoint", 0, 0, 0, proven=False))


def _heads_beyond(folder: Path, proven: int, key: VerifierKey, verify: Verify) -> list[TreeHead]:
    """What the kept checkpoints say that are larger than ``proven``; forged ones are left to ``verify``."""
    heads = []
    for kept in chain(older_checkpoints(folder), checkpoints_aside(folder)):
        with contextlib.suppress(IntegrityError):
            if parse_checkpoint(kept.text).size > proven:
                heads.append(verify_checkpoint(kept.text, key=key, verify=verify))
    return heads


def _was_signed(folder: Path, size: int) -> bool:
    """Whether there was a checkpoint: something of it is left, or there are records that were never without one."""
    log = folder / "log"
    return size >= TILE_WIDTH or any((log / name).exists() for name in ("checkpoint", "tile", HISTORY, COSIGNED))


def fingerprint(event: bytes) -> bytes:
    """Eight bytes that tell an event (its canonical JSON) from another with the same id."""
    return hashlib.sha256(event).digest()[:8]


def recent_ids(folder: Path, *, count: int, leaves: Sequence[bytes]) -> dict[bytes, Durable]:
    """The ids of at least the last ``count`` records (when there are so many), oldest first."""
    parts: list[dict[bytes, Durable]] = []
    total = 0
    for path in reversed(segment_files(folder / "segments")):
        part = {}
        for item in read_segment(path):
            if isinstance(item, Record) and item.seq < len(leaves):
                known = _known(item, leaves)
                if known:
                    part[known[0]] = known[1]
        parts.append(part)
        total += len(part)
        if total >= count:
            break
    return {key: value for part in reversed(parts) for key, value in part.items()}


def last_time(folder: Path) -> str:
    """When the newest readable record was received; empty for a store without one."""
    for path in reversed(segment_files(folder / "segments")):
        for item in reversed(list(read_segment(path))):
            if isinstance(item, Record):
                with contextlib.suppress(EnclaveError, KeyError, TypeError):
                    return format_time(parse_time(parse_json(item.payload)["received"]))
    return ""


def _known(record: Record, leaves: Sequence[bytes]) -> tuple[bytes, Durable] | None:
    try:
        event = parse_json(record.payload)["event"]
        return bytes.fromhex(event["id"]), Durable(record.seq, leaves[record.seq], fingerprint(canonical_bytes(event)))
    except (EnclaveError, KeyError, TypeError, ValueError):
        return None  # not of our writing; verify names it


def _proven_leaves(folder: Path, key: VerifierKey, verify: Verify) -> tuple[list[bytes], TreeHead | None]:
    """The leaf hashes that the last checkpoint covers; none when it or the tiles are missing or do not agree."""
    try:
        text = (folder / "log" / "checkpoint").read_text("utf-8")
        head = verify_checkpoint(text, key=key, verify=verify)
    except (OSError, UnicodeDecodeError, IntegrityError):
        return [], None
    data = TileFolder(folder / "log").leaves(head.size)
    leaves = split_hashes(data) if data is not None else []
    if data is None or root_of(leaves) != head.root:
        return [], head
    return leaves, head


class _Scan:
    """One pass over the segments, in order."""

    def __init__(self, proven: list[bytes]) -> None:
        self._proven = len(proven)
        self.leaves = list(proven)
        self._seen = bytearray(len(proven))
        self._strange: BadBytes | None = None  # bytes that are no record, until one follows them
        self._between: list[Damage] = []
        self._tail_broken = False
        self.tail: list[tuple[Path, int, int]] = []  # what comes after the good part: file, offset, bytes
        self.end: tuple[Path, int] | None = None  # where the last good record ends

    def segment(self, path: Path) -> None:
        if self._tail_broken:
            self.tail.append((path, 0, path.stat().st_size))
            return
        whole = path.stat().st_size
        for item in read_segment(path):
            if isinstance(item, BadBytes):
                self._strange = self._strange or item
            elif item.seq < self._proven:
                if leaf_hash(item.payload) == self.leaves[item.seq]:
                    self._seen[item.seq] = 1
                    self._good_until(path, item)
            elif item.seq == len(self.leaves):
                self.leaves.append(leaf_hash(item.payload))
                self._good_until(path, item)
            else:
                self._tail_broken = True
                break
        good = self.end[1] if self.end and self.end[0] == path else 0
        if good < whole and (self._tail_broken or len(self.leaves) > self._proven or self._last_proven_seen()):
            self.tail.append((path, good, whole - good))

    def damage(self) -> list[Damage]:
        found = []
        lost = self._seen.find(0)
        if lost >= 0:
            found.append(Damage("", 0, 0, lost, proven=True))
        for path, offset, size in self.tail[:1]:
            found.append(Damage(path.name, offset, size, len(self.leaves), proven=False))
        return found or self._between[:1]

    def _last_proven_seen(self) -> bool:
        return not self._seen or bool(self._seen[-1])

    def _good_until(self, path: Path, record: Record) -> None:
        self.end = (path, record.offset + RECORD_HEAD.size + len(record.payload))
        if self._strange is not None:
            strange, self._strange = self._strange, None
            proven = record.seq < self._proven
            self._between.append(Damage(strange.segment, strange.offset, strange.lost_bytes, record.seq, proven=proven))


def _cut_tail(folder: Path, scan: _Scan, result: Recovered) -> None:
    """Copies what is no record to ``damaged/`` and takes it out of the segments, so that writing can go on."""
    for path, offset, _ in scan.tail:
        try:
            _keep_damaged(folder, path, offset)
        except OSError as error:
            if error.errno not in FULL:
                raise
            os.truncate(folder / "reserve", 0)  # what is kept free for a full disk
            _keep_damaged(folder, path, offset)
        if offset == 0 or first_seq_of(path) >= result.size:
            path.unlink()
    last = segment_files(folder / "segments")
    if scan.end and last and scan.end[0] == last[-1]:
        result.resume = scan.end


def _keep_damaged(folder: Path, path: Path, offset: int) -> None:
    """Copies a segment from ``offset`` on under a name of its own, durably: it is cut off next."""
    kept = folder / "damaged"
    kept.mkdir(mode=0o700, exist_ok=True)
    number, place = 1, kept / f"{path.name}-{offset}"
    while place.exists():
        number += 1
        place = kept / f"{path.name}-{offset}-{number}"
    try:
        with path.open("rb") as source, place.open("xb") as target:
            source.seek(offset)
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
    except OSError:
        place.unlink(missing_ok=True)
        raise
    sync_folder(kept)
    sync_folder(folder)
