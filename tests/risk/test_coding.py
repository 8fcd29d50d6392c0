"""Top and bottom coding, and the Safe Harbor rules of 45 CFR 164.514(b)(2)(i)(B) and (C)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.risk.coding import clipped, safe_age, safe_date, safe_zip3
from enclave.risk.config import Model, Population, Qi, RiskConfig, check_config
from enclave.risk.engine import anonymise
from enclave.risk.hierarchy import make_hierarchy

pytestmark = pytest.mark.row("S13.1")


def lowered(qi: Qi, values: list[Any], **more: Any) -> list[Any]:
    found = anonymise(pa.table({qi.name: values}), RiskConfig(qis=(qi,), model=Model(k=1), **more))
    kept: list[Any] = found.table.column(qi.name).to_pylist()
    return kept


def test_zip_codes_keep_three_digits_where_enough_people_live() -> None:
    values = ["90210", "90210-1234", "902101234", "100", "036", "03601", "20500", "75301", None]
    kept = ["902", "902", "902", "100", "000", "000", "000", "753", None]
    assert lowered(Qi("zip", rule="hipaa_zip3"), values) == kept


@given(st.integers(0, 99_999))
def test_a_small_area_never_shows_and_others_show_no_more_than_three_digits(number: int) -> None:
    small = frozenset({"036", "059"})
    text = f"{number:05d}"
    assert safe_zip3(text, small_areas=small) == ("000" if text[:3] in small else text[:3])


@pytest.mark.parametrize("value", ["1234", "9021", "zip", "902-10", "", "902101"])
def test_a_zip_code_that_lost_digits_is_not_guessed(value: str) -> None:
    assert safe_zip3(value, small_areas=frozenset()) is None


@given(st.integers(0, 150))
def test_ages_over_89_are_one_category(age: int) -> None:
    assert safe_age(str(age)) == ("90+" if age > 89 else str(age))
    assert safe_age(f"{age:03d}Y") == ("90+" if age > 89 else f"{age:03d}Y")


def test_ages_in_other_units_and_words() -> None:
    assert safe_age("600M") == "600M"
    assert safe_age("89.5") == "89.5"
    assert safe_age("90+") == "90+"
    assert (safe_age("old"), safe_age("-1"), safe_age("nan")) == (None, None, None)


@given(st.dates(date(1900, 1, 1), date(2026, 12, 31)))
def test_of_a_date_the_year_stays_and_none_tells_an_age_over_89(born: date) -> None:
    as_of = date(2026, 11, 22)
    for text in (born.isoformat(), f"{born:%Y%m%d}", f"{born.isoformat()}T10:11:12", str(born.year)):
        assert safe_date(text, as_of=None) == str(born.year)
        found = safe_date(text, as_of=as_of)
        assert found is not None
        if born <= as_of - timedelta(days=366 * 90):
            assert found == "1936 or before"
        assert found in (str(born.year), "1936 or before")


@pytest.mark.parametrize("value", ["1987-13-01", "19871301", "1987-02-30", "yesterday", "87"])
def test_what_is_no_date_is_not_guessed(value: str) -> None:
    assert safe_date(value, as_of=None) is None


@given(st.floats(-200, 200, allow_nan=False))
def test_top_and_bottom_coding_put_the_ends_together(value: float) -> None:
    found = clipped(repr(value), top=80.0, bottom=18.0)
    assert found == ("80+" if value >= 80 else "<=18" if value <= 18 else repr(value))


def test_coded_values_go_on_into_the_hierarchy() -> None:
    tree = make_hierarchy([("<=18", "young", "*"), ("40", "old", "*"), ("80+", "old", "*")], name="age")
    found = anonymise(
        pa.table({"age": [3, 17, 40, 95]}),
        RiskConfig(qis=(Qi("age", tree, top=80, bottom=18),), model=Model(k=2)),
    )
    assert found.table.column("age").to_pylist() == ["young", "young", "old", "old"]
    assert found.node == {"age": 1}
    assert found.assessment_before.classes == 4


def test_the_population_is_coded_like_the_table() -> None:
    people = pa.table({"age": ["91", "95", "40"], "n": [3, 4, 5]})
    found = anonymise(
        pa.table({"age": ["91", "40"]}),
        RiskConfig(
            qis=(Qi("age", rule="hipaa_age"),), model=Model(k=1), population=Population(), population_table=people
        ),
    )
    assert found.assessment_before.journalist.k_map == 3
    assert found.assessment_after.journalist.k_map == 5


def test_a_value_that_a_rule_cannot_read_is_counted_not_shown() -> None:
    with pytest.raises(InvalidError) as caught:
        lowered(Qi("zip", rule="hipaa_zip3"), ["90210", "Beverly", "Hills"])
    assert "2 of 3" in caught.value.message
    assert "Beverly" not in caught.value.message


@pytest.mark.parametrize(
    "qi",
    [
        Qi("a", rule="magic"),
        Qi("a", as_of="2026-01-01"),
        Qi("a", top=1, bottom=2),
        Qi("a", rule="hipaa_date", as_of="x"),
    ],
)
def test_a_coding_that_cannot_be_done_is_refused(qi: Qi) -> None:
    with pytest.raises(InvalidError):
        check_config(RiskConfig(qis=(qi,)))


def test_the_ends_are_spelled_with_all_their_digits() -> None:
    assert clipped("1234568", top=1_234_567, bottom=None) == "1234567+"
    assert clipped("2", top=None, bottom=2.0000001) == "<=2.0000001"
    assert clipped("95", top=90.0, bottom=None) == "90+"
