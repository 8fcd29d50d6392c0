"""People called May, Head or Philip: no file and no technical value is lost for it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.deid.common_names import COMMON, NUMBERS, PATIENTS, measure


def test_names_that_are_ordinary_words_cost_no_file_and_no_technical_value(tmp_path: Path) -> None:
    numbers = [NUMBERS[at] if at < len(NUMBERS) else f"A{at}" for at in range(PATIENTS)]
    lost, report = measure(tmp_path / "cohort", names=COMMON, numbers=numbers)
    assert report["reasons"] == {}
    kinds = ("files", "technical_values", "clinical_words", "table_words")
    assert all(lost.total[kind] for kind in kinds)
    assert {kind: lost.gone[kind] for kind in kinds} == dict.fromkeys(kinds, 0)


def test_ones_own_whole_name_goes_although_its_parts_are_ordinary_words(tmp_path: Path) -> None:
    measure(tmp_path / "cohort", names=COMMON, numbers=[f"NR{at:05}" for at in range(PATIENTS)])
    left = b"".join(path.read_bytes() for path in (tmp_path / "cohort" / "out").rglob("*") if path.is_file()).lower()
    for name in COMMON:
        assert name.lower().encode() not in left
