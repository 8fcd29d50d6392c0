"""Between client and kernel: neither hears of the other more than the protocol names and the ledger or a budget has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.sandbox.tap.asked import Asked
from enclave.sandbox.tap.fields import COMMS, MAX_NUMBER
from enclave.sandbox.tap.message import Message
from enclave.sandbox.tap.rules import RULES, Channel, rule_for
from enclave.sandbox.tap.running import text_of

HIDDEN = "hidden-words"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(HIDDEN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(HIDDEN) | st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    *("code", "silent", "store_history", "user_expressions", "allow_stdin", "stop_on_error", "cursor_pos", "pattern"),
    *("detail_level", "value", "status", "restart", "target_name", "hist_access_type", "n", "session", "x"),
)
CONTENT = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)
PAIRS = [(channel, kind) for channel, rules in RULES.items() for kind in rules]


def request(kind: str, content: dict[str, Any] | None = None, **more: Any) -> Message:
    header = {"msg_type": kind, "msg_id": f"{HIDDEN}-id", "session": "s", "username": HIDDEN, "date": HIDDEN}
    return Message((HIDDEN.encode(),), {**header, **more}, {HIDDEN: 1}, {"cellId": "c1", "x": HIDDEN}, content or {})


def said(kind: str, parent: dict[str, Any], **content: Any) -> Message:
    header = {"msg_type": kind, "msg_id": HIDDEN, "more": HIDDEN}
    return Message((HIDDEN.encode(),) * 3, header, {**parent, "more": HIDDEN}, {}, content, (), b"", 100)


@pytest.mark.parametrize(("channel", "kind"), PAIRS)
@given(content=CONTENT)
def test_a_kernel_hears_of_a_client_what_the_record_holds_and_nothing_else(
    channel: Channel, kind: str, content: dict[str, Any]
) -> None:
    sent = request(kind, content)
    heard = Asked().to_kernel(channel, sent)
    assert HIDDEN not in str((heard.identities, heard.header, heard.parent))
    rule = rule_for(channel, kind)
    assert rule is not None
    recorded = text_of(sent, rule) if rule.kind else ""
    for words in (heard.metadata, heard.content):
        assert HIDDEN not in json.dumps(words) or HIDDEN in recorded
    if not rule.kind:
        numbers = [one for one in heard.content.values() if type(one) is int]
        assert all(abs(one) <= MAX_NUMBER for one in numbers)


def test_what_a_comm_carries_beside_its_content_is_recorded() -> None:
    comm = Message((), {"msg_type": "comm_msg", "msg_id": "1"}, {}, {"m": "exec"}, {"comm_id": "1"}, (b"import os",))
    rule = rule_for("shell", "comm_msg")
    assert rule is not None
    recorded = json.loads(text_of(comm, rule))
    assert recorded == {"content": {"comm_id": "1"}, "metadata": {"m": "exec"}, "buffers": ["aW1wb3J0IG9z"]}
    assert Asked().to_kernel("shell", comm).buffers == comm.buffers


def test_an_answer_goes_once_to_who_asked_and_to_nobody_else() -> None:
    asked = Asked()
    sent = request("complete_request", {"code": "x"})
    parent = asked.to_kernel("shell", sent).header
    assert asked.answer("control", said("complete_reply", parent)) is None
    assert asked.answer("shell", said("inspect_reply", parent)) is None
    assert (
        asked.answer("shell", said("complete_reply", {"msg_id": sent.id})) is None
    )  # the client's id is not known to it
    first = asked.answer("shell", said("complete_reply", parent))
    assert first is not None
    assert (first.identities, first.parent_id) == (sent.identities, sent.id)
    assert asked.answer("shell", said("complete_reply", parent)) is None


def test_only_a_cell_may_ask_its_person_for_an_answer() -> None:
    asked = Asked()
    info = asked.to_kernel("shell", request("kernel_info_request")).header
    cell = asked.to_kernel("shell", request("execute_request", {"code": "input()"})).header
    assert asked.answer("stdin", said("input_request", info)) is None
    assert asked.answer("stdin", said("stream", cell)) is None
    assert asked.answer("stdin", said("input_request", cell)) is not None
    assert asked.answer("stdin", said("input_request", cell)) is not None


@given(content=CONTENT, kind=st.sampled_from(["stream", "status", "display_data", "error", *sorted(COMMS)]))
def test_header_parent_and_routing_of_an_output_are_ours_whatever_a_kernel_puts_there(
    content: dict[str, Any], kind: str
) -> None:
    asked = Asked()
    for parent in ({}, {"msg_id": "nobody's"}, asked.to_kernel("shell", request("execute_request")).header):
        shown = asked.output(said(kind, parent, **content))
        assert "more" not in shown.header | shown.parent
        assert HIDDEN not in str((shown.header, shown.identities))
        assert shown.parent_id in ("", f"{HIDDEN}-id")


def test_busy_idle_and_the_echo_of_a_cell_are_needed_once() -> None:
    asked = Asked()
    cell = asked.to_kernel("shell", request("execute_request")).header
    words: list[dict[str, Any]] = [
        {"execution_state": "busy"},
        {"execution_state": "idle"},
        {"execution_state": "x" * 9},
    ]
    for state, needed in zip(words, (True, True, False), strict=True):
        assert asked.output(said("status", cell, **state)).needed is needed
        assert not asked.output(said("status", cell, **state)).needed
        assert not asked.output(said("status", {}, **state)).needed
    assert asked.output(said("execute_input", cell)).needed
    assert not asked.output(said("execute_input", cell)).needed
    assert not asked.output(said("clear_output", cell)).needed
