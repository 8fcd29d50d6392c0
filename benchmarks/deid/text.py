"""Recall of the long-text stages on synthetic sentences: ``python -m benchmarks.deid.text [--seed N] [--json PATH]``.

Each stage adds one: the language model alone, forms as any tool has them (as much as Presidio's own defaults), forms
that clinicians write, the study's own identifiers. A planted value counts as found when none of its words is left.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.deid.phrases import EPONYMS, TECHNIQUE_WORDS
from enclave.deid.table import vocabulary
from enclave.detectors.long_text import clean_long_text
from enclave.detectors.model import open_analyzer
from enclave.detectors.patterns import pattern_spans
from enclave.detectors.words import Deny, Span, make_deny, words_of

SENTENCES = 240
KNOWN = frozenset({"patient", "caret", "caps", "lower", "surname", "doctor", "house", "mrn", "dashed", "accession"})
FIRST = (
    *(
        "Aurelio",
        "Brunhilde",
        "Chidi",
        "Delphine",
        "Eoghan",
        "Fatoumata",
        "Gudrun",
        "Hamza",
        "Ilse",
        "Jacinta",
        "Kwame",
    ),
    *("Ludmila", "Marisol", "Nkechi", "Oisin", "Priya", "Quentin", "Rosalind", "Siobhan", "Takeshi", "Wei", "Yusuf"),
)
LAST = (
    *(
        "Abernathy",
        "Bjornstad",
        "Castellanos",
        "Drummond",
        "Eriksen",
        "Featherstone",
        "Gallagher",
        "Haverford",
        "Ivanov",
    ),
    *(
        "Jankowski",
        "Kowalczyk",
        "Lindqvist",
        "Mbeki",
        "Nakamura",
        "O'Sullivan",
        "Petrov",
        "Quintero",
        "Rasmussen",
        "Li",
    ),
    *(
        "Strand",
        "Tanaka",
        "Underhill",
        "Vasquez",
        "Whitcombe",
        "Yamamoto",
        "Zielinski",
        "Young",
        "Rice",
        "Banks",
        "Park",
    ),
)
TOWNS = ("Norwich", "Duluth", "Tromso", "Pontevedra", "Galway", "Boise", "Maastricht", "Kanazawa", "Wagga", "Spokane")
TEMPLATES = (
    "{patient} presents with shortness of breath; {technique} sequence unremarkable.",
    "Comparison was made with the examination of {date}, which showed {eponym}.",
    "Findings were discussed with {doctor} at {time} by telephone.",
    "History: {surname} was treated at {house} for {eponym} two years ago.",
    "{caret} returns for follow-up of {eponym} at {technique}.",
    "The patient's daughter, {relative}, was informed on {date}.",
    "MRN {mrn}, accession {accession}: no acute findings.",
    "Impression: stable {eponym}. Dictated by {doctor}, {date}.",
    "Please call {phone} with any question about this report.",
    "Patient lives in {town} and works as a teacher.",
    "Outside images from {house} dated {date} were reviewed.",
    "{caps}: increasing size of the hepatic lesion, no {eponym}.",
    "Record {dashed} was merged with the previous one.",
    "{lower} tolerated the procedure well; {technique} obtained.",
    "Sent to {email} on request of the family.",
    "No evidence of {eponym}; {technique} was repeated because of motion.",
    "Mr. {surname} fell on {date} while visiting {town}.",
    "Transferred from {house} with suspected {eponym}.",
    "Biopsy by {doctor} confirmed {technique} disease.",
    "Informed consent was signed by {patient} and witnessed by {relative}.",
    "According to {relative}, symptoms began in {town}.",
    "A {age}-year-old woman with {eponym} and weight loss.",
    "Home address is {street}, {town}.",
    "Impression reviewed with {surname} and family at {house}.",
    "Prior study of {date} (accession {accession}) is not available.",
    "{patient} and spouse {relative} agreed to the follow-up at {technique}.",
    "SSN {ssn} was found on the scanned request form.",
    "Signed electronically: {doctor}, {house}.",
    "Neighbour {relative} reported a seizure; {eponym} cannot be excluded.",
    "Lesion first seen by {doctor} is consistent with {eponym}.",
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text, what was planted as (kind, value), and what must stay."""

    text: str
    planted: tuple[tuple[str, str], ...]
    stay: tuple[tuple[str, str], ...]


def sentences(*, seed: int, count: int = SENTENCES) -> list[Sentence]:
    """``count`` sentences; the same seed gives the same ones."""
    source = random.Random(seed)
    return [_sentence(TEMPLATES[at % len(TEMPLATES)], source) for at in range(count)]


def _sentence(template: str, source: random.Random) -> Sentence:
    first, last = source.choice(FIRST), source.choice(LAST)
    makers = _makers(source, first, last)
    planted: list[tuple[str, str]] = []
    stay: list[tuple[str, str]] = []
    text = template
    for kind, make in makers.items():
        if f"{{{kind}}}" in text:
            value = make()
            text = text.replace(f"{{{kind}}}", value)
            if kind in ("eponym", "technique"):
                stay.append((kind, value))
            elif kind != "time":
                planted.append((kind, value))
    return Sentence(text, tuple(planted), tuple(stay))


def _makers(source: random.Random, first: str, last: str) -> dict[str, Callable[[], str]]:
    def digits(count: int) -> str:
        return "".join(source.choice("0123456789") for _ in range(count))

    def other() -> str:
        return f"{source.choice(FIRST)} {source.choice(LAST)}"

    def date() -> str:
        day, month, year = source.randint(1, 28), source.randint(1, 12), source.randint(1960, 2024)
        word = ("January", "Feb", "March", "Apr", "May", "June", "July", "Aug", "Sept", "October", "Nov", "Dec")[
            month - 1
        ]
        forms = (f"{month}/{day}/{year}", f"{year}-{month:02}-{day:02}", f"{day} {word} {year}", f"{word} {day}")
        return source.choice(
            (*forms, f"{year}{month:02}{day:02}", f"{day:02}.{month:02}.{year}", f"{day}-{word}-{year}")
        )

    return {
        "patient": lambda: f"{first} {last}",
        "caret": lambda: f"{last.upper()}^{first.upper()}",
        "caps": lambda: f"{last.upper()} {first.upper()}",
        "lower": f"{first} {last}".lower,
        "surname": lambda: last,
        "doctor": lambda: source.choice(("Dr. {}", "{}, MD", "{}")).format(other()),
        "relative": other,
        "house": lambda: f"{source.choice(TOWNS)} {source.choice(('General Hospital', 'Clinic', 'Medical Center'))}",
        "town": lambda: source.choice(TOWNS),
        "mrn": lambda: digits(7),
        "dashed": lambda: f"{digits(2)}-{digits(3)}-{digits(3)}",
        "accession": lambda: f"A{digits(8)}",
        "phone": lambda: source.choice(
            (f"({digits(3)}) 555-{digits(4)}", f"+44 20 7946 {digits(4)}", f"555-{digits(4)}")
        ),
        "ssn": lambda: f"{digits(3)}-{digits(2)}-{digits(4)}",
        "email": lambda: f"{first.lower()}.{digits(2)}@example.org",
        "street": lambda: f"{source.randint(1, 999)} {source.choice(LAST)} {source.choice(('Street', 'Ave', 'Lane'))}",
        "age": lambda: str(source.randint(90, 101)),
        "date": date,
        "time": lambda: f"{source.randint(8, 17)}:{digits(1)}5",
        "eponym": lambda: source.choice(EPONYMS),
        "technique": lambda: source.choice(TECHNIQUE_WORDS),
    }


def _deny_of(sentence: Sentence) -> Deny:
    """What a study would know: patient, staff and institution of the headers, its numbers; no relatives, no towns."""
    known = [(kind, value) for kind, value in sentence.planted if kind in KNOWN]
    titles = {"dr", "md"}
    words = {
        word.text
        for kind, value in known
        if kind not in ("mrn", "dashed", "accession", "house")
        for word in words_of(value)
    }
    houses = {value for kind, value in known if kind == "house"}
    numbers = {value for kind, value in known if kind in ("mrn", "dashed", "accession")}
    return make_deny(phrases=(words - titles) | houses, numbers=numbers)


def _left(text: str, spans: list[Span], value: str) -> bool:
    start = text.index(value)
    return not all(
        any(span.start <= start + word.start and start + word.end <= span.end for span in spans)
        for word in words_of(value)
        if word.text not in ("dr", "md")
    )


def measure(*, seed: int) -> dict[str, object]:
    """Recall per stage, recall of what is no study identifier, words that stay, kinds missed at the end."""
    analyzer = open_analyzer()
    nothing = make_deny(phrases=())
    stages: dict[str, Callable[[Sentence], list[Span]]] = {
        "model": lambda s: analyzer.spans(s.text),
        "model_and_common_forms": lambda s: [*analyzer.spans(s.text), *pattern_spans(s.text, clinical=False)],
        "and_clinical_forms": lambda s: list(clean_long_text(s.text, deny=nothing, analyzer=analyzer).spans),
        "and_study_identifiers": lambda s: list(clean_long_text(s.text, deny=_deny_of(s), analyzer=analyzer).spans),
    }
    known = vocabulary()
    stages["and_unknown_names"] = lambda s: list(
        clean_long_text(s.text, deny=_deny_of(s), analyzer=analyzer, harmless=known, only_known=True).spans
    )
    stages["unknown_names_without_study_identifiers"] = lambda s: list(
        clean_long_text(s.text, deny=nothing, analyzer=analyzer, harmless=known, only_known=True).spans
    )
    made = sentences(seed=seed)
    total = sum(len(s.planted) for s in made)
    report: dict[str, object] = {"seed": seed, "sentences": len(made), "planted": total}
    for name, spans_of in stages.items():
        missed: Counter[str] = Counter()
        hit: Counter[str] = Counter()
        for sentence in made:
            spans = spans_of(sentence)
            missed.update(kind for kind, value in sentence.planted if _left(sentence.text, spans, value))
            hit.update(kind for kind, value in sentence.stay if _touched(sentence.text, spans, value))
        stay = Counter(kind for s in made for kind, _ in s.stay)
        report[name] = {
            "recall": round(1 - missed.total() / total, 3),
            "missed": dict(missed),
            "kept": {kind: round(1 - hit[kind] / stay[kind], 3) for kind in stay},
        }
    return report


def _touched(text: str, spans: list[Span], value: str) -> bool:
    start = text.index(value)
    return any(span.start < start + len(value) and start < span.end for span in spans)


def main() -> None:
    """Prints or writes the report."""
    parser = argparse.ArgumentParser(description="Recall of the long-text stages.")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--json", default="-")
    options = parser.parse_args()
    text = json.dumps(measure(seed=options.seed), indent=2) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
    else:
        Path(options.json).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
