"""Naming what was done to a log: records in the files against the leaf hashes that were signed. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

DamageKind = Literal["edit", "deletion", "insertion", "reorder", "truncation", "forged_checkpoint", "split_view"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. ``seq`` None where no single record is meant; segment and offset say where to look."""

    kind: DamageKind
    seq: int | None
    segment: str
    offset: int


@dataclass(slots=True)
class Stored:
    """What stands at one place of a segment: a record, or (leaf None) bytes that are none."""

    seq: int
    leaf: bytes | None
    segment: str
    offset: int
    ends_file: bool = False


def classify(stored: Sequence[Stored], expected: Sequence[bytes]) -> list[Finding]:
    """Every difference between the files and what was signed, by sequence number."""
    if len(stored) >= len(expected) and all(item.leaf == leaf for item, leaf in zip(stored, expected, strict=False)):
        return [] if len(stored) == len(expected) else _strays(stored, expected)
    return sorted(_differences(stored, expected), key=lambda f: -1 if f.seq is None else f.seq)


def loose_tail(stored: Sequence[Stored], size: int) -> list[Finding]:
    """Faults among records after the checkpoint: only their numbers can be checked, nobody has signed them yet."""
    wanted = size
    for item in stored:
        if item.leaf is None or item.seq < size:
            continue
        if item.seq != wanted:
            kind: DamageKind = "deletion" if item.seq > wanted else "insertion"
            return [Finding(kind, wanted, item.segment, item.offset)]
        wanted += 1
    return []


def _strays(stored: Sequence[Stored], expected: Sequence[bytes]) -> list[Finding]:
    """Records beyond the signed ones that claim numbers of signed ones, or bytes between records that are none."""
    findings: list[Finding] = []
    size = len(expected)
    for number in range(size, len(stored)):
        item = stored[number]
        if item.leaf is None and not (item.ends_file and number == len(stored) - 1):
            findings.append(Finding("edit", size, item.segment, item.offset))
        elif item.leaf is not None and item.seq < size:
            findings.append(Finding("insertion", item.seq, item.segment, item.offset))
    return findings


def _differences(stored: Sequence[Stored], expected: Sequence[bytes]) -> Iterator[Finding]:
    place_of = {leaf: seq for seq, leaf in enumerate(expected)}
    kept = _longest_run(stored, place_of)
    present = {place_of[item.leaf] for item in stored if item.leaf is not None and item.leaf in place_of}
    used: set[int] = set(kept.values())
    before = -1
    strange: list[Stored] = []
    for index, item in enumerate(stored):
        seq = kept.get(index)
        if seq is not None:
            yield from _gap(before, seq, present, strange, at=item, at_end=False)
            before, strange = seq, []
        elif item.leaf is not None and item.leaf in place_of:
            origin = place_of[item.leaf]
            kind: DamageKind = "insertion" if origin in used else "reorder"
            used.add(origin)
            yield Finding(kind, origin, item.segment, item.offset)
        else:
            strange.append(item)
    # What follows the last genuine record and is numbered on has not been signed yet: nobody can say that it is wrong.
    strange = [item for item in strange if item.leaf is None or item.seq < len(expected)]
    end = stored[-1] if stored else Stored(-1, None, "", 0)
    yield from _gap(before, len(expected), present, strange, at=end, at_end=True)


def _gap(
    before: int, after: int, present: set[int], strange: list[Stored], *, at: Stored, at_end: bool
) -> Iterator[Finding]:
    """Between two kept records: what is missing, paired with what stands there instead."""
    missing = [seq for seq in range(before + 1, after) if seq not in present]
    torn = at_end and len(strange) == 1 and strange[0].ends_file and len(missing) > 1
    if torn:
        strange = []
    for number, seq in enumerate(missing):
        if number < len(strange):
            yield Finding("edit", seq, strange[number].segment, strange[number].offset)
        elif strange and strange[-1].leaf is None:
            yield Finding("edit", seq, strange[-1].segment, strange[-1].offset)
        else:
            yield Finding("truncation" if at_end else "deletion", seq, at.segment, at.offset)
    for item in strange[len(missing) :]:
        if item.leaf is not None or not (at_end and item.ends_file):
            yield Finding("insertion" if item.leaf is not None else "edit", before + 1, item.segment, item.offset)


def _longest_run(stored: Sequence[Stored], place_of: dict[bytes, int]) -> dict[int, int]:
    """Which of the genuine records stand in rising order when as few as possible are set aside (patience sorting)."""
    tops: list[int] = []
    top_index: list[int] = []
    previous: dict[int, int | None] = {}
    seqs: dict[int, int] = {}
    for index, item in enumerate(stored):
        seq = place_of.get(item.leaf) if item.leaf is not None else None
        if seq is None:
            continue
        seqs[index] = seq
        pile = bisect_left(tops, seq)
        previous[index] = top_index[pile - 1] if pile else None
        if pile == len(tops):
            tops.append(seq)
            top_index.append(index)
        else:
            tops[pile] = seq
            top_index[pile] = index
    run: dict[int, int] = {}
    at: int | None = top_index[-1] if top_index else None
    while at is not None:
        run[at] = seqs[at]
        at = previous[at]
    return run
