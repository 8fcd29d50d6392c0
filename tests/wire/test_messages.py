"""Messages: nothing unknown, nothing missing, no type but the declared one; for every message there is."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import types
import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import enclave.wire.messages
from enclave.core.errors import InvalidError
from enclave.wire.messages import schema
from enclave.wire.messages.schema import Text, Verbatim, from_json, request_type, to_json

for found in pkgutil.iter_modules(enclave.wire.messages.__path__):
    importlib.import_module(f"enclave.wire.messages.{found.name}")
REQUESTS = sorted(schema._types, key=lambda cls: request_type(cls).name)


def test_every_request_has_a_name_of_its_own():
    names = [request_type(cls).name for cls in REQUESTS]
    assert len(names) == len(set(names))
    assert len(names) > 20


@pytest.mark.parametrize("cls", REQUESTS, ids=lambda cls: request_type(cls).name)
def test_an_unknown_field_is_an_error_in_every_request(cls):
    with pytest.raises(InvalidError):
        from_json(cls, {**dict.fromkeys(f.name for f in dataclasses.fields(cls)), "field_nobody_knows": 1})


@pytest.mark.parametrize("cls", REQUESTS, ids=lambda cls: request_type(cls).name)
@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_what_is_no_object_is_an_error_in_every_request(cls, value):
    with pytest.raises(InvalidError):
        from_json(cls, value)


@pytest.mark.parametrize("cls", REQUESTS, ids=lambda cls: request_type(cls).name)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
@given(data=st.data())
def test_every_request_survives_its_spelling(cls, data):
    message = data.draw(st.builds(cls, **drawn(cls)))
    assert from_json(cls, to_json(message)) == message


@pytest.mark.parametrize("cls", REQUESTS, ids=lambda cls: request_type(cls).name)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
@given(data=st.data())
def test_a_wrong_type_in_any_field_is_an_error(cls, data):
    fields = [f for f in dataclasses.fields(cls) if hint_of(cls, f.name) in (str, int, bool, float)]
    if not fields:
        return
    field = data.draw(st.sampled_from(fields))
    value = to_json(data.draw(st.builds(cls, **drawn(cls))))
    value[field.name] = data.draw(st.sampled_from([[], {}, None, object]))
    with pytest.raises(InvalidError):
        from_json(cls, value)


def hint_of(cls, name):
    return typing.get_type_hints(cls, include_extras=True)[name]


PLAIN = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
CONTROLS = st.sampled_from([*map(chr, range(0x20)), "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\ud800", "\udfff"])
LINE_ENDS = {"\t", "\n", "\r", "\u2028", "\u2029"}


def places(cls):
    """Every place of a request where a string can stand: field, hint of the string, and how it is put there."""
    for field in dataclasses.fields(cls):
        hint = hint_of(cls, field.name)
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            hint = next(arg for arg in args if arg is not type(None))
        if hint in (str, Text, Verbatim):
            yield field.name, hint, lambda text: text
        elif origin is tuple and args[0] is str:
            yield field.name, str, lambda text: ["a", text]
        elif origin is dict and args[1] in (str, Verbatim):
            yield field.name, str, lambda text: {text: "a"}
            yield field.name, args[1], lambda text: {"a": text}


PLACES = [(cls, *place) for cls in REQUESTS for place in places(cls)]


def test_all_that_starts_a_kernel_is_among_the_places():
    found = {name for cls, name, hint, _ in PLACES if request_type(cls).name == "kernel.start" and hint is str}
    assert found == {"environment", "notebook", "path", "project", "session"}


@pytest.mark.parametrize(
    ("cls", "name", "hint", "put"), PLACES, ids=[f"{request_type(cls).name}.{name}" for cls, name, *_ in PLACES]
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
@given(data=st.data())
def test_no_string_of_any_request_holds_a_control_character_unless_it_is_declared(cls, name, hint, put, data):
    plain = st.text(PLAIN, max_size=4)
    control = data.draw(CONTROLS)
    text = data.draw(plain) + control + data.draw(plain)
    value = {**to_json(data.draw(st.builds(cls, **drawn(cls)))), name: put(text)}
    if hint == Verbatim or (hint == Text and control in LINE_ENDS):
        assert to_json(from_json(cls, value))[name] == put(text)
        return
    with pytest.raises(InvalidError, match="control characters") as caught:
        from_json(cls, value)
    assert control not in caught.value.message


def drawn(cls):
    return {f.name: strategy(hint_of(cls, f.name)) for f in dataclasses.fields(cls)}


def strategy(hint):
    if hint is typing.Any:
        return st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.none() | strategy(next(a for a in args if a is not type(None)))
    if origin is tuple:
        return st.lists(strategy(args[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(strategy(str), strategy(args[1]), max_size=2)
    if dataclasses.is_dataclass(hint):
        return st.builds(hint, **drawn(hint))
    if origin is typing.Annotated:
        return st.text("ab\n\t" if hint == Text else "ab\x00\x1b\n", max_size=5)
    plain = {
        str: st.text(PLAIN, max_size=5),
        int: st.integers(),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
    }
    return plain[hint]
