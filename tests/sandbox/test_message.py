"""Messages on a leg: what goes in signed comes out signed for the other side, and nothing else comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.sandbox.tap.message import DELIMITER, LARGE_BYTES, Leg, Message
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
