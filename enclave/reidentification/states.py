"""A break-glass request and the state that follows from it and the time. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from enclave.core.clock import format_time, parse_time
from enclave.core.errors import InvalidError
from enclave.reidentification.settings import MAX_SUBJECTS

State = Literal["requested", "refused", "lapsed", "open", "spent", "over", "reviewed"]
APPROVALS: Final = 2
_PSEUDONYM = re.compile(r"[A-Z0-9][A-Z0-9-]{0,63}")
_MAX_WORDS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked and what became of it. Pseudonyms only; times are RFC 3339, '' until they come.

    ``until`` and ``shows_allowed`` are fixed when the second approval opens it: later settings change nothing.
    """

    id: str
    dataset: str
    subjects: tuple[str, ...]
    reason: str
    ticket: str
    requested_by: str
    requested: str
    waits_until: str
    approvers: tuple[str, ...] = ()
    opened: str = ""
    until: str = ""
    shows_allowed: int = 0
    shown: int = 0
    reviewed_by: str = ""
    reviewed: str = ""
    finding: str = ""
    refused_by: str = ""
    refused: str = ""
    refusal: str = ""

    @property
    def shows_left(self) -> int:
        """How often the originals may still be shown."""
        return max(0, self.shows_allowed - self.shown)


def state_of(request: Request, *, at: datetime) -> State:
    """Where ``request`` stands at ``at``. Before its opening it is not open, either."""
    if request.reviewed:
        return "reviewed"
    if request.refused:
        return "refused"
    if not request.opened:
        return "requested" if at < parse_time(request.waits_until) else "lapsed"
    if not parse_time(request.opened) <= at < parse_time(request.until):
        return "over"
    return "open" if request.shows_left else "spent"


def approved(request: Request, *, by: str, at: datetime, open_for: timedelta, shows: int) -> Request:
    """``request`` with one more approval; the second one opens it."""
    approvers = (*request.approvers, by)
    if len(approvers) < APPROVALS:
        return replace(request, approvers=approvers)
    return replace(
        request,
        approvers=approvers,
        opened=format_time(at),
        until=format_time(at + open_for),
        shows_allowed=shows,
    )


def awaits_review(request: Request) -> bool:
    """Whether it was opened and no auditor has looked at what was done with it."""
    return bool(request.opened) and not request.reviewed


def check_subjects(subjects: tuple[str, ...]) -> tuple[str, ...]:
    """1 to 50 different pseudonyms in a fixed order; raises ``InvalidError`` that repeats none of them."""
    if not all(map(_PSEUDONYM.fullmatch, subjects)):
        raise InvalidError("break-glass: wanted pseudonyms as the dataset has them, got another form", code="subjects")
    found = tuple(sorted(set(subjects)))
    if not 1 <= len(found) <= MAX_SUBJECTS:
        raise InvalidError(f"break-glass: wanted 1 to {MAX_SUBJECTS} subjects, got {len(found)}", code="subjects_count")
    return found


def check_words(text: str, *, what: str) -> str:
    """A justification that somebody can judge: 10 to 2000 characters; raises ``InvalidError``."""
    words = text.strip()
    if not 10 <= len(words) <= _MAX_WORDS:
        raise InvalidError(f"{what}: wanted 10 to {_MAX_WORDS} characters, got {len(words)}", code="words")
    return words
