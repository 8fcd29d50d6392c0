"""What images tell about subjects, against plain counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.risk.config import Image, Model, Qi, RiskConfig, check_config
from enclave.risk.engine import assess, load_config
from enclave.risk.image import ImageRisk, Likeness

pytestmark = pytest.mark.row("S13.1")
quick = settings(max_examples=15, deadline=None)
scan = st.tuples(
    st.integers(0, 7), st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"]), st.integers(0, 40), st.integers(0, 3)
)
scans = st.lists(scan, min_size=1, max_size=40)
MEASURED = Image(fingerprint=("maker", "software"), study="study", date="day")


def table(people: Any) -> Any:
    return pa.table({"p": [str(p) for p in people], "sex": ["fm"[p % 2] for p in people]})


def images_of(rows: list[Any], **more: list[Any]) -> Any:
    begin = date(2026, 1, 1)
    return pa.table({
        "p": [str(r[0]) for r in rows],
        "maker": [r[1] for r in rows],
        "software": [r[2] for r in rows],
        "day": [(begin + timedelta(r[3])).isoformat() for r in rows],
        "study": [f"{r[0]}.{r[4]}" for r in rows],
        **more,
    })  # fmt: skip


def measured(people: Any, images: Any, image: Image, *, public: Any = None, k: int = 2) -> ImageRisk:
    asked = RiskConfig(
        qis=(Qi("sex"),), subject="p", model=Model(k=k), image=image, image_table=images, public_table=public
    )
    found = assess(table(people), asked).image
    assert found is not None
    return found


@quick
@given(scans)
def test_a_fingerprint_is_counted_by_the_subjects_who_met_it(rows: list[Any]) -> None:
    found = measured(range(8), images_of(rows), MEASURED)
    met: dict[Any, set[int]] = defaultdict(set)
    for r in rows:
        met[r[1:3]].add(r[0])
    people = {r[0] for r in rows}
    rarest = [min(len(s) for s in met.values() if p in s) for p in people]
    assert found.fingerprint is not None
    assert (found.fingerprint.classes, found.fingerprint.k) == (len(met), min(map(len, met.values())))
    assert found.fingerprint.unique_subjects == sum(n == 1 for n in rarest)
    assert found.fingerprint.share_at_risk == pytest.approx(sum(n < 2 for n in rarest) / len(people))
    signs = Counter((p % 2, frozenset(r[1:3] for r in rows if r[0] == p)) for p in range(8))
    assert found.with_table is not None
    assert (found.with_table.classes, found.with_table.k) == (len(signs), min(signs.values()))


@quick
@given(scans, st.sampled_from([1, 7]))
def test_the_sequence_of_studies_is_counted_as_a_sign(rows: list[Any], step: int) -> None:
    image = Image(study="study", date="day", interval_days=step)
    found = measured(range(8), images_of(rows), image)
    days: dict[int, list[int]] = {}
    for p in {r[0] for r in rows}:
        studies = {r[4] for r in rows if r[0] == p}
        days[p] = sorted(min(r[3] for r in rows if r[0] == p and r[4] == s) for s in studies)
    signs = [tuple((b - a) // step for a, b in pairwise(days[p])) if p in days else None for p in range(8)]
    counts, patterns = Counter(len(days.get(p, ())) for p in range(8)), Counter(signs)
    assert found.study_count is not None
    assert found.study_intervals is not None
    assert (found.study_count.classes, found.study_count.k) == (len(counts), min(counts.values()))
    assert (found.study_intervals.classes, found.study_intervals.k) == (len(patterns), min(patterns.values()))
    assert found.study_intervals.unique_subjects == sum(n == 1 for n in patterns.values())


@quick
@given(scans, st.booleans())
def test_scanner_sequence_and_table_are_counted_together(rows: list[Any], scanner: bool) -> None:
    image = MEASURED if scanner else Image(study="study", date="day")
    found = measured(range(8), images_of(rows), image, k=3)
    signs: Counter[Any] = Counter()
    for p in range(8):
        mine = [r for r in rows if r[0] == p]
        days = sorted(min(r[3] for r in mine if r[4] == s) for s in {r[4] for r in mine})
        gaps = tuple(b - a for a, b in pairwise(days)) if mine else None
        signs[p % 2, gaps, frozenset(r[1:3] for r in mine) if scanner else None] += 1
    assert found.together is not None
    assert (found.together.classes, found.together.k) == (len(signs), min(signs.values()))
    assert found.together.unique_subjects == sum(n == 1 for n in signs.values())
    assert found.together.share_at_risk == pytest.approx(sum(n for n in signs.values() if n < 3) / 8)
    parts = (found.fingerprint, found.with_table, found.study_count, found.study_intervals)
    assert all(found.together.k <= one.k for one in parts[1:] if one is not None)


def test_five_patients_counted_by_hand() -> None:
    """0 and 2: women, scanner A, studies 9 days apart. 1 and 3: men, one study on B. 4: a woman without an image."""
    rows = [(0, "A", "1", 0, 0), (0, "A", "1", 9, 1), (2, "A", "1", 30, 0), (2, "A", "1", 39, 1)]
    rows += [(1, "B", "1", 5, 0), (3, "B", "1", 7, 0), (3, "B", "1", 8, 0)]  # a study that went on after midnight
    found = measured(range(5), images_of(rows), MEASURED)
    assert (found.images, found.subjects) == (7, 4)
    assert found.fingerprint == Likeness(classes=2, k=2, unique_subjects=0, share_at_risk=0.0)
    alone = Likeness(classes=3, k=1, unique_subjects=1, share_at_risk=0.2)
    assert found.with_table == found.study_count == found.study_intervals == found.together == alone


def test_each_sign_alone_may_hold_and_all_together_tell_who_it_is() -> None:
    """Sex splits four into two and two, and so does the interval; one scanner for all."""
    apart = {0: 9, 1: 9, 2: 7, 3: 7}
    rows = [(p, "A", "1", day, at) for p in range(4) for at, day in enumerate((p, p + apart[p]))]
    asked = RiskConfig(qis=(Qi("sex"),), subject="p", model=Model(k=2), image=MEASURED, image_table=images_of(rows))
    found = assess(table(range(4)), asked)
    assert found.image is not None
    assert found.image.together == Likeness(classes=4, k=1, unique_subjects=4, share_at_risk=1.0)
    assert {name for name, holds in found.holds.items() if not holds} == {"image_together"}


@pytest.mark.parametrize(
    "text", ["202611", "2026111", "2026-1-1", "20260132", "2026-01-01x", "202601011", "2026", "", "2026-13-01"]
)
def test_what_is_no_whole_date_is_refused_and_never_taken_for_another(text: str) -> None:
    images = images_of([(0, "A", "1", 0, 0)]).set_column(3, "day", pa.array([text]))
    with pytest.raises(InvalidError):
        measured(range(1), images, Image(date="day"))


@pytest.mark.parametrize("text", ["20260110", "2026-01-10", "2026-01-10T23:59:59Z", "20260110235959.5", "20260110 "])
def test_dates_in_the_spellings_of_dicom_and_of_tables_are_one_day(text: str) -> None:
    images = images_of([(0, "A", "1", 0, 0), (0, "A", "1", 9, 1)]).set_column(3, "day", pa.array(["2026-01-10", text]))
    found = measured(range(1), images, Image(date="day"))
    assert found.study_count == Likeness(classes=1, k=1, unique_subjects=1, share_at_risk=1.0)
    assert found.study_intervals == found.study_count


def test_a_shift_of_dates_hides_no_pattern() -> None:
    rows = [(0, "A", "1", 0, 0), (0, "A", "1", 9, 1), (1, "A", "1", 20, 0), (1, "A", "1", 29, 1), (2, "A", "1", 5, 0)]
    found = measured(range(3), images_of(rows), MEASURED)
    assert found.study_intervals is not None
    assert (found.study_intervals.classes, found.study_intervals.unique_subjects) == (2, 1)


def test_faces_are_counted_by_what_is_known() -> None:
    rows = [(i // 2, "A", "1", 0, 0) for i in range(6)]
    states = ["none", "removed", "visible", None, "0.0", "0.4"]
    found = measured(range(3), images_of(rows, face=states), Image(face="face")).faces
    assert found is not None
    assert (found.images, found.without, found.visible, found.unknown) == (6, 3, 2, 1)
    assert (found.coverage, found.subjects) == (0.5, 2)


def test_provenance_says_which_images_were_cleaned_of_faces_and_whose_they_are() -> None:
    outputs = ["dicom/0/s/r/1.dcm", "dicom/1/s/r/2.dcm", "tables/t.parquet", "dicom/9/s/r/3.dcm"]
    options = [["clean_recognizable_features"], [], [], []]
    images = pa.table({"output": outputs, "options": options, "pixel_sha256": ["a", "b", None, "c"]})
    public = pa.table({"pixel_sha256": ["b", "z", None]})
    found = measured(range(2), images, Image(pixel="pixel_sha256"), public=public)
    assert found.images == 2
    assert found.faces is not None
    assert (found.faces.without, found.faces.unknown, found.faces.subjects) == (1, 1, 1)
    assert found.linkage is not None
    assert (found.linkage.pixel, found.linkage.uid, found.linkage.subjects) == (1, None, 1)


def test_copies_are_found_by_pixels_and_by_uid() -> None:
    rows = [(i, "A", "1", 0, 0) for i in range(4)]
    images = images_of(rows, pixels=["a", "b", "c", None], uid=["1.1", "1.2", "1.3", "1.4"])
    for pixels, uids in (["a", None], ["1.1", "1.4"]), (["A ", "z"], ["1.1\0", " 1.4"]):  # also spelt in another way
        public = pa.table({"pixels": pixels, "uid": uids})
        found = measured(range(4), images, Image(pixel="pixels", uid="uid"), public=public).linkage
        assert found is not None
        assert (found.pixel, found.uid, found.subjects) == (1, 2, 2)


def test_images_of_others_and_no_images_are_told() -> None:
    rows = [(5, "A", "1", 0, 0)]
    assert measured(range(2), images_of(rows), MEASURED) == ImageRisk(images=0, subjects=0)


def test_what_images_break_is_said() -> None:
    rows = [(i, "A" if i else "B", "1", 0, 0) for i in range(4)]
    asked = RiskConfig(qis=(Qi("sex"),), subject="p", model=Model(k=2), image=MEASURED, image_table=images_of(rows))
    holds = assess(table(range(4)), asked).holds
    assert (holds["k"], holds["image_fingerprint"], holds["image_study_count"]) == (True, False, True)


def test_the_settings_name_the_tables(tmp_path: Path) -> None:
    pq.write_table(images_of([(0, "A", "1", 0, 0)], pixels=["a"]), tmp_path / "images.parquet")
    pq.write_table(pa.table({"pixels": ["a"]}), tmp_path / "public.parquet")
    (tmp_path / "risk.toml").write_text(
        'subject = "p"\n[qi.sex]\n[image]\ntable = "images.parquet"\npublic = "public.parquet"\npixel = "pixels"\n'
    )
    found = assess(table(range(2)), load_config(tmp_path / "risk.toml")).image
    assert found is not None
    assert found.linkage is not None
    assert found.linkage.subjects == 1


@pytest.mark.parametrize(
    ("image", "more"),
    [
        (Image(fingerprint=("nowhere",)), {}),
        (Image(date="maker"), {}),
        (Image(pixel="pixels", public="x"), {"pixels": ["a"]}),
    ],
)
def test_columns_that_are_not_there_or_no_dates_are_named(image: Image, more: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        measured(range(1), images_of([(0, "Acme", "1", 0, 0)], **more), image, public=pa.table({"other": ["a"]}))
    assert "Acme" not in caught.value.message


@pytest.mark.parametrize(
    "image", [Image(study="s"), Image(interval_days=0), Image(public="x")], ids=["date", "step", "public"]
)
def test_image_settings_that_cannot_be_measured_are_refused(image: Image) -> None:
    with pytest.raises(InvalidError):
        check_config(RiskConfig(qis=(Qi("sex"),), subject="p", image=image))
    with pytest.raises(InvalidError):
        check_config(RiskConfig(qis=(Qi("sex"),), image=Image()))
