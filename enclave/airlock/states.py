"""The life of an egress request: which act leads from which state to which, and who owns a state.

Pure. Two tables are the truth: ``TRANSITIONS`` and ``OWNERS``; tests prove that together they are total.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from enclave.core.errors import ConflictError

State = Literal[
    "submitted",
    "checking",
    "awaiting_review",
    "blocked",
    "returned",
    "rejected",
    "approved",
    "released",
    "delivered",
    "withdrawn",
]
Act = Literal[
    "start_check", "pass_check", "block", "approve", "reject", "return", "release", "deliver", "withdraw", "resubmit"
]
Party = Literal["airlock", "checkers", "author", "nobody"]
Choice = Literal["approve", "reject", "return"]

STATES: Final[tuple[State, ...]] = get_args(State)
ACTS: Final[tuple[Act, ...]] = get_args(Act)
CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)
NEEDED_APPROVALS: Final = 2

TRANSITIONS: Final[Mapping[tuple[State, Act], State]] = MappingProxyType(
    {
        ("submitted", "start_check"): "checking",
        ("checking", "pass_check"): "awaiting_review",
        ("checking", "block"): "blocked",
        ("awaiting_review", "approve"): "approved",
        ("awaiting_review", "reject"): "rejected",
        ("awaiting_review", "return"): "returned",
        ("approved", "release"): "released",
        ("released", "deliver"): "delivered",
        ("blocked", "resubmit"): "submitted",
        ("returned", "resubmit"): "submitted",
        ("submitted", "withdraw"): "withdrawn",
        ("checking", "withdraw"): "withdrawn",
        ("awaiting_review", "withdraw"): "withdrawn",
        ("blocked", "withdraw"): "withdrawn",
        ("returned", "withdraw"): "withdrawn",
        ("approved", "withdraw"): "withdrawn",
        ("released", "withdraw"): "withdrawn",
    }
)

OWNERS: Final[Mapping[State, Party]] = MappingProxyType(
    {
        "submitted": "airlock",
        "checking": "airlock",
        "awaiting_review": "checkers",
        "blocked": "author",
        "returned": "author",
        "rejected": "nobody",
        "approved": "airlock",
        "released": "author",
        "delivered": "nobody",
        "withdrawn": "nobody",
    }
)

PARTIES: Final[Mapping[Act, Party]] = MappingProxyType(
    {
        "start_check": "airlock",
        "pass_check": "airlock",
        "block": "airlock",
        "approve": "checkers",
        "reject": "checkers",
        "return": "checkers",
        "release": "airlock",
        "deliver": "author",
        "withdraw": "author",
        "resubmit": "author",
    }
)

ANY_TIME: Final[frozenset[Act]] = frozenset({"withdraw"})
"""What its author may do although the state is another's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCast:
    """One checker's choice in one round; a new submission starts a new round, which resets the votes."""

    checker: str
    choice: Choice
    round: int


def next_state(state: State, act: Act) -> State:
    """Where ``act`` leads from ``state``; raises ``ConflictError`` (``egress_state``) when it leads nowhere."""
    found = TRANSITIONS.get((state, act))
    if found is None:
        raise ConflictError(
            f"egress request: wanted a state in which one can {act.replace('_', ' ')}, got {state}", code="egress_state"
        )
    return found


def may_act(state: State, act: Act) -> bool:
    """Whether ``act`` leads anywhere from ``state``."""
    return (state, act) in TRANSITIONS


def is_final(state: State) -> bool:
    """Whether nothing can follow."""
    return OWNERS[state] == "nobody"


def outcome_of(votes: Iterable[VoteCast], *, round_number: int) -> Choice | None:
    """What the votes of this round decide: one rejection rejects, one return returns, two different people approve.

    None: not decided yet. Votes of earlier rounds and a second vote of the same person count nothing.
    """
    first: dict[str, Choice] = {}
    for vote in votes:
        if vote.round == round_number:
            first.setdefault(vote.checker, vote.choice)
    choices = list(first.values())
    if "reject" in choices:
        return "reject"
    if "return" in choices:
        return "return"
    return "approve" if choices.count("approve") >= NEEDED_APPROVALS else None


def visible_votes(votes: Iterable[VoteCast], *, viewer: str, state: State, round_number: int) -> tuple[VoteCast, ...]:
    """The votes that ``viewer`` may know of: while a review is open only the own one, afterwards all.

    Once a viewer has voted their judgement is made, so they may see the other's.
    """
    everything = tuple(votes)
    current = [v for v in everything if v.round == round_number]
    if state != "awaiting_review" or any(v.checker == viewer for v in current):
        return everything
    return tuple(v for v in everything if v.round != round_number)
