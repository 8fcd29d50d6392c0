"""Pieces of a stream are joined without a change of what is shown or counted, and nothing else is joined."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.sandbox.tap.display import judge
from enclave.sandbox.tap.message import Leg, Message
from enclave.sandbox.tap.pieces import MAX_JOINED_BYTES, is_piece, joined, may_follow
from enclave.sandbox.tap.policy import DisplayPolicy
from enclave.sandbox.tap.running import OutputDigest

FRONT, BACK = Leg(b"front", strict=False), Leg(b"back", strict=False)


def piece(text: str = "a", *, name: str = "stdout", parent: str = "p", **changes: Any) -> Message:
    header = {"msg_type": "stream", "msg_id": "1"}
    made = Message((b"stream",), header, {"msg_id": parent}, {}, {"name": name, "text": text})
    return BACK.read(BACK.write(replace(made, **changes)))


TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)  # halves of characters, too
PIECES = st.lists(st.builds(piece, TEXT, name=st.sampled_from(["stdout", "stderr"]), parent=st.sampled_from("pq")))


@given(found=PIECES)
def test_joining_changes_neither_the_text_of_a_stream_nor_its_order_nor_what_is_counted(found: list[Message]) -> None:
    groups: list[list[Message]] = []
    for one in found:
        if groups and may_follow(groups[-1][0], one):
            groups[-1].append(one)
        else:
            groups.append([one])
    shown = [BACK.read(BACK.write(joined(group))) for group in groups]

    def told(messages: list[Message]) -> list[tuple[Any, str]]:
        keyed = groupby(messages, key=lambda one: (one.parent_id, one.content["name"]))
        return [(key, "".join(one.content["text"] for one in part)) for key, part in keyed]

    def counted(messages: list[Message]) -> tuple[Any, ...]:
        digest = OutputDigest()
        amounts = [judge(one, DisplayPolicy()).amount for one in messages]
        for one in messages:
            digest.add(one)
        rows = [(row["mime"], row["size"]) for row in digest.rows()]
        return sum(one.bytes for one in amounts), sum(one.rows for one in amounts), digest.bytes, rows

    assert told(shown) == told(found)
    assert counted([joined(group) for group in groups]) == counted(found)
    assert all(not may_follow(one, two) for one, two in pairwise(shown))


@pytest.mark.parametrize(
    "other",
    [
        piece(name="stderr"),
        piece(parent="q"),
        piece(identities=(b"another",)),
        piece(metadata={"a": 1}),
        piece(buffers=(b"x",)),
        piece("\ude00"),
        piece(content={"name": "stdout", "text": "a", "more": 1}),
        piece(content={"name": "stdout", "text": ["a"]}),
        piece(content={"name": "stdlog", "text": "a"}),
        piece("x" * MAX_JOINED_BYTES),
        piece(header={"msg_type": "clear_output", "msg_id": "1"}),
        piece(header={"msg_type": "status", "msg_id": "1"}, content={"execution_state": "idle"}),
    ],
)
def test_what_is_no_piece_of_the_same_stream_of_the_same_request_stays_alone(other: Message) -> None:
    assert not may_follow(piece(), other)


def test_a_single_piece_stays_as_it_came() -> None:
    one = piece()
    assert is_piece(one)
    assert joined([one]) is one
