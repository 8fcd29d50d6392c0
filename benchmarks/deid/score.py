"""Compares an output folder with the ground truth: what survived, what was lost, and the ten actions of MIDI-B.

Stricter than the original scorer: patients must stay distinct, all dates of a patient must move alike, a missing
file fails all that was expected of it, and raw bytes are searched in several encodings.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import ahocorasick
import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset, FileDataset

from benchmarks.deid.hiding import as_text
from benchmarks.deid.truth import FileTruth, Truth, Where

_ENCODINGS = ("utf-8", "latin-1", "iso8859-5", "iso8859-7", "gb18030", "iso2022_jp", "utf-16-le")
_MUST_MOVE = frozenset({0x00080020, 0x00080021, 0x00080022, 0x00080023})
_ID = 0x00100020


@dataclass(slots=True)
class Score:
    """Counts. ``actions`` has [right, all] for each action of MIDI-B."""

    survivors: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0
    missing: int = 0
    patients: int = 0
    mixed_patients: int = 0
    technical_lost: Counter[str] = field(default_factory=Counter)
    words_kept: int = 0
    words_all: int = 0
    lost_words: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    actions: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def count(self, action: str, *, right: bool, where: str = "") -> None:
        """One expectation, met or not."""
        self.actions[action][1] += 1
        self.actions[action][0] += right
        if not right:
            self.wrong[f"{action} {where}"] += 1

    def summary(self) -> dict[str, Any]:
        """What goes into the report."""
        right = sum(pair[0] for pair in self.actions.values())
        total = sum(pair[1] for pair in self.actions.values())
        return {
            "survivors": self.survivors,
            "files_out": self.files,
            "files_missing": self.missing,
            "patients": self.patients,
            "patients_mixed": self.mixed_patients,
            "technical_lost": sum(self.technical_lost.values()),
            "clinical_words_kept": round(self.words_kept / max(1, self.words_all), 4),
            "midi": dict(sorted(self.actions.items())),
            "midi_score": round(right / max(1, total), 6),
            "wrong": dict(self.wrong.most_common(25)),
            "lost_words": dict(self.lost_words.most_common(25)),
        }


def score(output: Path, *, truth: Truth, source: Path, provenance: Mapping[str, str] | None = None) -> Score:
    """The score of all files below ``output``; ``provenance`` maps an input's SHA-256 to its output's path."""
    found = Score()
    automaton = _automaton(truth.strings, truth.uids)
    with warnings.catch_warnings(), pydicom_config.disable_value_validation():
        warnings.simplefilter("ignore")
        datasets = _read_all(output, automaton, found)
        _match(found, truth, datasets, source, provenance or {})
    return found


def _read_all(output: Path, automaton: Any, found: Score) -> dict[str, FileDataset]:
    datasets = {}
    for path in sorted(p for p in output.rglob("*") if p.is_file()):
        relative = path.relative_to(output).as_posix()
        data = path.read_bytes()
        if path.suffix == ".dcm" or data[128:132] == b"DICM":
            dataset = pydicom.dcmread(BytesIO(data), force=True)
            data = _searched(data, dataset)
            datasets[relative] = dataset
            found.files += 1
        hits = _hits(automaton, relative.encode() + b"\n" + data)
        found.survivors += len(hits)
        found.examples += [(relative, hit) for hit in sorted(hits)]
    return datasets


def _searched(data: bytes, dataset: FileDataset) -> bytes:
    """All bytes but native pixels; deflated ones inflated."""
    if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1.99":
        buffer = BytesIO()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.save_as(buffer)
        data = buffer.getvalue()
    value = dataset.PixelData if "PixelData" in dataset else b""
    return data.replace(value, b"") if len(value) > 100 else data


def _automaton(strings: Iterable[str], uids: Iterable[str]) -> Any:
    automaton = ahocorasick.Automaton()
    for text in (*strings, *uids):
        for form in {text, text.lower(), text.upper(), text.title()}:
            for encoding in _ENCODINGS:
                try:
                    key = form.encode(encoding).decode("latin-1").lower()
                except UnicodeEncodeError:
                    continue
                if len(key) >= 4:
                    automaton.add_word(key, (text, len(key)))
    automaton.make_automaton()
    return automaton


def _hits(automaton: Any, data: bytes) -> set[str]:
    """The planted strings in ``data``; of numbers only those that are not part of a longer one."""
    text = data.decode("latin-1").lower()
    hits = set()
    for end, (planted, length) in automaton.iter(text):
        around = text[max(0, end - length) : end - length + 1] + text[end + 1 : end + 2]
        if not (planted.isdigit() and any(char.isdigit() for char in around)):
            hits.add(planted)
    return hits


def _match(
    found: Score, truth: Truth, datasets: dict[str, FileDataset], source: Path, provenance: Mapping[str, str]
) -> None:
    by_pixels = {hashlib.sha256(ds.PixelData).hexdigest(): ds for ds in datasets.values() if "PixelData" in ds}
    links = _Links(found)
    for file in truth.files:
        if not file.readable:
            continue
        dataset = by_pixels.get(file.pixels) if file.pixels else None
        if dataset is None and provenance:
            digest = hashlib.sha256((source / file.path).read_bytes()).hexdigest()
            dataset = datasets.get(provenance.get(digest, ""))
        if file.burned:  # held back is right, too: what may not be shown is not there
            for box in file.burned:
                found.count("pixels_hidden", right=dataset is None or is_hidden(dataset, source / file.path, box=box))
            continue
        if file.pixels:
            found.count("pixels_retained", right=file.pixels in by_pixels)
        if dataset is None:
            found.missing += 1
            _count_missing(found, file)
            continue
        _check(found, file, dataset, links)
    links.finish(truth)


def is_hidden(dataset: FileDataset, original: Path, *, box: list[int]) -> bool:
    """Whether the ink in ``box`` of the original is no longer told from its ground: a tenth of the contrast at most."""
    x0, y0, x1, y1 = box
    before = _grey(pydicom.dcmread(original))[..., y0:y1, x0:x1]
    after = _grey(dataset)[..., y0:y1, x0:x1]
    if after.shape != before.shape:
        return False
    ink = before > (before.min() + before.max()) / 2
    contrast = [abs(float(image[ink].mean()) - float(image[~ink].mean())) for image in (before, after)]
    return contrast[1] <= contrast[0] / 10


def _grey(dataset: FileDataset) -> Any:
    pixels = dataset.pixel_array.astype(float)
    return pixels.mean(axis=-1) if int(dataset.SamplesPerPixel) == 3 else pixels


def _count_missing(found: Score, file: FileTruth) -> None:
    for action, entries in (
        ("text_retained", file.retained),
        ("text_notnull", file.filled),
        ("date_shifted", file.dates),
    ):
        for _ in entries:
            found.count(action, right=False, where="missing file")


def _check(found: Score, file: FileTruth, dataset: FileDataset, links: _Links) -> None:
    for where, value in file.retained:
        got = _value(dataset, where)
        found.count("tag_retained", right=got is not None, where=_name(where))
        found.count("text_retained", right=got is not None and _same(got, value), where=_name(where))
        if got is None or not _same(got, value):
            found.technical_lost[_name(where)] += 1
    for where, phrase in file.words:
        _check_words(found, where, phrase, _value(dataset, where) or "")
    for where, text in file.removed:
        found.count(
            "text_removed", right=text.lower() not in (_value(dataset, where) or "").lower(), where=_name(where)
        )
    for where in file.filled:
        found.count("text_notnull", right=bool(_value(dataset, where)), where=_name(where))
    for where, text in file.uids:
        links.uid(text, _value(dataset, where), where)
    for where, text in file.dates:
        links.date(file.patient, where, text, _value(dataset, where))
    links.patient(file.patient, _value(dataset, [_ID]) or "")


def _same(got: str, wanted: str) -> bool:
    return got.strip() == wanted or got.replace(" ", "") == wanted.replace(" ", "")


def _check_words(found: Score, where: Where, phrase: str, got: str) -> None:
    words, left = phrase.lower().split(), Counter(got.lower().split())
    for word in words:
        found.words_all += 1
        if left[word]:
            left[word] -= 1
            found.words_kept += 1
        else:
            found.lost_words[word] += 1
    found.count("text_retained", right=not (Counter(words) - Counter(got.lower().split())), where=_name(where))


def _value(dataset: Dataset, where: Where) -> str | None:
    try:
        element = dataset[where[0]]
        if len(where) > 1:
            return _value(element.value[where[1]], where[2:])
        value = element.value
        if hasattr(value, "__iter__") and not isinstance(value, str | bytes):
            return as_text([getattr(one, "original_string", one) for one in value])
        return "" if value is None else as_text(getattr(value, "original_string", value))
    except (KeyError, IndexError, TypeError):
        return None


def _name(where: Where) -> str:
    return f"{where[-1]:08x}" if len(where) == 1 else f">{where[-1]:08x}"


class _Links:
    """What must hold over many files: one new value for each old one, and never one for two."""

    def __init__(self, found: Score) -> None:
        self._found = found
        self._uids: defaultdict[str, set[str]] = defaultdict(set)
        self._patients: defaultdict[int, set[str]] = defaultdict(set)
        self._days: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._moved: list[tuple[int, int, str]] = []

    def uid(self, old: str, new: str | None, where: Where) -> None:
        self._found.count("uid_changed", right=new != old, where=_name(where))
        if new:
            self._uids[old].add(new)

    def date(self, patient: int, where: Where, old: str, new: str | None) -> None:
        if not new:
            must = len(where) == 1 and where[0] in _MUST_MOVE
            self._found.count("date_shifted", right=not must, where=_name(where))
            return
        before, after = _day(old), _day(new)
        if before is None or after is None:
            self._found.count("date_shifted", right=False, where=_name(where))
            return
        days = (after - before).days
        if abs(days) < 20_000:  # not a dummy such as 1900
            self._days[patient][days] += 1
            self._moved.append((patient, days, _name(where)))

    def patient(self, patient: int, new: str) -> None:
        self._patients[patient].add(new)

    def finish(self, truth: Truth) -> None:
        found = self._found
        news = Counter(new for many in self._uids.values() for new in many)
        for many in self._uids.values():
            one = next(iter(many))
            right = len(many) == 1 and news[one] == 1 and len(one) <= 64
            found.count("uid_consistent", right=right, where="")
        usual = {patient: days.most_common(1)[0][0] for patient, days in self._days.items()}
        for patient, days, name in self._moved:
            found.count("date_shifted", right=days == usual[patient] != 0, where=name)
        owners = Counter(new for many in self._patients.values() for new in many)
        for many in self._patients.values():
            right = len(many) == 1 and owners[next(iter(many))] == 1 and not many & set(truth.patients)
            found.count("patid_consistent", right=right)
            found.mixed_patients += not right
        found.patients = len(owners)


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
