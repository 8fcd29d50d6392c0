"""Canonical JSON, time, names, secrets, settings and errors."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core import errors
from enclave.core.canonical import canonical_bytes, digest_hex, parse_canonical, parse_json
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import EnclaveError, InvalidError, error_from_wire
from enclave.core.ids import VersionName, check_name, check_principal, check_token_id
from enclave.core.secret import Secret
from enclave.core.settings import check_sections, parse_settings

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_a_value_has_one_spelling_which_reads_back(value):
    data = canonical_bytes(value)
    assert parse_canonical(data) == value
    assert canonical_bytes(parse_json(data)) == data
    assert digest_hex(value) == digest_hex(json.loads(data))


@given(st.dictionaries(TEXT, st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value):
    assert canonical_bytes(dict(reversed(value.items()))) == canonical_bytes(value)


@given(st.binary(max_size=60) | TEXT.map(str.encode))
def test_parsing_any_bytes_gives_a_value_or_an_error_of_ours(data):
    try:
        value = parse_canonical(data)
    except InvalidError:
        return
    assert canonical_bytes(value) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", object(), {"a": {(1,): 2}}, "\ud800"])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(InvalidError):
        canonical_bytes(value)


def test_a_value_nested_too_deep_is_refused():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidError):
        canonical_bytes(deep)


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "NaN", "-Infinity", "1e999", "{", "", "[1,]", "[" * 100_000])
def test_json_that_is_loose_is_refused(text):
    with pytest.raises(InvalidError):
        parse_json(text)


LONG_AGO, FAR_AHEAD = datetime(2, 1, 1), datetime(9998, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone


@given(st.datetimes(LONG_AGO, FAR_AHEAD, timezones=st.timezones()))
def test_times_keep_their_instant(at):
    assert parse_time(format_time(at)) == at.astimezone(UTC)


@given(st.datetimes(LONG_AGO, FAR_AHEAD), st.datetimes(LONG_AGO, FAR_AHEAD))
def test_text_order_is_time_order(one, two):
    one, two = one.replace(tzinfo=UTC), two.replace(tzinfo=UTC)
    assert (format_time(one) < format_time(two)) == (one < two)


@pytest.mark.parametrize("text", ["2026-11-22", "2026-11-22T12:00:00", "yesterday", "", "2026-13-01T00:00:00Z"])
def test_a_time_without_zone_or_sense_is_refused(text):
    with pytest.raises(InvalidError):
        parse_time(text)


def test_a_naive_time_cannot_be_written():
    with pytest.raises(InvalidError):
        format_time(datetime(2026, 11, 22))  # noqa: DTZ001 - the fault itself


def test_other_zones_are_turned_into_utc():
    at = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(at) == "2026-11-22T10:00:00.000000Z"


HOSTILE = ["", ".", "..", "a/b", "../x", "a\0b", "A", "-a", "a b", "a" * 200, "ä", "a\n", "a;b", "$(x)", "a..b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_no_name(name):
    with pytest.raises(InvalidError):
        check_name(name, what="dataset")
    with pytest.raises(InvalidError):
        check_principal(name)
    with pytest.raises(InvalidError):
        VersionName.parse(f"{name}@1")


@pytest.mark.parametrize("text", ["a", "a@", "a@0", "a@-1", "a@01", "a@1@2", "@1", "a@1.0", "a@9999999999", "a@١"])
def test_a_version_is_a_name_and_a_number(text):
    with pytest.raises(InvalidError):
        VersionName.parse(text)


@given(st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True), st.integers(1, 10**9 - 1))
def test_a_version_name_reads_back(name, number):
    assert VersionName.parse(str(VersionName(name, number))) == VersionName(name, number)


def test_token_ids_are_32_hex_digits():
    assert check_token_id("0" * 32, what="kernel") == "0" * 32
    for bad in ("0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 32 + "\n"):
        with pytest.raises(InvalidError):
            check_token_id(bad, what="kernel")


def test_a_secret_shows_itself_nowhere_but_where_it_is_revealed():
    secret = Secret(b"CANARY")
    assert "CANARY" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == b"CANARY"


@dataclass(frozen=True, slots=True)
class Limits:
    bytes: int = 1
    ratio: float = 0.5


@dataclass(frozen=True, slots=True)
class Example:
    name: str
    port: int = 8000
    hosts: tuple[str, ...] = ()
    limits: Limits = Limits()
    note: str | None = None
    shares: dict[str, float] | None = None


def test_settings_become_a_dataclass_with_defaults_and_nested_tables():
    text = '[x]\nname = "a"\nhosts = ["b"]\nlimits = { ratio = 1 }\nshares = { a = 2 }\n[other]\nz = 1\n'
    assert parse_settings(text, Example, section="x") == Example(
        "a", hosts=("b",), limits=Limits(ratio=1.0), shares={"a": 2.0}
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[x]\nname = "a"\nprot = 1', "did you mean 'port'"),
        ('[x]\nname = "a"\nlimits = { byte = 1 }', "did you mean 'bytes'"),
        ("[x]\nname = 1", "x.name"),
        ('[x]\nname = "a"\nport = true', "x.port"),
        ('[x]\nname = "a"\nport = "8000"', "x.port"),
        ('[x]\nname = "a"\nhosts = "b"', "x.hosts"),
        ('[x]\nname = "a"\nhosts = [1]', "x.hosts"),
        ("[x]\n", "name"),
        ("x = 1", "table"),
        ("[x", "TOML"),
    ],
)
def test_a_wrong_setting_is_named(text, words):
    with pytest.raises(InvalidError) as caught:
        parse_settings(text, Example, section="x")
    assert words in caught.value.message


def test_a_table_that_nobody_reads_is_named_with_the_nearest():
    check_sections("[audit]\n", ["audit", "hub"])
    with pytest.raises(InvalidError, match="did you mean 'audit'"):
        check_sections("[audti]\n", ["audit", "hub"])


def test_every_family_has_its_exit_code_and_survives_the_wire():
    assert {f.family: f.exit_code for f in errors.FAMILIES.values()} == {
        "denied": 10, "not_found": 11, "invalid": 12, "conflict": 13, "unavailable": 14, "integrity": 15,
    }  # fmt: skip
    for family, cls in errors.FAMILIES.items():
        back = error_from_wire(family, "x.y", "words")
        assert (type(back), back.code, back.message, str(back)) == (cls, "x.y", "words", "words")
        assert cls("words").code == family


def test_an_unknown_family_is_still_an_error_of_ours():
    back = error_from_wire("strange", "", "words")
    assert type(back) is EnclaveError
    assert back.exit_code == 1
