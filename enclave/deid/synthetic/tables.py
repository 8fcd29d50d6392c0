"""The two tables that come with the images: one row per patient, one row per visit."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from enclave.deid.synthetic.people import Person, Rng, pick

_DIAGNOSES = ("pneumonia", "COPD", "lung nodule", "knee osteoarthritis", "gallstones", "no finding")
_DEPARTMENTS = ("radiology", "pulmonology", "orthopaedics", "emergency")
_VISIT_COLUMNS = (
    *("visit_id", "patient_id", "accession_number", "admission_date", "discharge_date"),
    *("department", "diagnosis", "crp_mg_l", "attending", "remark"),
)
_SMOKING = ("never", "former", "current")


@dataclass(frozen=True, slots=True)
class Visit:
    """One stay, with the accession number of its imaging."""

    person: Person
    number: str
    accession: str
    admitted: date
    discharged: date


def make_visits(rng: Rng, *, person: Person, first: date) -> list[Visit]:
    """One to three stays of one person."""
    visits = []
    admitted = first
    for _ in range(int(rng.integers(1, 4))):
        visits.append(
            Visit(
                person=person,
                number=f"V{int(rng.integers(10**8, 10**9))}",
                accession=f"ACC{int(rng.integers(10**8, 10**9))}",
                admitted=admitted,
                discharged=admitted + timedelta(days=int(rng.integers(1, 12))),
            )
        )
        admitted += timedelta(days=int(rng.integers(20, 200)))
    return visits


def write_patients(path: Path, *, rng: Rng, people: list[Person]) -> None:
    """``patients.csv``: direct identifiers, quasi-identifiers, clinical columns, a free text note."""
    header = (
        "patient_id,name,birth_date,national_id,address,phone,email,referring_physician,"
        "age,sex,zip,smoking_status,height_cm,weight_kg,first_seen,note"
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header.split(","))
        for p in people:
            table.writerow([
                p.mrn, f"{p.surname}, {p.given}", p.birth.isoformat(), p.national_id, f"{p.street}, {p.town}",
                p.phone, p.email, p.physician.split("^")[0], p.age, p.sex, p.zip, pick(rng, _SMOKING),
                int(rng.normal(171, 9)), round(float(rng.normal(76, 12)), 1),
                (date(2023, 1, 9) + timedelta(days=int(rng.integers(0, 200)))).isoformat(),
                f"{p.given} {p.surname} of {p.town} asks to be called on {p.phone}.",
            ])  # fmt: skip


def write_visits(path: Path, *, rng: Rng, visits: list[Visit]) -> None:
    """``visits.csv``: several rows per patient, linked by ``patient_id`` and ``accession_number``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(_VISIT_COLUMNS)
        for v in visits:
            attending = v.person.physician.split("^")[0]
            table.writerow([
                v.number, v.person.mrn, v.accession, v.admitted.isoformat(), v.discharged.isoformat(),
                pick(rng, _DEPARTMENTS), pick(rng, _DIAGNOSES), round(float(rng.gamma(2.0, 12.0)), 1), attending,
                f"Seen by Dr. {attending}; relatives of {v.person.surname} informed.",
            ])  # fmt: skip
