"""The two tables of an egress request, proven total."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.airlock.states import (
    ACTS,
    ANY_TIME,
    CHOICES,
    OWNERS,
    PARTIES,
    STATES,
    TRANSITIONS,
    VoteCast,
    is_final,
    next_state,
    outcome_of,
    visible_votes,
)
from enclave.airlock.views import WORDS
from enclave.core.errors import ConflictError

casts = st.builds(
    VoteCast,
    checker=st.sampled_from(["olga", "omar", "oona"]),
    choice=st.sampled_from(CHOICES),
    round=st.integers(1, 2),
)


def test_every_state_has_an_owner_and_words_and_every_act_a_party() -> None:
    assert set(OWNERS) == set(STATES) == set(WORDS)
    assert set(PARTIES) == set(ACTS)


def test_every_pair_of_state_and_act_leads_somewhere_or_is_refused() -> None:
    for state, act in itertools.product(STATES, ACTS):
        if (state, act) in TRANSITIONS:
            assert next_state(state, act) in STATES
        else:
            with pytest.raises(ConflictError):
                next_state(state, act)


def test_only_the_owner_of_a_state_acts_in_it_save_for_withdrawal() -> None:
    for state, act in TRANSITIONS:
        assert PARTIES[act] == OWNERS[state] or act in ANY_TIME, (state, act)


def test_a_state_is_final_exactly_when_nobody_owns_it() -> None:
    for state in STATES:
        assert is_final(state) == (not any(s == state for s, _ in TRANSITIONS))


def test_every_state_can_be_reached_and_every_life_can_end() -> None:
    reached, frontier = {"submitted"}, ["submitted"]
    while frontier:
        here = frontier.pop()
        for (state, _), then in TRANSITIONS.items():
            if state == here and then not in reached:
                reached.add(then)
                frontier.append(then)
    assert reached == set(STATES)
    ends = {s for s in STATES if is_final(s)}
    while more := {s for (s, _), then in TRANSITIONS.items() if then in ends} - ends:
        ends |= more
    assert ends == set(STATES)


def test_the_only_way_to_release_is_through_approval_and_to_deliver_through_release() -> None:
    assert {s for (s, _), then in TRANSITIONS.items() if then == "approved"} == {"awaiting_review"}
    assert {s for (s, _), then in TRANSITIONS.items() if then == "released"} == {"approved"}
    assert {s for (s, _), then in TRANSITIONS.items() if then == "delivered"} == {"released"}


@given(st.lists(casts, max_size=6))
def test_approval_needs_two_different_people_in_this_round_and_no_objection(votes: list[VoteCast]) -> None:
    first: dict[str, str] = {}
    for vote in votes:
        if vote.round == 2:
            first.setdefault(vote.checker, vote.choice)
    outcome = outcome_of(votes, round_number=2)
    if outcome == "approve":
        assert list(first.values()).count("approve") >= 2
        assert set(first.values()) == {"approve"}
    elif "reject" in first.values():
        assert outcome == "reject"
    elif "return" in first.values():
        assert outcome == "return"
    else:
        assert outcome is None


@given(st.lists(casts, max_size=6), st.sampled_from(["olga", "omar", "ada"]))
def test_nobody_sees_a_vote_of_an_open_round_before_casting_their_own(votes: list[VoteCast], viewer: str) -> None:
    seen = visible_votes(votes, viewer=viewer, state="awaiting_review", round_number=2)
    cast = any(v.checker == viewer and v.round == 2 for v in votes)
    assert all(v.round != 2 for v in seen) or cast
    assert visible_votes(votes, viewer=viewer, state="rejected", round_number=2) == tuple(votes)
