"""The pure rules: dates, UIDs, names, words, options, recipes. Whole rules, by hypothesis where there is one."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.deid import dates, names, uids
from enclave.deid.actions import TYPES, UNKNOWN, Action, resolve
from enclave.deid.profile import DEFAULT_OPTIONS, OPTIONS, RETAIN_DATES, Profile, check_options
from enclave.deid.recipe import parse_recipe
from enclave.deid.sweep import Subject, Sweeper
from enclave.deid.table import table_rows, vocabulary
from enclave.deid.words import Words
from enclave.deid.worker import _OWN_TEXTS, foreign_bytes

DAYS = st.dates(min_value=date(1905, 1, 1), max_value=date(2200, 1, 1))
SHIFT = st.integers(-36_500, -1)
KEY = st.binary(min_size=32, max_size=32)


@given(DAYS, DAYS, SHIFT)
def test_intervals_between_dates_survive_a_shift(one: date, other: date, days: int) -> None:
    moved = [dates.parse_da(dates.shift_da(f"{day:%Y%m%d}", days=days)) for day in (one, other)]
    assert moved[0] is not None
    assert moved[1] is not None
    assert moved[0] - moved[1] == one - other
    assert moved[0] == one + timedelta(days=days)


@given(DAYS, st.times(), SHIFT)
def test_a_date_time_keeps_its_time_and_zone(day: date, time: object, days: int) -> None:
    text = f"{day:%Y%m%d}{time:%H%M%S}.5+0130"
    moved = dates.shift_dt(text, days=days)
    assert moved == f"{day + timedelta(days=days):%Y%m%d}{time:%H%M%S}.5+0130"


@given(DAYS, st.times(), SHIFT, st.sampled_from(["", "+0130", "-0500"]))
def test_of_a_time_stays_what_the_recipe_says_and_the_day_moves_as_before(
    day: date, time: object, days: int, zone: str
) -> None:
    moved, hour = f"{day + timedelta(days=days):%Y%m%d}", f"{time:%H}"
    for clock in (f"{time:%H}", f"{time:%H%M}", f"{time:%H%M%S}", f"{time:%H%M%S.%f}", f"{time:%H:%M:%S}"):
        assert [dates.keep_tm(clock, times=times) for times in dates.TIMES] == [clock, hour, ""]
        if ":" not in clock:
            text = f"{day:%Y%m%d}{clock}{zone}"
            kept = [dates.shift_dt(text, days=days, times=times) for times in dates.TIMES]
            assert kept == [f"{moved}{clock}{zone}", f"{moved}{hour}{zone}", f"{moved}{zone}"]


@given(st.text())
def test_what_is_no_date_becomes_empty_and_never_raises(text: str) -> None:
    for moved in (dates.shift_da(text, days=-5), dates.shift_dt(text, days=-5)):
        assert moved == "" or moved[:8].isdigit()
    assert dates.top_code_as(text) == "" or len(dates.top_code_as(text)) == 4
    assert dates.keep_tm(text) == "" or dates.keep_tm(text)[0].isdigit()
    dates.parse_table_date(text)


@pytest.mark.parametrize("text", ["00000000", "20240230", "2024", "20240101-20240201", "99999999", "0001", "today"])
def test_broken_dates_are_not_kept(text: str) -> None:
    assert dates.shift_da(text, days=-3) == ""


@given(st.integers(0, 999), st.sampled_from("DWMY"))
def test_no_age_over_89_years_survives(number: int, unit: str) -> None:
    coded = dates.top_code_as(f"{number:03d}{unit}")
    years = number / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[unit]
    assert coded == ("090Y" if years >= 90 else f"{number:03d}{unit}")


@given(st.text(min_size=1), KEY, st.integers(1, 36_500))
def test_a_patients_offset_is_its_own_never_zero_never_forward(patient: str, key: bytes, longest: int) -> None:
    days = dates.offset_days(patient, key=key, max_shift_days=longest)
    assert -longest <= days <= -1
    assert days == dates.offset_days(patient, key=key, max_shift_days=longest)


@given(st.text(min_size=1).filter(lambda t: t.strip(" \0")), KEY)
def test_a_new_uid_is_valid_and_the_same_each_time(original: str, key: bytes) -> None:
    if original.strip(" \0").startswith(uids.STANDARD_ROOT):
        return
    new = uids.map_uid(original, key=key)
    assert uids.may_be_uid(new)
    assert len(new) <= 44
    assert new == uids.map_uid(original, key=key)
    assert new != uids.map_uid(original, key=key[::-1] + b"x")


def test_uids_of_the_standard_stay() -> None:
    assert uids.map_uid("1.2.840.10008.5.1.4.1.1.2", key=b"k") == "1.2.840.10008.5.1.4.1.1.2"


def test_ten_thousand_patients_have_ten_thousand_pseudonyms() -> None:
    made = {names.pseudonym(f"MRN{n}", key=b"k" * 32, prefix="P-") for n in range(10_000)}
    assert len(made) == 10_000
    assert all(len(one) == 16 and one[2:].isalnum() for one in made)


@given(st.text())
def test_folding_is_stable_and_squeezing_has_no_spaces(text: str) -> None:
    assert names.fold(names.fold(text)) == names.fold(text)
    assert " " not in names.squeeze(text)


@given(st.text(max_size=300))
def test_nothing_but_known_words_and_technique_numbers_gets_through(text: str) -> None:
    words = Words(vocabulary())
    kept = words.keep(text)
    assert words.keep(kept) == kept
    digits = "".join(char if char.isdigit() else " " for char in kept).split()
    assert all(len(run) <= 4 for run in digits)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("CT CHEST W CONTRAST Branbury", "CT CHEST W CONTRAST"),
        ("T1 FLAIR, L5-S1, Gleason 7", "T1 FLAIR, L5-S1, Gleason 7"),
        ("Hodgkin follow-up 2.5mm", "Hodgkin follow-up 2.5mm"),
        ("MRN 12345678", ""),
        ("call 030 555 1234", ""),
        ("DOB 12.03.1950", ""),
        ("12-34-56", ""),
        ("93Y", ""),
        ("José Ñandú 头部", ""),
        ("", ""),
    ],
)
def test_descriptions_keep_clinical_words_only(text: str, kept: str) -> None:
    found = Words(vocabulary()).keep(text)
    assert found.replace("DOB", "").strip() == kept


def test_a_denied_word_goes_even_when_the_vocabulary_knows_it() -> None:
    assert Words(vocabulary(), denied=frozenset({"parkinson"})).keep("HEAD Parkinson") == "HEAD"


SUBJECT = Subject(
    names={"MÜLLER-LÜDENSCHEIDT^Zoë", "LI^WU"}, numbers={"MRN-0012345678", "+49 30 5551234"}, births={date(1950, 3, 12)}
)


@pytest.mark.parametrize(
    "text",
    [
        "zoe", "muller ludenscheidt", "MULLER", "MRN0012345678", "00 1234 5678", "id 345678", "0049 30 555 1234"[2:],
        "12.03.1950", "1950-03-12", "wu li"[::-1][::-1].replace("wu li", "Li Wu"), "x MRN_0012345678 y",
    ],
)  # fmt: skip
def test_the_sweep_finds_every_spelling_of_an_identifier(text: str) -> None:
    assert Sweeper(SUBJECT, vocabulary=vocabulary()).found_in_text(text)


@pytest.mark.parametrize("text", ["", "L5", "May", "CT CHEST", "12", "345", "1951-03-12", "zoetrope", "5551299", "Wu"])
def test_the_sweep_leaves_other_text_alone(text: str) -> None:
    assert not Sweeper(SUBJECT, vocabulary=vocabulary()).found_in_text(text)


COMMON = Subject(names={"HEAD^Philip", "PRIMARY^Jo", "LONG^Mary"}, numbers={"512", "L5"})


@pytest.mark.parametrize("text", ["HEAD", "PRIMARY", "head", "Philips", "L5", "ORIGINAL PRIMARY AXIAL", "512"])
def test_a_name_that_is_a_clinical_word_destroys_no_coded_value(text: str) -> None:
    assert not Sweeper(COMMON, vocabulary=vocabulary()).found_in_term(text)
    assert not Sweeper(COMMON, vocabulary=vocabulary()).found_in_bytes(text.encode())


@pytest.mark.parametrize("text", ["head^philip", "Head, Philip", "philip", "primary jo", "MARY"])
def test_the_whole_name_or_its_telling_part_is_found_in_coded_values_too(text: str) -> None:
    assert Sweeper(COMMON, vocabulary=vocabulary()).found_in_term(text)


@pytest.mark.parametrize("data", [b"\0PHILIP\0", b"xxphilip", b"philip1950", b"PHILIP_HEAD", b"head philip."])
def test_a_name_in_bytes_is_found_unless_a_known_word_holds_it(data: bytes) -> None:
    assert Sweeper(COMMON, vocabulary=vocabulary()).found_in_bytes(data)
    assert not Sweeper(COMMON, vocabulary=vocabulary()).found_in_bytes(b"Philips Medical Systems, philips")


@pytest.mark.parametrize("own", _OWN_TEXTS)
def test_a_name_beside_a_word_of_our_own_makes_no_known_word_with_what_comes_after(own: bytes) -> None:
    sweeper = Sweeper(COMMON, vocabulary=vocabulary())
    assert sweeper.found_in_bytes(foreign_bytes(b"philip" + own + b"s"))
    assert not sweeper.found_in_bytes(foreign_bytes(b"philips" + own + b"philips"))
    assert foreign_bytes(own) == b"\0"


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=80), st.text(max_size=80))
def test_the_sweep_finds_an_identifier_between_any_bytes_and_any_text(
    before: bytes, after: bytes, left: str, right: str
) -> None:
    sweeper = Sweeper(SUBJECT, vocabulary=vocabulary())
    assert sweeper.found_in_bytes(before + b"MRN-0012345678" + after)
    assert sweeper.found_in_text(f"{left} MRN-0012345678 {right}")


@given(st.binary(max_size=400), st.text(max_size=80))
def test_the_sweep_of_nobody_finds_nothing_in_any_bytes_or_text(data: bytes, text: str) -> None:
    sweeper = Sweeper(Subject(), vocabulary=vocabulary())
    assert not sweeper.found_in_bytes(data)
    assert not sweeper.found_in_text(text)
    assert not sweeper.found_in_number(text)


def test_two_options_that_contradict_are_both_named() -> None:
    with pytest.raises(InvalidError, match=r"retain_full_dates.*retain_modified_dates"):
        check_options(["retain_full_dates", "retain_modified_dates"])


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(InvalidError, match="retain_uids"):
        check_options(["retain_uid"])


ROWS_IN_SHORT = {(row.basic, tuple(sorted(row.options.items()))): row for row in table_rows()}.values()
SUBSETS = [
    {option for place, option in enumerate(OPTIONS) if number >> place & 1} for number in range(1 << len(OPTIONS))
]


def test_each_of_all_sets_of_options_is_a_recipe_or_an_error_that_names_two_of_them() -> None:
    """The whole lattice: 4,096 sets. Refused is what holds a full and a modified date, and nothing else."""
    refused = 0
    for options in SUBSETS:
        try:
            assert set(check_options(options)) == options
        except InvalidError as error:
            refused += 1
            assert error.code == "option_conflict"
            assert {option for option in OPTIONS if option in error.message} == set(RETAIN_DATES) <= options
        else:
            assert not set(RETAIN_DATES) <= options
    assert refused == len(SUBSETS) // 4


def test_every_row_has_a_defined_action_in_every_iod_under_every_set_of_options() -> None:
    deciding = {option for row in table_rows() for option in row.options}
    for options in SUBSETS:
        if set(RETAIN_DATES) <= options or not options <= deciding:
            continue  # the others decide on pixels and private elements, not on a row
        profile = Profile(ROWS_IN_SHORT, options=options)
        for row in ROWS_IN_SHORT:
            tag = int(row.tag.replace("x", "0"), 16)
            said = {row.options[option] for option in options if option in row.options}
            for iod_type in (*TYPES, UNKNOWN):
                rule = profile.listed(tag, iod_type=iod_type)
                assert rule is not None
                assert rule.action.value in said if said else rule.action is resolve(row.basic, iod_type=iod_type)
                assert rule.because


def test_options_that_have_no_column_decide_on_no_row() -> None:
    deciding = {option for row in table_rows() for option in row.options}
    assert set(OPTIONS) - deciding == {"clean_pixel_data", "clean_recognizable_features", "retain_safe_private"}


@pytest.mark.parametrize("pair", list(itertools.combinations(OPTIONS, 2)), ids="+".join)
def test_two_options_decide_alike_in_whatever_order_they_are_given(pair: tuple[str, str]) -> None:
    if pair == RETAIN_DATES:
        with pytest.raises(InvalidError):
            check_options(pair)
        return
    one, other = Profile(table_rows(), options=pair), Profile(table_rows(), options=pair[::-1])
    alone = [Profile(table_rows(), options=[option]) for option in pair]
    for row in table_rows():
        tag = int(row.tag.replace("x", "0"), 16)
        assert one.listed(tag) == other.listed(tag)
        assert one.listed(tag) in [profile.listed(tag) for profile in alone]


def test_names_and_numbers_of_patients_never_stay_under_any_option() -> None:
    profile = Profile(table_rows(), options=[option for option in OPTIONS if option != "retain_full_dates"])
    for tag in (0x00100010, 0x00100020, 0x00101000, 0x00101040, 0x00102154, 0x00080090, 0x00100030):
        rule = profile.listed(tag)
        assert rule is not None
        assert rule.action in (Action.REMOVE, Action.ZERO, Action.DUMMY)


def test_the_table_is_complete() -> None:
    assert len(table_rows()) == 655
    assert {row.basic for row in table_rows()} == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}


def test_repeating_groups_are_known() -> None:
    profile = Profile(table_rows(), options=DEFAULT_OPTIONS)
    assert profile.listed(0x60023000) is not None
    assert profile.listed(0x50021234) is not None
    assert profile.listed(0x00280010) is None


@pytest.mark.parametrize(
    "text",
    [
        "profile = 'other'",
        "options = ['nothing']",
        "[dates]\nmax_shift_days = 0",
        '[dates]\ntimes = "minute"',
        'options = ["retain_full_dates"]\n[dates]\ntimes = "hour"',
        'options = []\n[dates]\ntimes = "none"',
        "[canaries]\ncount = -1",
        "[private]\nallow = [{creator = 'A', element = '0008,0010'}]",
        "[tables.a.columns]\nx = 'boss'",
        "[tables.a.columns]\nx = 'date'",
        "unknown = 1",
        "not toml",
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_recipe(text)
