"""Invented patients of several scripts, and the ways in which their identifiers are written."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass, field
from datetime import date, timedelta

_HEADS = (
    "Bran",
    "Cald",
    "Dorv",
    "Elvr",
    "Farn",
    "Grev",
    "Hask",
    "Ilvr",
    "Jarn",
    "Kelv",
    "Lorv",
    "Marv",
    "Nordr",
    "Orlq",
)
_MIDDLES = ("a", "e", "i", "o", "u", "ane", "ive", "oru")
_TAILS = ("bury", "dotter", "kamp", "lund", "mark", "quist", "rath", "shaw", "thwait", "vik", "wick", "zell")
_GIVEN = ("Annelora", "Brisella", "Corvina", "Aldrik", "Bertolf", "Casparin", "Delphira", "Evandra", "Emmerik")

# charset, PN as written, romanised surname and given name. Twelve of twenty patients have made-up Latin names.
_SPECIAL = (
    ("ISO_IR 100", "Grünwälder^Søren", "Grünwälder", "Søren"),
    ("ISO_IR 100", "Peña-Quintüx^María José", "Peña-Quintüx", "María"),
    ("ISO_IR 144", "Жаворонкин^Тимофей", "Жаворонкин", "Тимофей"),
    ("ISO_IR 192", "Παπαδημάκης^Λεωνίδας", "Παπαδημάκης", "Λεωνίδας"),
    ("\\ISO 2022 IR 87", "Yamazakura^Tarou=山桜^太郎=やまざくら^たろう", "Yamazakura", "Tarou"),
    ("GB18030", "Wangxiaodong=王小東", "Wangxiaodong", ""),
    ("ISO_IR 192", "Şahinoğlutürk^İpekçe", "Şahinoğlutürk", "İpekçe"),
    ("", "Parkinson^Adalheidis", "Parkinson", "Adalheidis"),
    ("", "May^Li", "May", "Li"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One patient with all that identifies them. ``charset`` is the value of (0008,0005)."""

    charset: str
    pn: str
    surname: str
    given: str
    sex: str
    birth: date
    mrn: str
    national: str
    phone: str
    email: str
    street: str
    town: str
    hospital: str
    department: str
    physician: str
    operator: str
    mother: str
    serial: str
    station: str
    accession: str
    studies: tuple[date, ...] = field(default=())

    def strings(self) -> list[str]:
        """What must be in no output byte: every spelling that is long enough not to occur by chance."""
        parts = [
            self.mrn,
            self.mrn[3:],
            self.mrn[-6:],
            self.national,
            self.national.replace("-", ""),
            self.email,
            self.street,
            self.town,
            self.hospital,
            self.serial,
            self.station,
            self.accession,
            self.phone,
            self.squeezed_phone(),
            self.surname,
            self.given,
            *self.pn.replace("=", "^").split("^"),
            *self.department.split(),
            *(part for name in (self.physician, self.operator, self.mother) for part in name.split("^")),
        ]
        parts += [plain(part) for part in (self.surname, self.given)]
        common = {"dr", "radiology", "parkinson"}
        kept = [p for p in dict.fromkeys(parts) if (len(p) >= 5 or not p.isascii()) and p.lower() not in common]
        return [p for p in kept if p]

    def squeezed_phone(self) -> str:
        """Digits only."""
        return "".join(char for char in self.phone if char.isdigit())

    def spellings(self) -> list[str]:
        """How people write this patient into free text; ASCII where the character set cannot hold more."""
        sur, giv = self.surname, self.given
        if self.charset in ("", "\\ISO 2022 IR 87"):
            sur, giv = plain(sur), plain(giv)
        birth, month = self.birth, self.birth.strftime("%b")
        said = [
            f"{giv} {sur}",
            f"{sur}, {giv}",
            f"{sur.upper()}^{giv.upper()}",
            f"{plain(sur)} {plain(giv)}".lower(),
            f"{giv[:1]}. {sur}",
            f"Mr {sur}",
            sur.upper(),
            f"{sur}_{giv}",
            f"{sur}-{giv}",
            f"MRN {self.mrn}",
            self.mrn.lower(),
            f"no {self.mrn[3:]}",
            f"id ..{self.mrn[-6:]}",
            f"{self.mrn[:6]}-{self.mrn[6:]}",
            self.national,
            self.national.replace("-", ""),
            self.national.replace("-", " "),
            f"call {self.phone}",
            self.squeezed_phone(),
            self.phone.replace(" ", "-"),
            f"DOB {birth:%d.%m.%Y}",
            f"born {birth:%Y-%m-%d}",
            f"{birth:%d} {month} {birth:%Y}",
            f"{birth:%m/%d/%Y}",
            f"acc {self.accession}",
            self.email,
            self.street,
            f"from {self.town}",
            self.hospital,
            f"seen by {self.physician.partition('^')[0]}",
            f"mother {self.mother.partition('^')[0]}",
        ]
        return [" ".join(text.split()) for text in said]


def plain(text: str) -> str:
    """Without diacritics."""
    stripped = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return stripped.replace("ø", "o").replace("ı", "i")


def make_people(rng: random.Random, *, count: int) -> list[Person]:
    """``count`` patients with distinct identifiers; staff and places are shared by several of them."""
    staff = [f"{_surname(rng)}^{rng.choice(_GIVEN)}^^Dr" for _ in range(6)]
    operators = [f"{_surname(rng)}^{rng.choice(_GIVEN)}" for _ in range(4)]
    towns = [_surname(rng) + "stedt" for _ in range(4)]
    taken: set[str] = set()
    people = []
    for index in range(count):
        charset, pn, sur, giv = _SPECIAL[index] if index < len(_SPECIAL) else _latin(rng, taken)
        people.append(_person(rng, index, (charset, pn, sur, giv), (staff, operators, towns)))
    return people


def _latin(rng: random.Random, taken: set[str]) -> tuple[str, str, str, str]:
    surname = _surname(rng)
    while surname in taken:
        surname = _surname(rng)
    taken.add(surname)
    given = rng.choice(_GIVEN)
    return "ISO_IR 100", f"{surname}^{given}", surname, given


def _surname(rng: random.Random) -> str:
    return rng.choice(_HEADS) + rng.choice(_MIDDLES) + rng.choice(_TAILS)


def _person(
    rng: random.Random, index: int, name: tuple[str, str, str, str], shared: tuple[list[str], list[str], list[str]]
) -> Person:
    charset, pn, surname, given = name
    staff, operators, towns = shared
    digits = "".join(rng.choice("123456789") for _ in range(40))
    town = rng.choice(towns)
    first = date(2019, 1, 1) + timedelta(days=rng.randrange(1400))
    return Person(
        charset,
        pn,
        surname,
        given,
        sex="FM"[index % 2],
        birth=date(1931, 1, 1) + timedelta(days=rng.randrange(26_000)),
        mrn=f"MRN{digits[:8]}",
        national=f"{digits[8:11]}-{digits[11:13]}-{digits[13:17]}",
        phone=f"+49 30 {digits[17:23]}{index:02d}",
        email=f"p{digits[23:28]}@mail-{town.lower()}.example",
        street=f"{digits[28:31]} {_surname(rng)} Lane",
        town=town,
        hospital=f"St {town} Hospital",
        department=f"Radiology {_surname(rng)}west",
        physician=rng.choice(staff),
        operator=rng.choice(operators),
        mother=f"{_surname(rng)}gard^{rng.choice(_GIVEN)}",
        serial=f"SN{digits[31:39]}",
        station=f"WS{_surname(rng).upper()}"[:14],
        accession=f"ACC{digits[5:9]}{index:03d}{digits[33:36]}",
        studies=(first, first + timedelta(days=rng.randrange(20, 400))),
    )
