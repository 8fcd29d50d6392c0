"""Messages on a leg: what goes in signed comes out signed for the other side, and nothing else comes out."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.sandbox.tap.message import DELIMITER, LARGE_BYTES, MAX_DEPTH, Leg, Message
from enclave.sandbox.tap.rules import RULES, rule_for
from enclave.sandbox.tap.running import MAX_OUTPUTS, OutputDigest, Running, text_of

FRONT, BACK = Leg(b"front", strict=True), Leg(b"back", strict=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENT = st.dictionaries(st.text(), JSON, max_size=4)


def message(kind: str = "execute_request", **content: Any) -> Message:
    return Message((b"client",), {"msg_type": kind, "msg_id": "1"}, {}, {}, content)


@given(content=CONTENT, parent=CONTENT, buffers=st.lists(st.binary(), max_size=3))
def test_a_message_passes_both_legs_unchanged(content: Any, parent: Any, buffers: list[bytes]) -> None:
    header = {"msg_type": "execute_request", "msg_id": "1"}
    sent = Message((b"client",), header, parent, {}, content, tuple(buffers))
    inside = BACK.read(BACK.write(FRONT.read(FRONT.write(sent))))
    assert inside == sent


@given(frames=st.lists(st.binary(max_size=40) | st.just(DELIMITER), max_size=9))
def test_any_bytes_are_a_message_or_an_error_of_ours(frames: list[bytes]) -> None:
    with pytest.raises(InvalidError):
        FRONT.read(frames)


@given(place=st.integers(0, 3), bit=st.integers(0, 7))
def test_a_flipped_bit_breaks_the_signature(place: int, bit: int) -> None:
    frames = FRONT.write(message(code="pass"))
    spoiled = bytearray(frames[3 + place])
    spoiled[0] ^= 1 << bit
    frames[3 + place] = bytes(spoiled)
    with pytest.raises(InvalidError) as fault:
        FRONT.read(frames)
    assert fault.value.code == "bad_signature"


def test_the_other_legs_signature_is_no_good() -> None:
    with pytest.raises(InvalidError):
        FRONT.read(BACK.write(message(code="pass")))


@pytest.mark.parametrize("part", [b'{"a":1,"a":2}', b"[]", b"nope", b'"text"', b"\xff"])
def test_a_part_with_two_readings_or_none_is_refused(part: bytes) -> None:
    frames = FRONT.write(message(code="pass"))
    parts = [*frames[3:6], part]
    signed = [*frames[:2], FRONT._sign(parts), *parts]
    with pytest.raises(InvalidError) as fault:
        FRONT.read(signed)
    assert fault.value.code == "malformed"


LARGE = LARGE_BYTES * "x"


def _signed_by_kernel(data: bytes) -> list[bytes]:
    frames = BACK.write(message("stream"))
    return [*frames[:2], BACK._sign([*frames[3:6], data]), *frames[3:6], data]


@given(content=CONTENT)
def test_a_large_content_keeps_its_meaning(content: Any) -> None:
    sent = Message((b"client",), {"msg_type": "stream", "msg_id": "1"}, {}, {}, {**content, "large": LARGE})
    found = BACK.read(BACK.write(sent))
    assert found == sent
    assert json.loads(FRONT.write(found)[6]) == sent.content
    assert json.loads(FRONT.write(found.with_content({"other": 1}))[6]) == {"other": 1}


@pytest.mark.parametrize("number", [2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40, 0.1, 1e300, 1.0])
def test_no_number_of_a_large_content_changes(number: Any) -> None:
    found = BACK.read(_signed_by_kernel(json.dumps({"data": [{"n": number}], "large": LARGE}).encode()))
    assert repr(found.content["data"]) == repr([{"n": number}])
    assert repr(json.loads(FRONT.write(found)[6])["data"]) == repr([{"n": number}])


def test_many_values_of_a_large_content_keep_their_meaning() -> None:
    content = {"data": {str(number): [number, number / 2, None] for number in range(400)}, "large": LARGE}
    found = BACK.read(_signed_by_kernel(json.dumps(content).encode()))
    assert json.loads(FRONT.write(found)[6]) == content


@pytest.mark.parametrize("odd", ['"a":1,"a":2', '"a":NaN', '"a":{"b":1,"b":2}', '"a":-Infinity', '"a":"\\ud800"'])
def test_a_large_content_with_two_readings_leaves_with_the_one_that_was_understood(odd: str) -> None:
    data = f'{{{odd},"large":"{LARGE}"}}'.encode()
    found = BACK.read(_signed_by_kernel(data))
    left = FRONT.write(found)[6]
    assert str(json.loads(left)) == str(json.loads(data)) == str(found.content)
    assert left.count(b'"a"') == 1


# Texts of JSON as hostile as they come: keys twice, constants that are none, numbers of any size, escapes of half a
# character, bytes that are no UTF-8, blanks; most are JSON for a tolerant reader, some for none.
ATOMS = st.one_of(
    st.sampled_from(
        [b"NaN", b"Infinity", b"-Infinity", b"-0", b"-0.0", b"1e400", b"1e-400", b"01", b"1.", b"true", b""]
    ),
    st.sampled_from(
        [b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\x00"', b'"\xff"', b'"\\x"']
    ),
    st.sampled_from([b'"\xed\xa0\x80"', b'"\xc0\x80"', b"\xef\xbb\xbf1", b"[1,]", b"\x0c", b"'a'", b"/**/1", b"nul"]),
    st.integers().map(lambda number: str(number).encode()),
    st.integers(-(10**30), 10**30).map(lambda number: str(number).encode()),
    st.floats().map(lambda number: repr(number).encode()),
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.text().map(lambda text: json.dumps(text).encode()),
)
BLANK = st.sampled_from([b"", b" ", b"\n\t"])


def _objects(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    keys = st.sampled_from([b'"a"', b'"\\u0061"', b'"b"', b'"\\ud800"', b'""'])
    pairs = st.tuples(keys, BLANK, inner).map(lambda pair: pair[0] + pair[1] + b":" + pair[2])
    return st.lists(pairs, max_size=4).map(lambda found: b"{" + b",".join(found) + b"}")


ODD_TEXT = _objects(
    st.recursive(
        ATOMS,
        lambda inner: _objects(inner) | st.lists(inner, max_size=3).map(lambda all_: b"[" + b",".join(all_) + b"]"),
        max_leaves=6,
    )
)


def _same(one: Any, other: Any) -> bool:
    """Equal with type and sign, NaN like NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isnan(one) == math.isnan(other) and (
            math.isnan(one) or (one, math.copysign(1, one)) == (other, math.copysign(1, other))
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


def _tolerant(data: bytes) -> Any:
    """What Python's own reader makes of it, which also reads a kernel's words in most clients; None: nothing."""
    try:
        return json.loads(str(data, "utf-8", "surrogatepass"))
    except ValueError:
        return None


@given(data=ODD_TEXT)
def test_what_a_kernel_says_is_understood_as_pythons_reader_does_or_dropped(data: bytes) -> None:
    wanted = _tolerant(data)
    if wanted is None:
        with pytest.raises(InvalidError):
            BACK.read(_signed_by_kernel(data))
        return
    found = BACK.read(_signed_by_kernel(data))
    assert _same(found.content, wanted)
    left = FRONT.write(found)[6]
    assert _same(json.loads(left), wanted)


@given(data=ODD_TEXT)
def test_what_leaves_has_one_reading(data: bytes) -> None:
    if _tolerant(data) is None:
        return
    left = FRONT.write(BACK.read(_signed_by_kernel(data)))[6]

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found)
        return dict(found)

    json.loads(left.decode("utf-8"), object_pairs_hook=pairs)


@given(data=ODD_TEXT)
def test_what_a_client_says_has_one_reading_or_is_refused(data: bytes) -> None:
    frames = FRONT.write(message())
    parts = [*frames[3:6], data]
    try:
        found = FRONT.read([*frames[:2], FRONT._sign(parts), *parts])
    except InvalidError:
        return
    text = str(data, "utf-8", "surrogatepass")

    def first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(reversed(pairs))

    def no_constant(word: str) -> Any:
        raise AssertionError(word)

    assert _same(json.loads(text, object_pairs_hook=first, parse_constant=no_constant), found.content)


@pytest.mark.parametrize("digits", [19, 20, 39, 4299, 4300])
@pytest.mark.parametrize("sign", ["", "-"])
def test_whole_numbers_of_any_length_that_python_reads_pass_unchanged(sign: str, digits: int) -> None:
    data = b'{"n":' + f"{sign}{'9' * digits}".encode() + b"}"
    found = BACK.read(_signed_by_kernel(data))
    assert found.content == {"n": int(f"{sign}{'9' * digits}")}
    assert FRONT.write(found)[6] == data


def test_a_number_longer_than_python_reads_is_not_passed_on() -> None:
    with pytest.raises(InvalidError):
        BACK.read(_signed_by_kernel(b'{"n":' + b"9" * 4301 + b"}"))


@pytest.mark.parametrize("leg", [FRONT, BACK])
@pytest.mark.parametrize(("open_", "shut"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 990, 100_000])
def test_what_is_nested_too_deep_is_refused(leg: Leg, open_: bytes, shut: bytes, depth: int) -> None:
    data = b'{"a":' + open_ * depth + b"1" + shut * depth + b"}"
    frames = leg.write(message())
    with pytest.raises(InvalidError) as fault:
        leg.read([*frames[:2], leg._sign([*frames[3:6], data]), *frames[3:6], data])
    assert fault.value.code == "malformed"


@pytest.mark.parametrize("leg", [FRONT, BACK])
def test_what_is_nested_as_deep_as_may_be_passes(leg: Leg) -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    frames = leg.write(message(a=value))
    assert leg.write(leg.read(frames))[6] == frames[6]


def test_a_large_content_with_a_key_twice_is_refused_from_a_client() -> None:
    frames = FRONT.write(message())
    parts = [*frames[3:6], f'{{"code":"1","code":"{LARGE}"}}'.encode()]
    with pytest.raises(InvalidError):
        FRONT.read([*frames[:2], FRONT._sign(parts), *parts])


def test_bytes_that_are_no_utf_8_are_not_passed_on() -> None:
    data = b'{"text":"\xed\xa0\x80' + LARGE.encode() + b'"}'
    frames = BACK.write(message("stream"))
    signed = [*frames[:2], BACK._sign([*frames[3:6], data]), *frames[3:6], data]
    found = BACK.read(signed)
    assert FRONT.write(found)[6].isascii()


def test_a_lone_surrogate_survives() -> None:
    sent = message(code="x = '\ud800'")
    assert FRONT.read(FRONT.write(sent)) == sent


def test_nothing_that_runs_code_passes_the_control_channel() -> None:
    assert set(RULES["control"]) == {"kernel_info_request", "interrupt_request", "shutdown_request"}
    for kind in ("execute_request", "debug_request", "comm_msg", "create_subshell_request", "unheard_of"):
        assert rule_for("control", kind) is None


def test_user_expressions_are_part_of_what_is_recorded() -> None:
    rule = RULES["shell"]["execute_request"]
    assert "evil()" in text_of(message(code="pass", user_expressions={"x": "evil()"}), rule)


def test_the_record_of_outputs_stays_small() -> None:
    digest = OutputDigest()
    for number in range(1000):
        digest.add(message("display_data", data={"text/plain": str(number), "image/png": "x" * 300}))
    assert digest.total == 2000
    assert len(digest.rows()) == MAX_OUTPUTS
    assert len(json.dumps(digest.rows())) < 40_000


def test_a_cell_is_done_only_with_idle_and_reply() -> None:
    cell = Running(message(), RULES["shell"]["execute_request"], "0" * 32, 0.0)
    cell.idle = True
    assert not cell.done
    cell.status = "ok"
    assert cell.done
