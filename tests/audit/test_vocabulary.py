"""Event kinds as data: each declared once, nothing undeclared written."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from enclave.audit.event import Event, check_event, event_from_json, event_to_json
from enclave.audit.vocabulary import check_kind, known_kinds, parse_kinds
from enclave.core.errors import InvalidError

EVENT = Event(id="0" * 32, time="2026-11-22T12:00:00.000000Z", kind="audit.rebuild", actor="service:test", outcome="ok")
VALUES = {"string": "x", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}


@pytest.mark.row("S10.1")
@pytest.mark.parametrize("name", sorted(known_kinds()))
def test_every_kind_says_what_it_means_and_who_writes_it(name):
    kind = known_kinds()[name]
    assert kind.what.endswith(".")
    assert re.fullmatch(r"[a-z]+( [a-z]+)*", kind.writer)
    check_event(replace(EVENT, kind=name))


@pytest.mark.parametrize("name", sorted(known_kinds()))
def test_every_kind_takes_its_own_detail_and_no_other_type_or_key(name):
    kind = known_kinds()[name]
    detail = {key: VALUES[wanted] for key, wanted in kind.detail.items()}
    check_kind(replace(EVENT, kind=name, detail=detail))
    with pytest.raises(InvalidError):
        check_kind(replace(EVENT, kind=name, detail={**detail, "nobody_declared_this": 1}))
    for key, wanted in kind.detail.items():
        wrong = "x" if wanted != "string" else 1
        for value in (wrong, None):
            with pytest.raises(InvalidError):
                check_kind(replace(EVENT, kind=name, detail={key: value}))


def test_a_message_about_a_bad_detail_does_not_repeat_it():
    with pytest.raises(InvalidError) as caught:
        check_kind(replace(EVENT, detail={"CANARY": "CANARY"}))
    assert "CANARY" not in caught.value.message


BAD_TYPE = '["a.b"]\nwhat = "x"\nwriter = "y"\ndetail = { a = "text" }'


@pytest.mark.parametrize("text", ['["a.b"]\nwhat = "x"', f"{BAD_TYPE}\nmore = 1", "a = 1", "[", BAD_TYPE])
def test_a_malformed_declaration_is_refused(text):
    with pytest.raises(InvalidError):
        parse_kinds(text, where="test.toml")


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"id": "0" * 31},
        {"kind": "Audit.x"},
        {"kind": "audit"},
        {"outcome": "maybe"},
        {"outcome": "refused"},
    ],
)
def test_an_event_of_another_form_is_refused(change):
    with pytest.raises(InvalidError):
        check_event(replace(EVENT, **change))


def test_an_event_reads_back_and_leaves_absent_fields_out():
    told = replace(EVENT, objects=("tables/patients",), version=3, detail={"rows": 1})
    value = event_to_json(told)
    assert "project" not in value
    assert event_from_json(value) == told
    with pytest.raises(InvalidError):
        event_from_json(value | {"more": 1})
