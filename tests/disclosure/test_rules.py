"""Rules on tables and texts, and the table of rules itself."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import IntegrityError
from enclave.disclosure.findings import SHOWN_PER_RULE, Report, capped, failed_check, judge, seen, verdict_of
from enclave.disclosure.rules import RULES, SEVERITIES
from enclave.disclosure.tables import THRESHOLD, cell_name, observe_table, parse_table
from enclave.disclosure.text import observe_text


def found(text: str) -> set[str]:
    return {one.rule for one in observe_text(text)}


def table(text: str) -> set[str]:
    return {one.rule for one in observe_table(parse_table(text))}


def test_every_rule_has_a_stable_id_a_severity_and_words() -> None:
    for name, rule in RULES.items():
        assert re.fullmatch(r"[a-z][a-z_]+", name)
        assert rule.severity in SEVERITIES
        assert rule.message.endswith(".")
        assert rule.remedy.endswith(".")


@given(st.lists(st.sampled_from(sorted(RULES)), max_size=5))
def test_the_verdict_is_the_highest_severity(names: list[str]) -> None:
    report = Report(sha256="0", size_bytes=1, type="text", observations=tuple(seen(name) for name in names))
    judged = judge(report)
    severities = {RULES[name].severity for name in names}
    wanted = "block" if "block" in severities else "review" if "review" in severities else "pass"
    assert judged.verdict == verdict_of(judged.findings) == wanted


def test_a_report_of_an_unknown_rule_or_without_a_place_is_no_report() -> None:
    for one in (seen("no_such_rule"), seen("script", where={"elsewhere": 1})):
        with pytest.raises(IntegrityError):
            judge(Report(sha256="0", size_bytes=1, type="text", observations=(one,)))
    assert failed_check(sha256="0", size_bytes=1).verdict == "block"


def test_many_places_of_one_rule_are_counted_not_listed() -> None:
    many = capped(seen("pattern_date", where={"line": n}) for n in range(1, 101))
    assert len(many) == SHOWN_PER_RULE + 1
    assert sum(one.count for one in many) == 100


@given(st.integers(min_value=-5, max_value=200))
def test_a_count_is_small_exactly_from_one_to_nine(count: int) -> None:
    assert ("small_cells" in table(f"group,n\nx,{count}\ny,500\n")) == (0 < count < THRESHOLD)


@pytest.mark.parametrize("header", ["n", "N", "count", "patients", "n_patients", "Number of subjects", "freq", "n (%)"])
def test_counts_are_known_by_their_header(header: str) -> None:
    assert "small_cells" in table(f"group,{header},mean\nx,4,1.5\ny,20,1.7\n")


@pytest.mark.parametrize(
    "header", ["patient_id", "PatientID", "subject", "SeriesInstanceUID", "mrn", "study_uid", "id"]
)
def test_a_column_of_single_people_or_images_is_row_level(header: str) -> None:
    rows = "".join(f"p{i},{20 + i}\n" for i in range(8))
    wanted = header != "subject"  # alone it may head a group; its distinct values show below
    assert ("row_level_data" in table(f"{header},age\n{rows}")) == wanted
    many = "".join(f"p{i},x\n" for i in range(30))
    assert {"row_level_data", "distinct_values"} & table(f"{header},sex\n{many}")


def test_measured_values_and_row_numbers_are_no_identifiers() -> None:
    rows = "".join(f"{i},{i * 1.37 + 0.01:.3f}\n" for i in range(40))
    assert table(",effect\n" + rows) == set()


@pytest.mark.parametrize("text", ["statistic,age\nmax,95\n", "group,max_age\na,95\n", ",age\nmin,19\nmean,44.2\n"])
def test_extremes_are_shown_to_a_human(text: str) -> None:
    assert "extreme_value" in table(text)


def test_a_delimiter_is_found_and_a_place_named() -> None:
    for delimiter in ",;\t|":
        rows = parse_table(f"a{delimiter}n\nx{delimiter}3\n")
        assert [one.where for one in observe_table(rows) if one.rule == "small_cells"] == [{"line": 2, "cell": "B2"}]
    assert [cell_name(0, c) for c in (0, 25, 26, 701, 702)] == ["A1", "Z1", "AA1", "ZZ1", "AAA1"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("seen 2024-03-05 again", "pattern_date"),
        ("05.03.2024", "pattern_date"),
        ("March 5, 2024", "pattern_date"),
        ("20240305", "pattern_date"),
        ("MRN: 12345", "pattern_record_number"),
        ("case 00482913 was", "pattern_record_number"),
        ("jo.doe@example.org", "pattern_email"),
        ("call +49 30 1234 5678", "pattern_phone"),
        ("(030) 123 4567", "pattern_phone"),
        ("123-45-6789", "pattern_national_number"),
        ("1.2.840.113619.2.55.3.60468.1234", "pattern_uid"),
        ("QUJD" * 60 + "abcdefgh12345678+/", "encoded_blob"),
        ("x" * 6000, "long_line"),
        ("a\u200bb", "hidden_characters"),
        ("\U000e0041", "hidden_characters"),
    ],
)
def test_a_pattern_is_found_with_its_line(text: str, rule: str) -> None:
    hits = [one for one in observe_text(f"first\n{text}\n") if one.rule == rule]
    assert [one.where for one in hits] == [{"line": 2}]


@pytest.mark.parametrize(
    "text", ["mean 4.5 (sd 1.2)", "p = 0.000012345678", "AUC 0.91 [0.88, 0.93]", "-" * 300, "3.14159265358979", "1e-12"]
)
def test_plain_results_are_not_taken_for_people(text: str) -> None:
    assert found(text) == set()


@given(st.text(max_size=200))
def test_every_hit_in_any_text_is_of_a_known_rule_and_names_a_line_of_it(text: str) -> None:
    lines = len(text.splitlines())
    for one in observe_text(text):
        assert one.rule in RULES
        assert 1 <= one.where["line"] <= lines
        assert one.count >= 1


@given(st.text(max_size=80), st.text(max_size=80))
def test_an_address_on_a_line_of_its_own_is_found_whatever_stands_around_it(before: str, after: str) -> None:
    assert "pattern_email" in found(f"{before}\njo.doe@example.org\n{after}")


@given(st.lists(st.lists(st.text(max_size=8), max_size=5), max_size=8))
def test_no_table_breaks_the_rules(rows: list[list[str]]) -> None:
    assert all(one.where and one.rule in RULES for one in observe_table(rows))


def test_a_pattern_needs_no_more_than_linear_time() -> None:
    import time

    hostile = ("1.2." * 5000, "a@" * 20000, "0" * 50000, "2024-" * 9000, "(030) " * 9000, "mrn " * 9000, "a." * 30000)
    for text, times in itertools.product(hostile, (1,)):
        start = time.process_time()
        list(observe_text(text * times))
        assert time.process_time() - start < 2.0


def test_rules_are_data_that_documentation_can_list(check: Any) -> None:
    assert len(RULES) == len({rule.message for rule in RULES.values()})
