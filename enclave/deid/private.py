"""The private elements that a job meets: how often, in what form, how much they tell people apart. Never a value.

For the expert who judges what the safe list does not know. Values and patients are counted by a keyed hash; beyond a
limit counting ends, and the account says so.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom._private_dict import private_dictionaries

from enclave.deid.actions import ARRAY_VRS
from enclave.deid.decoding import items_of
from enclave.deid.encoding import encode_value
from enclave.deid.keyring import Keyring
from enclave.deid.multiplicity import NUMBER_SIZES
from enclave.deid.recurring import KNOWN_BY_BYTES, Recurring
from enclave.deid.table import PrivateElement, safe_private
from enclave.deid.tree import BROKEN, Field, Items, Node, Value, texts

MAX_ELEMENTS = 4_000
MAX_HASHES = 400_000  # values and patients of all elements together, some 100 bytes each
_MAX_RECURRING_BYTES = 4 << 20
_FORM = (True, True)
_SHARED = 0  # stands for the patient of a value that several have
_HASH_BYTES = 8
_ONE_VALUE = frozenset({"ST", "LT", "UT", "UR", "OB", "UN", BROKEN}) | ARRAY_VRS
Key = tuple[str, int, int, str]  # creator, group, element, representation


@dataclass(slots=True)
class Tally:
    """What was seen of one element."""

    files: int = 0
    least: int = 0
    most: int = 0
    owners: dict[int, int] = field(default_factory=dict)  # the value's hash, its patient's or _SHARED
    patients: set[int] = field(default_factory=set)
    capped: bool = False

    def merge(self, other: Tally) -> int:
        """Takes over another part's counts; returns how many hashes came in."""
        before = len(self.owners) + len(self.patients)
        self.least = min(self.least, other.least) if self.files else other.least
        self.most = max(self.most, other.most)
        self.files += other.files
        self.patients |= other.patients
        for value, patient in other.owners.items():
            known = self.owners.setdefault(value, patient)
            if known != patient:
                self.owners[value] = _SHARED
        self.capped |= other.capped
        return len(self.owners) + len(self.patients) - before

    def own_value_share(self) -> float | None:
        """The share of patients who have a value that nobody else has; None when not all were counted."""
        if self.capped or not self.patients:
            return None
        alone = set(self.owners.values()) - {_SHARED}
        return round(len(alone) / len(self.patients), 4)


@dataclass(slots=True)
class PrivateElements:
    """Counts over files; parts of a job are merged. ``key`` is the same for all of them."""

    key: bytes = field(repr=False)
    tallies: dict[Key, Tally] = field(default_factory=dict)
    not_counted: int = 0  # elements met when there were too many others
    _hashes: int = 0
    _without: Recurring[bool] = field(default_factory=lambda: Recurring(max_bytes=_MAX_RECURRING_BYTES))

    def add(self, tree: Node, patient: str, *, unread: Iterable[tuple[int, str]] = ()) -> None:
        """Takes one file. ``unread`` are elements whose values were too long to be read."""
        person = self._hash(patient.encode("utf-8", "surrogateescape"))
        one: dict[Key, Tally] = {}
        for node, tag, value in self._elements(tree):
            tally = self._tally(one, node, tag, value[0])
            count = _multiplicity(value)
            tally.least, tally.most = min(tally.least, count), max(tally.most, count)
            if count:
                data = (
                    value[1] if isinstance(value[1], bytes) else encode_value(value[0], _opened(value[1]), form=_FORM)
                )
                tally.owners[self._hash(data)] = person
            tally.patients.add(person)
        for tag, vr in unread:
            tally = self._tally(one, tree, tag, vr)
            tally.capped = True
            tally.patients.add(person)
        for name, tally in one.items():
            tally.files, tally.least = 1, min(tally.least, tally.most)
            self._take(name, tally)

    def merge(self, other: PrivateElements) -> None:
        """Takes over what another part of the job met."""
        for name, tally in other.tallies.items():
            self._take(name, tally)
        self.not_counted += other.not_counted

    def account(self, *, kept: Collection[PrivateElement]) -> dict[str, Any]:
        """``elements``, the most telling first, without those of ``kept``; ``not_counted``.

        Each has ``creator`` (a name under the job's key unless the creator is a known one: it may be anybody's words),
        ``creator_known, element, vr, files, patients, values, own_value_share, vm, capped``.
        """
        rows = [self._row(name, tally) for name, tally in self.tallies.items() if PrivateElement(*name[:3]) not in kept]
        rows.sort(key=lambda row: (-(row["own_value_share"] or 0.0), row["creator"], row["element"], row["vr"]))
        return {"elements": rows, "not_counted": self.not_counted}

    def forget(self) -> None:
        """Drops what serves only to take more files sooner."""
        self._without.clear()

    def _elements(self, node: Node) -> Iterator[tuple[Node, int, Field]]:
        without = self._without.within(())
        for key in node.items():
            tag, value = key
            if value[0] != "SQ":
                if tag & 0x10000 and tag & 0xFFFF >= 0x1000:
                    yield node, tag, value
                continue
            private = tag & 0x10000 and tag & 0xFFFF >= 0x1000
            recurring = isinstance(value[1], KNOWN_BY_BYTES)
            if recurring and not private and key in without:
                continue
            items = items_of(value)
            if private:
                yield node, tag, (BROKEN, b"") if items is None else ("SQ", items)
            found = [inside for item in items or () for inside in self._elements(item)]
            yield from found
            if recurring and not found:
                self._without.add(without, key, True)  # noqa: FBT003 - the value of a mapping

    def _row(self, name: Key, tally: Tally) -> dict[str, Any]:
        creator, group, element, vr = name
        known = creator in _known_creators()
        return {
            "creator": creator if known else f"unknown-{self._hash(creator.encode('utf-8', 'replace')):016x}"[:16],
            "creator_known": known,
            "element": f"{group:04x},xx{element:02x}",
            "vr": "UN" if vr == BROKEN else vr,
            "files": tally.files,
            "patients": len(tally.patients),
            "values": len(tally.owners),
            "own_value_share": tally.own_value_share(),
            "vm": [tally.least, tally.most],
            "capped": tally.capped,
        }

    def _tally(self, one: dict[Key, Tally], node: Node, tag: int, vr: str) -> Tally:
        creator = node.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
        name = "\\".join(texts(creator, node=node)) if creator is not None else ""
        key = (name, tag >> 16, tag & 0xFF, vr)
        found = one.get(key)
        if found is None:
            found = one[key] = Tally(least=1 << 31)
        return found

    def _take(self, name: Key, tally: Tally) -> None:
        mine = self.tallies.get(name)
        if mine is None:
            if len(self.tallies) >= MAX_ELEMENTS:
                self.not_counted += tally.files
                return
            mine = self.tallies[name] = Tally()
        if self._hashes + len(tally.owners) + len(tally.patients) > MAX_HASHES:
            new = not tally.owners.keys() <= mine.owners.keys() or not tally.patients <= mine.patients
            tally = Tally(tally.files, tally.least, tally.most, capped=tally.capped or new)
        self._hashes += mine.merge(tally)

    def _hash(self, data: bytes) -> int:
        digest = hashlib.blake2b(data, key=self.key, digest_size=_HASH_BYTES).digest()
        return int.from_bytes(digest, "big") or 1


def is_kept(node: Node, tag: int, kept: Container[PrivateElement]) -> bool:
    """Whether the private element ``tag`` of ``node`` is one of ``kept``: by creator, group and element."""
    element = tag & 0xFFFF
    creator = node.get(tag & 0xFFFF0000 | element >> 8)
    if creator is None or element < 0x1000:
        return False
    name = "\\".join(texts(creator, node=node))
    return PrivateElement(name, tag >> 16, element & 0xFF) in kept


def private_key(keyring: Keyring) -> bytes:
    """The key of a job's counting: the same on every machine that works for it."""
    return hmac.new(keyring.number, b"private elements", hashlib.sha256).digest()


@functools.cache
def _known_creators() -> frozenset[str]:
    return frozenset(private_dictionaries) | frozenset(entry.creator for entry in safe_private())


def _opened(value: Value) -> Value:
    """The same with all sequences opened at any depth, as they are encoded; broken ones are empty."""
    if isinstance(value, Items):
        value = items_of(("SQ", value)) or []
    if not isinstance(value, list):
        return value
    opened = []
    for item in value:
        opened.append(Node(item.encodings, little=item.little, implicit=item.implicit))
        opened[-1].update({tag: (vr, _opened(inside)) for tag, (vr, inside) in item.items()})
    return opened


def _multiplicity(value: Field) -> int:
    """How many values: items of a sequence, numbers of a binary one; words are not decoded for it."""
    vr, data = value
    if not data:
        return 0
    if vr in NUMBER_SIZES:
        return max(1, len(data) // NUMBER_SIZES[vr])
    if vr == "SQ":
        return len(data)
    backslash = b"\\" if isinstance(data, bytes) else "\\"
    return 1 if vr in _ONE_VALUE else int(data.count(backslash)) + 1
