"""The rules at one place of an object, resolved once per SOP class: asking again is one look into a dictionary."""

from __future__ import annotations

from enclave.deid.actions import UNKNOWN
from enclave.deid.iods import TOP, Iod, iod_of
from enclave.deid.profile import Profile, Rule

_MAX_RULES = 20_000  # more than the standard has attributes: only hostile files get there
_MAX_SEQUENCES = 2_000


class Place(dict[tuple[int, str], Rule]):
    """By tag and value representation the rule, at the top level of an IOD or in the items of one sequence."""

    def __init__(self, profile: Profile, iod: Iod | None, *, sequence: int, places: dict[int, Place]) -> None:
        super().__init__()
        self._profile = profile
        self._iod = iod
        self._sequence = sequence
        self._places = places
        self.name = (iod.name if iod is not None else "", sequence)

    def __missing__(self, key: tuple[int, str]) -> Rule:
        if len(self) >= _MAX_RULES:
            self.clear()
        tag, vr = key
        iod_type = UNKNOWN if self._iod is None else self._iod.type_of(tag, sequence=self._sequence)
        rule = self[key] = self._profile.rule(tag, vr=vr, iod_type=iod_type, top=self._sequence == TOP)
        return rule

    def within(self, sequence: int) -> Place:
        """The place of the items of ``sequence``."""
        found = self._places.get(sequence)
        if found is None:
            if len(self._places) >= _MAX_SEQUENCES:
                self._places.clear()
            found = self._places[sequence] = Place(self._profile, self._iod, sequence=sequence, places=self._places)
        return found


class Places:
    """The places of all IODs under one profile."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._tops: dict[str, Place] = {}

    def top(self, sop_class: str) -> Place:
        """The top level of the objects of ``sop_class``; all SOP classes that are not known share one."""
        iod = iod_of(sop_class)
        name = iod.name if iod is not None else ""
        found = self._tops.get(name)
        if found is None:
            found = self._tops[name] = Place(self._profile, iod, sequence=TOP, places={})
        return found
