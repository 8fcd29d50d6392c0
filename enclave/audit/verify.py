"""Checking a log from its files alone, on any machine: what was promised against what is there.

The signed checkpoint decides. When the tiles agree with it they say record by record what must stand where, and
``evidence.classify`` names each difference. When they do not, the records themselves are folded; older checkpoints in
``log/history.jsonl`` then narrow down where the log begins to differ.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from enclave.audit.checkpoint import TreeHead, VerifierKey, verify_checkpoint
from enclave.audit.evidence import DamageKind, Finding, Stored, classify, loose_tail
from enclave.audit.merkle import HASH_BYTES, TILE_WIDTH, leaf_hash
from enclave.audit.segments import (
    FILE_HEAD,
    MAGIC,
    MAX_RECORD_BYTES,
    RECORD_HEAD,
    BadBytes,
    read_segment,
    record_crc,
    segment_files,
)
from enclave.audit.tiles import TileFolder, root_of, split_hashes
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


def verify_log(folder: Path, *, key: VerifierKey | None = None, against: str | None = None) -> Verdict:
    """Checks the whole log in ``folder`` (see ``log_folder``); never raises for what is wrong inside of it.

    ``key`` None takes the key that lies beside the log: then who can rewrite both is not found. ``against`` is a
    checkpoint that was saved earlier or elsewhere.
    """
    folder = log_folder(folder)
    return _Check(folder, key or read_vkey(folder / "log" / "vkey")).run(against)


class _Check:
    def __init__(self, folder: Path, key: VerifierKey) -> None:
        self._folder, self._key = folder, key
        self._findings: list[Finding] = []

    def run(self, against: str | None) -> Verdict:
        head = self._head()  # read before the segments: a live log only grows
        leaves = self._leaves(head)
        for name, text in self._other_checkpoints(against):
            self._compare(name, text, head, leaves)
        seqs = [finding.seq for finding in self._findings if finding.seq is not None]
        findings = tuple(self._findings[:MAX_FINDINGS])
        return Verdict(not findings, head.size, head.root.hex(), min(seqs, default=None), findings)

    def _head(self) -> TreeHead:
        """What was signed last, as far as it can be known."""
        stored = segment_files(self._folder / "segments")
        try:
            text = (self._folder / CHECKPOINT).read_text("utf-8")
            return verify_checkpoint(text, key=self._key, verify=verify_ed25519)
        except (OSError, UnicodeDecodeError, IntegrityError):
            if stored or (self._folder / CHECKPOINT).exists():
                self._findings.append(Finding("forged_checkpoint", None, CHECKPOINT, 0))
        history = self._history()
        return history[-1] if history else TreeHead(self._key.name, 0, root_of([]))

    def _history(self) -> list[TreeHead]:
        """The older checkpoints that our key signed, by size."""
        heads = []
        try:
            lines = (self._folder / "log" / "history.jsonl").read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
        for line in lines:
            try:
                text = json.loads(line)["checkpoint"]
                heads.append(verify_checkpoint(text, key=self._key, verify=verify_ed25519))
            except (ValueError, KeyError, TypeError, AttributeError, IntegrityError):
                continue
        return sorted(heads, key=lambda head: head.size)

    def _leaves(self, head: TreeHead) -> list[bytes]:
        """The leaf hashes as signed, or the best there is; notes every difference to the records."""
        stored = self._stored()
        data = TileFolder(self._folder / "log").leaves(head.size)
        expected = split_hashes(data) if data is not None else []
        if data is not None and root_of(expected) == head.root:
            self._findings.extend(classify(stored, expected))
            self._findings.extend(loose_tail(stored, head.size))
            return expected
        found = [item.leaf for item in stored if item.leaf is not None]
        if len(found) >= head.size and root_of(found[: head.size]) == head.root:
            if data is not None:
                bad = next(i for i, leaf in enumerate(expected) if leaf != found[i])
                tile = f"log/tile/0/{bad // TILE_WIDTH}"
                self._findings.append(Finding("edit", bad, tile, bad % TILE_WIDTH * HASH_BYTES))
            self._findings.extend(loose_tail(stored, head.size))
            return found[: head.size]
        self._without_tiles(stored, found, head)
        return found[: head.size]

    def _without_tiles(self, stored: list[Stored], found: list[bytes], head: TreeHead) -> None:
        """Records do not fold to the signed root and no tiles tell which: numbers and older checkpoints must."""
        good = 0
        for older in self._history():
            if older.size <= len(found) and root_of(found[: older.size]) == older.root:
                good = older.size
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
        for path in segment_files(self._folder / "segments"):
            result.extend(_read_quickly(path) or _read_carefully(path))
        return result

    def _other_checkpoints(self, against: str | None) -> list[tuple[str, str]]:
        kept = sorted((self._folder / "log").glob("checkpoint.contradicted-*"))
        others = [(f"log/{path.name}", path.read_text("utf-8", "replace")) for path in kept]
        return others + ([("against", against)] if against is not None else [])

    def _compare(self, name: str, text: str, head: TreeHead, leaves: list[bytes]) -> None:
        try:
            other = verify_checkpoint(text, key=self._key, verify=verify_ed25519)
        except IntegrityError:
            self._findings.append(Finding("forged_checkpoint", None, name, 0))
            return
        if other.size > head.size:
            self._findings.append(Finding("truncation", head.size, name, 0))
        elif len(leaves) >= other.size and root_of(leaves[: other.size]) != other.root:
            self._findings.append(Finding("split_view", None, name, 0))


def _read_quickly(path: Path) -> list[Stored] | None:
    """All records of a segment that is whole; None when it is not."""
    data = path.read_bytes()
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
    if FILE_HEAD.unpack_from(data)[1] != result[0].seq:
        return None
    return result


def _read_carefully(path: Path) -> list[Stored]:
    """What can be read of a damaged segment; bytes that are no record stand between with no leaf hash."""
    size = path.stat().st_size
    result: list[Stored] = []
    for item in read_segment(path):
        if isinstance(item, BadBytes):
            result.append(Stored(-1, None, item.segment, item.offset, ends_file=item.offset + item.lost_bytes >= size))
        else:
            result.append(Stored(item.seq, leaf_hash(item.payload), item.segment, item.offset))
    head = path.open("rb").read(FILE_HEAD.size)
    numbers = [item.seq for item in result if item.leaf is not None]
    if len(head) == FILE_HEAD.size and head[:8] == MAGIC and numbers and FILE_HEAD.unpack(head)[1] != numbers[0]:
        result.insert(0, Stored(-1, None, path.name, 8))
    return result
