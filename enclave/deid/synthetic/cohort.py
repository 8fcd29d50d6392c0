"""An identified cohort of people who do not exist: DICOM files and two tables, identifiers in every hiding place.

The same seed gives the same bytes. What was planted is returned, never written beside the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from enclave.core.errors import ConflictError
from enclave.deid.synthetic.instances import Exam, write_exam
from enclave.deid.synthetic.people import Person, make_people
from enclave.deid.synthetic.tables import Visit, make_visits, write_patients, write_visits

TODAY = date(2025, 6, 2)  # fixed, so that a seed gives the same cohort on any day
CT_SHARE, MR_SHARE, CR_SHARE = 20, 30, 38  # of 44 patients: CT below 20, MR below 30, CR below 38, US from there


@dataclass(slots=True)
class Planted:
    """What must not survive: ``strings`` (at least five characters each) and ``uids``; and what was written."""

    strings: list[str] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)
    patients: int = 0
    instances: int = 0

    @property
    def identifiers(self) -> list[str]:
        """All that must be absent from what leaves intake, each once."""
        return list(dict.fromkeys((*self.strings, *self.uids)))

    def patterns(self) -> list[bytes]:
        """The same as UTF-8, for a search over raw bytes."""
        return [text.encode() for text in self.identifiers]


def generate_cohort(directory: Path, *, seed: int, patients: int = 44) -> Planted:
    """Writes ``directory/dicom/…``, ``patients.csv`` and ``visits.csv``; returns what was planted.

    Raises ``ConflictError`` when ``directory`` holds something already.
    """
    if directory.exists() and any(directory.iterdir()):
        raise ConflictError("synthetic cohort: wanted an empty folder, got one in use; choose another")
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    people = make_people(rng, count=patients, at=TODAY)
    planted = Planted(patients=patients)
    visits: list[Visit] = []
    for number, person in enumerate(people):
        own = make_visits(rng, person=person, first=TODAY - timedelta(days=int(rng.integers(300, 700))))
        visits.extend(own)
        _plant(planted, person=person, visits=own)
        for exam in _exams(number, person=person, visit=own[0], patients=patients):
            written = write_exam(directory / "dicom", rng=rng, exam=exam)
            planted.uids.extend(written.uids)
            planted.strings.extend(written.strings)
            planted.instances += written.instances
    write_patients(directory / "patients.csv", rng=rng, people=people)
    write_visits(directory / "visits.csv", rng=rng, visits=visits)
    planted.strings = [text for text in dict.fromkeys(planted.strings) if len(text) >= 5]
    return planted


def _exams(number: int, *, person: Person, visit: Visit, patients: int) -> list[Exam]:
    place = number * 44 // max(44, patients) if patients > 44 else number
    at = visit.admitted
    if place < CT_SHARE:
        exams = [Exam(person, visit.accession, at, "CT", 8)]
        if place % 2:
            exams.append(Exam(person, visit.accession, at + timedelta(days=63), "CT", 4))
        if place % 5 == 0:
            exams.append(Exam(person, visit.accession, at, "SC", 1))
        return exams
    if place < MR_SHARE:
        return [Exam(person, visit.accession, at, "MR", 6)]
    if place < CR_SHARE:
        return [Exam(person, visit.accession, at, "CR", 2)]
    return [Exam(person, visit.accession, at, "US", 3)]


def _plant(planted: Planted, *, person: Person, visits: list[Visit]) -> None:
    p = person
    planted.strings += [
        p.surname, p.surname.upper(), p.dicom_name, f"{p.surname}, {p.given}", f"{p.given} {p.surname}", p.mrn,
        p.mrn.removeprefix("MRN"), p.national_id, p.street, p.phone, p.email, p.mother, p.mother.split("^")[0],
        p.hospital, p.physician, p.physician.split("^")[0], p.operator, p.operator.split("^")[0], p.town,
    ]  # fmt: skip
    for visit in visits:
        planted.strings += [visit.number, visit.accession]
