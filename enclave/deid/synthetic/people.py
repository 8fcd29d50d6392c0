"""Invented people. Names are made from syllables, so that nobody's name is meant; all else is drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

_HEADS = ("Bran", "Cald", "Dor", "Elv", "Farn", "Grev", "Hask", "Ilv", "Jarn", "Kelv", "Lorv", "Marv", "Nord", "Orl")
_MIDDLES = ("a", "e", "i", "o", "u", "ane", "ive")
_TAILS = ("bury", "dotter", "kamp", "lund", "mark", "quist", "rath", "shaw", "thwait", "vik", "wick", "zell")
_GIVEN_F = ("Annelora", "Brisella", "Corvina", "Delphira", "Evandra", "Fiorella", "Gwenora", "Hestrild", "Isolva")
_GIVEN_M = ("Aldrik", "Bertolf", "Casparin", "Dietmond", "Emmerik", "Fridolin", "Gundolf", "Haldemar", "Ingolf")
_STREETS = ("Larkspur Row", "Quarry Bend", "Tannery Steps", "Millrace Walk", "Juniper Close", "Beacon Rise")
_TOWNS = ("Ostermarsch", "Veldhaven", "Karrowfield", "Thistlemoor")
_PLACES = ("St Odilia Hospital", "Veldhaven General Infirmary", "Karrowfield University Clinic")

Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Person:
    """One synthetic patient with all that identifies them; ``zip`` and ``age`` are quasi-identifiers."""

    surname: str
    given: str
    sex: str
    mrn: str
    national_id: str
    birth: date
    age: int
    zip: str
    street: str
    town: str
    phone: str
    email: str
    mother: str
    hospital: str
    physician: str
    operator: str

    @property
    def dicom_name(self) -> str:
        """``SURNAME^Given`` as modalities send it."""
        return f"{self.surname.upper()}^{self.given}"


def pick(rng: Rng, values: tuple[str, ...]) -> str:
    """One of ``values``."""
    return values[int(rng.integers(len(values)))]


def surname(rng: Rng) -> str:
    """A surname that no dictionary holds."""
    return pick(rng, _HEADS) + pick(rng, _MIDDLES) + pick(rng, _TAILS)


def make_people(rng: Rng, *, count: int, at: date) -> list[Person]:
    """``count`` people with distinct names and numbers, two of them over 89, the others of like age.

    Ages lie close together, as in a screening programme, so that k of 5 costs little.
    """
    people: list[Person] = []
    names: set[str] = set()
    physicians = [f"{surname(rng)}^{pick(rng, _GIVEN_M)}^^Dr." for _ in range(6)]
    operators = [f"{surname(rng)}^{pick(rng, _GIVEN_F)}" for _ in range(4)]
    while len(people) < count:
        name = surname(rng)
        if name in names:
            continue
        names.add(name)
        index = len(people)
        sex = "F" if index % 2 else "M"
        age = 93 + index if index < 2 else int(np.clip(rng.normal(69, 5), 52, 85))
        people.append(_person(rng, name=name, sex=sex, age=age, at=at, staff=(physicians, operators)))
    return people


def _person(rng: Rng, *, name: str, sex: str, age: int, at: date, staff: tuple[list[str], list[str]]) -> Person:
    given = pick(rng, _GIVEN_F if sex == "F" else _GIVEN_M)
    digits = rng.integers(0, 10, size=24)
    text = "".join(str(d) for d in digits)
    return Person(
        surname=name,
        given=given,
        sex=sex,
        mrn=f"MRN{text[:8]}",
        national_id=f"{text[8:11]}-{text[11:13]}-{text[13:17]}",
        birth=at - timedelta(days=age * 365 + age // 4 + int(rng.integers(1, 300))),
        age=age,
        zip=f"4{int(rng.integers(0, 2))}{int(rng.integers(0, 4))}{int(rng.integers(0, 10))}1",
        street=f"{int(rng.integers(100, 990))} {pick(rng, _STREETS)}",
        town=pick(rng, _TOWNS),
        phone=f"+49 30 55{text[17:23]}",
        email=f"{given.lower()}.{name.lower()}@mail.example",
        mother=f"{surname(rng)}^{pick(rng, _GIVEN_F)}",
        hospital=pick(rng, _PLACES),
        physician=staff[0][int(rng.integers(len(staff[0])))],
        operator=staff[1][int(rng.integers(len(staff[1])))],
    )
