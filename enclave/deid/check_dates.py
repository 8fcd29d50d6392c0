"""Intervals after a job: every date and time of day that moved, at any depth, against the one in the input. Pure.

What a value should have become is not computed as the job does it: the new one is read as a date again, and the days
between the two are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from enclave.deid.actions import Action, dummy
from enclave.deid.dates import keep_tm, parse_da, shift_da, shift_dt
from enclave.deid.decoding import items_of
from enclave.deid.places import Place, Places
from enclave.deid.tree import Node, texts

Moments = tuple[tuple[int, str], ...]  # the hash of a place with its representation, and the values there
_SOP_CLASS = 0x00080016
_VRS = frozenset({"DA", "DT", "TM"})
_GONE = frozenset({Action.REMOVE, Action.ZERO})
_DAY, _HOUR = 8, 2  # digits
KeepsPrivate = Callable[[Node, int], bool]


@dataclass(frozen=True, slots=True)
class Dates:
    """Which dates a recipe moves: by the rules at their place, and of private elements those that may stay."""

    places: Places
    keeps_private: KeepsPrivate
    times: str = "exact"
    _shared: dict[Moments, Moments] = field(default_factory=dict)

    def of(self, tree: Node) -> Moments:
        """All dates and times of an object that the recipe moves or keeps; equal ones are held once."""
        found: Moments = ()
        if _SOP_CLASS in tree:
            place = self.places.top("".join(texts(tree[_SOP_CLASS], node=tree)))
            found = tuple(self._in(tree, place, ()))
        return self._shared.setdefault(found, found)

    def wrong(self, before: Moments, after: Moments, *, days: int) -> int:
        """How many places hold anything but what was there ``before``, moved by ``days``."""
        if not before and not after:
            return 0
        old, new = dict(before), dict(after)
        amiss = sum(not self._moved(old[place], new.get(place, ""), days=days) for place in old)
        return amiss + sum(place not in old for place in new)

    def _in(self, node: Node, place: Place, above: tuple[int, ...]) -> Iterator[tuple[int, str]]:
        for tag, value in node.items():
            vr = value[0]
            if vr == "SQ":
                if tag >> 16 & 1 or place[tag, vr].action in _GONE:
                    continue
                for number, item in enumerate(items_of(value) or ()):
                    yield from self._in(item, place.within(tag), (*above, tag, number))
            elif vr in _VRS and self._stays(node, place, tag, vr):
                yield hash((*above, tag)), "\\".join((vr, *texts(value, node=node)))

    def _stays(self, node: Node, place: Place, tag: int, vr: str) -> bool:
        if tag >> 16 & 1:
            return self.keeps_private(node, tag)
        if tag >> 16 < 8 or tag >> 24 == 0x60:
            return False
        action = place[tag, vr].action
        return action is Action.CLEAN or (vr == "TM" and action is Action.KEEP)

    def _moved(self, before: str, after: str, *, days: int) -> bool:
        """Whether the values of one place, behind their representation, are those from before, ``days`` later.

        Of what could not move nothing may be left: the place is empty or holds the dummy of a mandatory value.
        """
        vr, *old = before.split("\\")
        other, *new = after.split("\\") if after else (vr,)
        old = [text for text in old if self._can_move(vr, text, days)]
        if not old:
            return not any(text.strip(" \0") for text in new) or (other == vr and new == [dummy(vr)])
        same = other == vr and len(old) == len(new)
        return same and all(self._is_later(vr, one, two, days) for one, two in zip(old, new, strict=True))

    def _can_move(self, vr: str, text: str, days: int) -> bool:
        if vr == "DA":
            return bool(shift_da(text, days=days))
        if vr == "DT":
            return bool(shift_dt(text, days=days))
        return bool(keep_tm(text, times=self.times))

    def _is_later(self, vr: str, old: str, new: str, days: int) -> bool:
        if vr == "TM":
            return new.strip() == (old.strip(" \0")[:_HOUR] if self.times == "hour" else old.strip())
        one = parse_da(old if vr == "DA" else old[:_DAY])
        two = parse_da(new if vr == "DA" else new[:_DAY])
        if one is None or two is None or (two - one).days != days:
            return False
        return vr == "DA" or self.times != "exact" or old[_DAY:].strip(" \0") == new[_DAY:]
