"""Sentences as radiologists dictate them, about one patient and about people whom no attribute names."""

from __future__ import annotations

from random import Random

from pydicom.dataset import Dataset

from benchmarks.deid.people import Person, plain
from benchmarks.deid.phrases import EPONYMS, TECHNIQUE_WORDS
from benchmarks.deid.truth import FileTruth, Where

_TEMPLATES = (
    "{name} presents with shortness of breath since {date} and was referred for {technique} imaging.",
    "Comparison was made with the examination of {date}, which showed {eponym} without change.",
    "Findings were discussed with Dr. {stranger} by telephone at the end of the session.",
    "According to the daughter, {stranger} {other}, symptoms began while travelling.",
    "MRN {mrn}, accession {accession}: there is no evidence of {eponym} today.",
    "The study was read by {physician} and the images of {mrn} were compared.",
    "The patient lives in {other} and was brought in by a neighbour, {stranger} {other}.",
    "{stranger} {other} , the nurse, reported that {surname} tolerated the injection well.",
    "There is mild thickening of the wall and {technique} was repeated because of motion.",
    "{SURNAME}: increasing size of the hepatic lesion, and {eponym} cannot be excluded.",
)
_SENTENCES = 4
Strangers = tuple[str, str]


def narrate(
    text_of: Dataset, where: Where, *, truth: FileTruth, person: Person, rng: Random, strangers: Strangers
) -> None:
    """Fills ``TextValue`` of a content item, notes what has to go and what has to stay; ``strangers`` are new names."""
    stranger, other = strangers
    seen = person.studies[0]
    gone = {
        "name": f"{plain(person.given)} {plain(person.surname)}".strip(),
        "surname": plain(person.surname),
        "SURNAME": plain(person.surname).upper(),
        "stranger": stranger,
        "other": other,
        "mrn": person.mrn,
        "accession": person.accession,
        "physician": plain(person.physician.partition("^")[0]),
        "date": rng.choice((f"{seen:%Y-%m-%d}", f"{seen:%d.%m.%Y}", f"{seen.day} {seen:%B} {seen.year}")),
    }
    own = gone["surname"].lower()  # an eponym that is this patient's name has to go
    stay = {
        "eponym": rng.choice([one for one in EPONYMS if own not in one.lower()]),
        "technique": rng.choice(TECHNIQUE_WORDS),
    }
    chosen = rng.sample(_TEMPLATES, _SENTENCES)
    text = " ".join(chosen)
    for name, phrase in stay.items():
        if f"{{{name}}}" in text:
            truth.words.append((where, phrase))
    truth.removed += [(where, value) for name, value in gone.items() if f"{{{name}}}" in text and len(value) >= 4]
    text_of.TextValue = text.format(**gone, **stay)
