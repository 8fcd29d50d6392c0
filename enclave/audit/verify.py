"""Checking a log from its files alone, on any machine: what was promised against what is there.

The signed checkpoint decides. When the tiles agree with it they say record by record what must stand where, and
``evidence.classify`` names each difference. When they do not, the records themselves are folded; older checkpoints in
``log/history.jsonl`` then narrow down where the log begins to differ. Every checkpoint that the log's key ever signed
must fit: older ones in the history, those that witnesses cosigned, those that somebody saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

from enclave.audit.checkpoint import TreeHead, VerifierKey, verify_checkpoint
from enclave.audit.evidence import DamageKind, Finding, Stored, classify, loose_tail
from enclave.audit.kept_checkpoints import KeptCheckpoint, checkpoints_aside, older_checkpoints
from enclave.audit.merkle import HASH_BYTES, TILE_WIDTH, leaf_hash
from enclave.audit.segment_sums import SegmentSum, segment_sums
from enclave.audit.segments import (
    FILE_HEAD,
    MAGIC,
    MAX_RECORD_BYTES,
    RECORD_HEAD,
    BadBytes,
    read_segment,
    record_crc,
    segment_files,
    segment_name,
)
from enclave.audit.spare import written_size
from enclave.audit.tiles import Levels, TileFolder, levels_of, root_at, root_of, split_hashes
from enclave.core.errors import IntegrityError, NotFoundError
from enclave.keys.verify import verify_ed25519

MAX_FINDINGS = 1000
CHECKPOINT = "log/checkpoint"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``ok`` when everything signed is there unchanged. ``size`` and ``root`` (hex) are what the checkpoint says."""

    ok: bool
    size: int
    root: str
    first_bad_seq: int | None
    damage: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Signed:
    """A checkpoint that the log's key signed, and where it was found."""

    where: str
    offset: int
    head: TreeHead


def log_folder(path: Path) -> Path:
    """The folder with ``segments`` and ``log``, given it, its ``log``, or a home; raises ``NotFoundError``."""
    for folder in (path, path.parent, path / "audit"):
        if (folder / "segments").is_dir() and (folder / "log").is_dir():
            return folder
    raise NotFoundError("audit log: wanted a folder with segments/ and log/, got none; name it with --log")


def read_vkey(path: Path) -> VerifierKey:
    """The verifier key in a file; raises ``NotFoundError``, ``InvalidError``."""
    try:
        return VerifierKey.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        raise NotFoundError(f"verifier key {path.name}: wanted a file to read, got none; name it with --vkey") from None


def verify_log(folder: Path, *, key: VerifierKey | None = None, against: Sequence[str] = ()) -> Verdict:
    """Checks the whole log in ``folder`` (see ``log_folder``); never raises for what is wrong inside of it.

    ``key`` None takes the key that lies beside the log: then who can rewrite both is not found. ``against`` are
    checkpoints that were saved earlier or elsewhere.
    """
    folder = log_folder(folder)
    return _Check(folder, key or read_vkey(folder / "log" / "vkey")).run(against)


class _Check:
    def __init__(self, folder: Path, key: VerifierKey) -> None:
        self._folder, self._key = folder, key
        self._findings: list[Finding] = []

    def run(self, against: Sequence[str]) -> Verdict:
        # A live log only grows: what may only be older is read first.
        older = self._signed(older_checkpoints(self._folder))
        elsewhere = (KeptCheckpoint("against", 0, text) for text in against)
        others = self._signed(chain(checkpoints_aside(self._folder), elsewhere))
        head = self._head(older)
        levels = self._leaves(head, older)
        for found in (*older, *others):
            self._compare(found, head, levels)
        seqs = [finding.seq for finding in self._findings if finding.seq is not None]
        findings = tuple(self._findings[:MAX_FINDINGS])
        return Verdict(not findings, head.size, head.root.hex(), min(seqs, default=None), findings)

    def _head(self, older: list[_Signed]) -> TreeHead:
        """What was signed last, as far as it can be known."""
        stored = segment_files(self._folder / "segments")
        try:
            text = (self._folder / CHECKPOINT).read_text("utf-8")
            return verify_checkpoint(text, key=self._key, verify=verify_ed25519)
        except (OSError, UnicodeDecodeError, IntegrityError):
            if stored or (self._folder / CHECKPOINT).exists():
                self._findings.append(Finding("forged_checkpoint", None, CHECKPOINT, 0))
        return max((item.head for item in older), key=lambda head: head.size, default=_nothing(self._key))

    def _signed(self, kept: Iterable[KeptCheckpoint]) -> list[_Signed]:
        """Those that our key signed; any other is a finding."""
        found = []
        for one in kept:
            try:
                head = verify_checkpoint(one.text, key=self._key, verify=verify_ed25519)
                found.append(_Signed(one.where, one.offset, head))
            except IntegrityError:
                self._findings.append(Finding("forged_checkpoint", None, one.where, one.offset))
        return found

    def _leaves(self, head: TreeHead, older: list[_Signed]) -> Levels:
        """The leaf hashes as signed, or the best there is, with the levels above; notes every difference."""
        with segment_sums(segment_files(self._folder / "segments"), upto=head.size) as sums:
            data = TileFolder(self._folder / "log").leaves(head.size)
            expected = split_hashes(data) if data is not None else []
            levels = levels_of(expected)
            signed = data is not None and root_at(levels, head.size) == head.root
            whole = data is not None and signed and _whole(sums, data)
        if signed:
            if not whole:
                stored = self._stored()
                self._findings.extend(classify(stored, expected))
                self._findings.extend(loose_tail(stored, head.size))
            return levels
        stored = self._stored()
        found = [item.leaf for item in stored if item.leaf is not None]
        if len(found) >= head.size and root_of(found[: head.size]) == head.root:
            if data is not None:
                bad = next(i for i, leaf in enumerate(expected) if leaf != found[i])
                tile = f"log/tile/0/{bad // TILE_WIDTH}"
                self._findings.append(Finding("edit", bad, tile, bad % TILE_WIDTH * HASH_BYTES))
            self._findings.extend(loose_tail(stored, head.size))
            return levels_of(found[: head.size])
        self._without_tiles(stored, found, head, older)
        return levels_of(found[: head.size])

    def _without_tiles(self, stored: list[Stored], found: list[bytes], head: TreeHead, older: list[_Signed]) -> None:
        """Records do not fold to the signed root and no tiles tell which: numbers and older checkpoints must."""
        levels = levels_of(found)
        fit = (s.head.size for s in older if s.head.size <= len(found) and root_at(levels, s.head.size) == s.head.root)
        good = max(fit, default=0)
        before = len(self._findings)
        expected_seq = 0
        for item in stored:
            if item.leaf is None:
                self._findings.append(Finding("edit", expected_seq, item.segment, item.offset))
            elif item.seq != expected_seq and item.seq < head.size:
                kind: DamageKind = "deletion" if item.seq > expected_seq else "insertion"
                self._findings.append(Finding(kind, min(expected_seq, item.seq), item.segment, item.offset))
            expected_seq = item.seq + 1 if item.leaf is not None else expected_seq
            if len(self._findings) - before >= MAX_FINDINGS:
                return
        if len(found) < head.size and len(self._findings) == before:
            self._findings.append(Finding("truncation", len(found), CHECKPOINT, 0))
        elif len(self._findings) == before:
            place = next((item for item in stored if item.seq == good), None)
            where = (place.segment, place.offset) if place else (CHECKPOINT, 0)
            self._findings.append(Finding("edit", good, *where))

    def _stored(self) -> list[Stored]:
        result: list[Stored] = []
        paths = segment_files(self._folder / "segments")
        for path in paths:
            size = written_size(path) if path == paths[-1] else path.stat().st_size
            result.extend(_read_quickly(path, size) or _read_carefully(path, size))
        return result

    def _compare(self, other: _Signed, head: TreeHead, levels: Levels) -> None:
        if other.head.size > head.size:
            self._findings.append(Finding("truncation", head.size, other.where, other.offset))
        elif len(levels[0]) >= other.head.size and root_at(levels, other.head.size) != other.head.root:
            self._findings.append(Finding("split_view", None, other.where, other.offset))


def _nothing(key: VerifierKey) -> TreeHead:
    return TreeHead(key.name, 0, root_of([]))


def _whole(sums: Iterable[SegmentSum | None], expected: bytes) -> bool:
    """Whether the segments hold exactly the records of these leaves in order, and after them only records numbered on.

    The quick way through a log that nobody has touched; what it does not like is looked at closely elsewhere.
    """
    wanted, size = 0, len(expected) // HASH_BYTES
    for found in sums:
        if found is None or found.first != wanted:
            return False
        signed = expected[found.first * HASH_BYTES : min(found.end, size) * HASH_BYTES]
        if sha256(signed).hexdigest() != found.digest:
            return False
        wanted = found.end
    return wanted >= size


def _read_quickly(path: Path, size: int) -> list[Stored] | None:
    """All records in the first ``size`` bytes of a segment when they are whole; None when they are not."""
    with path.open("rb") as file:
        data = file.read(size)
    if len(data) <= FILE_HEAD.size or data[:8] != MAGIC:
        return None
    result = []
    at, end, name = FILE_HEAD.size, len(data), path.name
    while at < end:
        if at + RECORD_HEAD.size > end:
            return None
        length, crc, seq = RECORD_HEAD.unpack_from(data, at)
        start = at + RECORD_HEAD.size
        payload = data[start : start + length]
        if len(payload) != length or not 0 < length <= MAX_RECORD_BYTES or record_crc(seq, payload) != crc:
            return None
        result.append(Stored(seq, leaf_hash(payload), name, at))
        at = start + length
    return result if _named(path, data, result[0].seq) else None


def _read_carefully(path: Path, size: int) -> list[Stored]:
    """What can be read of a damaged segment; bytes that are no record stand between with no leaf hash."""
    result: list[Stored] = []
    for item in read_segment(path, size_bytes=size):
        if isinstance(item, BadBytes):
            result.append(Stored(-1, None, item.segment, item.offset, ends_file=item.offset + item.lost_bytes >= size))
        else:
            result.append(Stored(item.seq, leaf_hash(item.payload), item.segment, item.offset))
    with path.open("rb") as file:
        head = file.read(FILE_HEAD.size)
    numbers = [item.seq for item in result if item.leaf is not None]
    if len(head) == FILE_HEAD.size and head[:8] == MAGIC and numbers and not _named(path, head, numbers[0]):
        result.insert(0, Stored(-1, None, path.name, 8))
    return result


def _named(path: Path, data: bytes, first_seq: int) -> bool:
    """Whether a segment's name and head say what its first record is."""
    return bool(FILE_HEAD.unpack_from(data)[1] == first_seq and path.name == segment_name(first_seq))
