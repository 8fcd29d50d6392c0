"""What images tell about a subject beside the table: scanner, sequence of studies, face, copies elsewhere. Pure.

Dates are shifted by one amount per patient, so the days between a patient's studies stay as they were, and somebody who
knows when a person was scanned recognises the pattern. A scanner that few subjects met tells them apart as an age does.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from enclave.core.errors import InvalidError
from enclave.risk.classes import Ints, number
from enclave.risk.composition import joint_risk
from enclave.risk.config import Image
from enclave.risk.encoding import encode

NO_FACE: Final = frozenset({"none", "removed"})  # what a face column says of an image that shows no face
VISIBLE: Final = frozenset({"visible"})
_DAY: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ].*)?|(\d{4})(\d\d)(\d\d)(?:[T ].*|(?:\d\d){1,3}(?:[.+-].*)?)?")
CLEANED: Final = "clean_recognizable_features"  # with this option an image whose face may show does not leave


@dataclass(frozen=True, slots=True)
class Likeness:
    """Classes of subjects who look alike in one respect; ``unique_subjects`` look like nobody else."""

    classes: int
    k: int
    unique_subjects: int
    share_at_risk: float


@dataclass(frozen=True, slots=True)
class Faces:
    """Images by whether a face shows. ``coverage``: share of images of which it is known that none does.

    ``subjects``: subjects with an image of which that is not known.
    """

    images: int
    without: int
    visible: int
    unknown: int
    coverage: float
    subjects: int


@dataclass(frozen=True, slots=True)
class Linkage:
    """Images that are also in the public copies, by pixels and by UID, and whose they are."""

    pixel: int | None
    uid: int | None
    subjects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRisk:
    """None where the settings name no column for it. ``subjects``: those of the table who have images; who has none has
    no study, which is counted as a number and a sequence like any other.

    ``with_table``: fingerprint and quasi-identifiers together; ``together``: these, and the sequence of studies.
    """

    images: int
    subjects: int
    fingerprint: Likeness | None = None
    with_table: Likeness | None = None
    study_count: Likeness | None = None
    study_intervals: Likeness | None = None
    together: Likeness | None = None
    faces: Faces | None = None
    linkage: Linkage | None = None


def image_risk(
    images: Any, image: Image, *, subject: str, of_table: tuple[list[str | None], Ints, Ints], public: Any, k: int
) -> ImageRisk:
    """All that ``image`` asks for; images of subjects who are not in the table are left out.

    ``of_table``: the table's subjects, its subject per row and its combination per row.
    """
    images = _with_subject(images, subject)
    _check_columns(images, image, subject)
    names, subjects_of_row, combination = of_table
    present = set(np.unique(subjects_of_row).tolist())
    numbers = {name: i for i, name in enumerate(names) if i in present}
    values, codes = encode(images.column(subject))
    mapped = np.array([-1 if value is None else numbers.get(value, -1) for value in values], dtype=np.int64)
    who = mapped[codes] if len(values) else np.empty(0, dtype=np.int64)
    here = who >= 0
    images, who = images.filter(pa.array(here)), who[here]
    if not len(who):
        return ImageRisk(images=0, subjects=0)
    scanner = _combinations(images, image.fingerprint) if image.fingerprint else None
    dates = _days(images.column(image.date), image.date) if image.date else None
    return ImageRisk(
        images=len(who),
        subjects=len(np.unique(who)),
        fingerprint=None if scanner is None else _alike_by_fingerprint(who, scanner, k=k),
        with_table=None if scanner is None else _joined((subjects_of_row, combination), (who, scanner), k=k),
        **_sequences(dates, images, image, of_table=(subjects_of_row, combination), of_images=(who, scanner), k=k),
        faces=_faces(images, image, who),
        linkage=_linkage(images, image, public, who),
    )


def _sequences(
    dates: Ints | None,
    images: Any,
    image: Image,
    *,
    of_table: tuple[Ints, Ints],
    of_images: tuple[Ints, Ints | None],
    k: int,
) -> dict[str, Likeness]:
    """Number and intervals of the studies of each subject, and all that is told of it together."""
    if dates is None:
        return {}
    who, scanner = of_images
    studies = _studies(images, image, who, dates)
    patterns: list[Any] = _patterns(studies, image.interval_days)
    numbers: dict[Any, int] = {}
    sequence = np.array([numbers.setdefault(one, len(numbers)) for one in patterns], dtype=np.int64)
    parts = [of_table, (np.unique(who), sequence)] + ([] if scanner is None else [(who, scanner)])
    without = len(np.unique(of_table[0])) - len(studies)
    return {
        "study_count": _alike([*(len(one) for one in studies), *[0] * without], k=k),
        "study_intervals": _alike([*patterns, *[None] * without], k=k),
        "together": _joined(*parts, k=k),
    }


def image_holds(found: ImageRisk, *, k: int) -> dict[str, bool]:
    """The parts that were measured: classes of k subjects, no face that may show, no copy that is public."""
    parts = {
        "image_fingerprint": found.with_table,
        "image_study_count": found.study_count,
        "image_study_intervals": found.study_intervals,
        "image_together": found.together,
    }
    holds = {name: one.k >= k for name, one in parts.items() if one is not None}
    if found.faces is not None:
        holds["image_faces"] = found.faces.without == found.faces.images
    if found.linkage is not None:
        holds["image_linkage"] = found.linkage.subjects == 0
    return holds


def _with_subject(images: Any, subject: str) -> Any:
    """A provenance file names the subject in its paths, ``dicom/<patient>/...``; its tables are no images."""
    if subject in images.column_names or "output" not in images.column_names:
        return images
    of_image = pc.fill_null(pc.match_substring_regex(images.column("output"), r"^dicom/[^/]+/"), fill_value=False)
    images = images.filter(of_image)
    parts = pc.extract_regex(images.column("output"), r"^dicom/(?P<patient>[^/]+)/")
    return images.append_column(subject, pc.struct_field(parts, "patient"))


def _check_columns(images: Any, image: Image, subject: str) -> None:
    wanted = [subject, *image.fingerprint, image.study, image.date, image.face, image.pixel, image.uid]
    missing = sorted({name for name in wanted if name is not None} - set(images.column_names))
    if missing:
        raise InvalidError(f"images: wanted the columns {', '.join(missing)}, got a table without them")


def _combinations(images: Any, columns: tuple[str, ...]) -> Ints:
    coded = [encode(images.column(name)) for name in columns]
    of, _ = number([codes for _, codes in coded], [len(values) for values, _ in coded], images.num_rows)
    return of


def _alike_by_fingerprint(who: Ints, scanner: Ints, *, k: int) -> Likeness:
    """Classes are subjects per fingerprint; a subject of several is as rare as the rarest."""
    span = int(who.max()) + 1
    pairs = np.unique(scanner * np.int64(span) + who)
    sizes = np.bincount(pairs // span)
    rarest = np.full(span, np.iinfo(np.int64).max)
    np.minimum.at(rarest, pairs % span, sizes[pairs // span])
    of_subject = rarest[np.unique(who)]
    return Likeness(
        classes=len(sizes),
        k=int(sizes.min()),
        unique_subjects=int((of_subject == 1).sum()),
        share_at_risk=float((of_subject < k).mean()),
    )


def _joined(*parts: tuple[Ints, Ints], k: int) -> Likeness:
    found = joint_risk(parts, subject_count=max(int(subjects.max()) for subjects, _ in parts) + 1, k=k)
    return Likeness(found.classes, found.k, found.unique_subjects, found.share_at_risk)


def _alike(signs: list[Any], *, k: int) -> Likeness:
    sizes = Counter(signs)
    return Likeness(
        classes=len(sizes),
        k=min(sizes.values()),
        unique_subjects=sum(n == 1 for n in sizes.values()),
        share_at_risk=sum(n for n in sizes.values() if n < k) / len(signs),
    )


def _studies(images: Any, image: Image, who: Ints, days: Ints) -> list[list[int]]:
    """Per subject the days of its studies in order; a study counts once, at its first day."""
    study = days - int(days.min())  # without a column for it each day is a study
    if image.study is not None:
        study = encode(images.column(image.study))[1].astype(np.int64)
    span = int(study.max()) + 1
    key = who * np.int64(span) + study
    order = np.lexsort((days, key))
    first = np.concatenate([[True], key[order][1:] != key[order][:-1]])
    chosen = order[first]
    chosen = chosen[np.lexsort((days[chosen], who[chosen]))]
    cuts = np.flatnonzero(np.diff(who[chosen])) + 1
    return [part.tolist() for part in np.split(days[chosen], cuts)]


def _patterns(studies: list[list[int]], interval_days: int) -> list[tuple[int, ...]]:
    return [tuple((b - a) // interval_days for a, b in pairwise(one)) for one in studies]


def _days(column: Any, name: str) -> Ints:
    values, codes = encode(column)
    days = [None if value is None else _day(value) for value in values]
    unread = sum(day is None for day in days)
    if unread:
        raise InvalidError(f"images: wanted dates in {name}, {unread} of {len(values)} distinct values are none")
    return np.array(days, dtype=np.int64)[codes]


def _day(value: str) -> int | None:
    """A whole date, or None: a month alone would be taken for a day of it, and the days between studies be wrong."""
    found = _DAY.fullmatch(value.strip())
    if found is None:
        return None
    try:
        return date(*(int(part) for part in found.groups() if part is not None)).toordinal()
    except ValueError:
        return None


def _faces(images: Any, image: Image, who: Ints) -> Faces | None:
    if image.face is not None:
        values, codes = encode(images.column(image.face))
        state = np.array([_face_state(value) for value in values], dtype=np.int64)[codes]
    elif "options" in images.column_names:  # of a provenance file: how each object was cleaned
        cleaned = [CLEANED in (options or ()) for options in images.column("options").to_pylist()]
        state = np.where(np.array(cleaned, dtype=bool), 0, 2)
    else:
        return None
    return Faces(
        images=len(state),
        without=int((state == 0).sum()),
        visible=int((state == 1).sum()),
        unknown=int((state == 2).sum()),
        coverage=float((state == 0).mean()),
        subjects=len(np.unique(who[state > 0])),
    )


def _face_state(value: str | None) -> int:
    """0 no face, 1 a face shows, 2 not known; a number is the share of the face that shows."""
    if value is None:
        return 2
    word = value.strip().lower()
    if word in NO_FACE:
        return 0
    if word in VISIBLE:
        return 1
    try:
        share = float(word)
    except ValueError:
        return 2
    return 0 if share == 0 else 1 if 0 < share <= 1 else 2


def _linkage(images: Any, image: Image, public: Any, who: Ints) -> Linkage | None:
    if public is None:
        return None
    linked = np.zeros(len(who), dtype=bool)
    counts: dict[str, int | None] = {"pixel": None, "uid": None}
    for kind, name in (("pixel", image.pixel), ("uid", image.uid)):
        if name is None or name not in public.column_names:
            continue
        known = _spelled(public.column(name), kind)
        same = pc.is_in(_spelled(images.column(name), kind), value_set=known.combine_chunks(), skip_nulls=True)
        mask = np.asarray(same.combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
        linked |= mask
        counts[kind] = int(mask.sum())
    if counts["pixel"] is None and counts["uid"] is None:
        raise InvalidError("images: wanted a pixel or uid column in the public copies, too, got none")
    return Linkage(counts["pixel"], counts["uid"], len(np.unique(who[linked])))


def _spelled(column: Any, kind: str) -> Any:
    """Digests in one case, UIDs without their padding: another spelling of a public copy is that copy."""
    text = pc.utf8_trim(pc.cast(column, pa.string()), characters=" \0\t\r\n")
    return pc.utf8_lower(text) if kind == "pixel" else text
