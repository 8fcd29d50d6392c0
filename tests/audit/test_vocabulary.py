"""Event kinds as data: each declared once, nothing undeclared written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

import enclave
from enclave.audit.alerts.model import Change
from enclave.audit.event import Event, check_event, event_from_json, event_to_json
from enclave.audit.event_schema import event_schema
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


SCHEMA = jsonschema.Draft202012Validator(event_schema())


@pytest.mark.row("S10.1")
@pytest.mark.parametrize("name", sorted(known_kinds()))
def test_every_kind_has_a_json_schema_that_takes_what_the_ledger_takes(name):
    kind = known_kinds()[name]
    detail = {key: VALUES[wanted] for key, wanted in kind.detail.items()}
    event = event_to_json(replace(EVENT, kind=name, detail=detail, version=1, objects=("a",)))
    assert SCHEMA.is_valid(event)
    of_kind = jsonschema.Draft202012Validator({"$defs": event_schema()["$defs"], "$ref": f"#/$defs/{name}"})
    wrong = {key: "x" if wanted != "string" else 1 for key, wanted in kind.detail.items()}
    changes = [{"detail": {key: value}} for key, value in wrong.items()]
    changes += [{"detail": {"nobody_declared_this": 1}}, {"id": "0"}, {"outcome": "refused"}, {"outcome": "perhaps"}]
    for change in [*changes, {"another": 1}, {"version": "1"}, {"objects": [1]}, {"kind": "nobody.declared"}]:
        with pytest.raises(InvalidError):
            check_kind(event_from_json(event | change))
        assert not of_kind.is_valid(event | change), change
    assert not SCHEMA.is_valid(event | {"another": 1})


@pytest.mark.row("S10.1")
def test_every_kind_is_written_somewhere_and_tested_somewhere():
    root = Path(enclave.__file__).parent
    written, tested = ("".join(p.read_text() for p in folder.rglob("*.py")) for folder in (root, root.parent / "tests"))
    spelled = {f"alert.{change}" for change in get_args(Change)}  # written as one kind with its change
    assert [kind for kind in known_kinds() if f'"{kind}"' not in written and kind not in spelled] == []
    assert [kind for kind in known_kinds() if f'"{kind}"' not in tested] == []
