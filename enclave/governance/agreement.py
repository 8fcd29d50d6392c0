"""Agreements under which a project works with data: business associate and data use agreements. Pure.

What an agreement must say is that of 45 CFR 164.504(e)(2) (business associates) and 164.514(e)(4)(ii) (data use):
permitted uses, safeguards, subcontractors, notice of a breach (at most 60 days, 164.410(b)), return or destruction.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from enclave.core.clock import parse_time
from enclave.core.errors import InvalidError
from enclave.core.ids import check_name
from enclave.core.settings import build

KINDS: Final = {"baa": "business associate agreement", "dua": "data use agreement"}
AT_END: Final = ("return", "destroy")
MOST_NOTICE_DAYS: Final = 60
NO_AGREEMENT, LIVE, OVER = "none", "live", "over"
_DAYS: Final = ("signed", "begins", "ends")
_MAX_WORDS, _MAX_LIST, _MAX_DAYS = 500, 50, 3650
_ROW: Final = re.compile(r"S[0-9]{1,2}\.[0-9]{1,2}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an agreement says.

    ``provider`` gives the data, ``recipient`` works with them. ``safeguards`` are rows of the requirement register
    (``S4.1``), so that each promise leads to the control that keeps it. ``signed``, ``begins`` and ``ends`` are days
    (UTC); it covers ``begins`` and no longer ``ends``. ``breach_notice_days``: within how many days the recipient tells
    the provider of a breach; ``at_end_days``: within how many days after the end data are returned or destroyed.
    """

    kind: str
    title: str
    project: str
    provider: str
    recipient: str
    permitted_uses: tuple[str, ...]
    safeguards: tuple[str, ...]
    breach_notice_days: int
    signed: str
    begins: str
    ends: str
    at_end: str
    at_end_days: int
    subcontractors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """One agreement as time sees it: ``state`` is recorded | in_force | refused | ended."""

    state: str
    begins: datetime
    ends: datetime


def parse_terms(text: str) -> Terms:
    """The table ``[agreement]`` of a TOML document; raises ``InvalidError`` as ``check_terms`` and for unknown keys."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"agreement: wanted TOML, got a syntax error: {error}") from None
    table = document.get("agreement")
    if not isinstance(table, dict) or len(document) != 1:
        raise InvalidError("agreement: wanted one table [agreement], got something else")
    return terms_of(table)


def terms_of(table: dict[str, Any]) -> Terms:
    """``table`` as checked terms; raises ``InvalidError``."""
    days: dict[str, Any] = {name: str(table[name]) for name in _DAYS if name in table}  # TOML has days of its own
    terms = build(Terms, {**table, **days}, where="agreement")
    check_terms(terms)
    return terms


def check_terms(terms: Terms) -> None:
    """Raises ``InvalidError`` naming the first term that says too little, too much or the impossible."""
    check_name(terms.project, what="project")
    _check(terms.kind in KINDS, f"kind one of {', '.join(KINDS)}")
    _check(terms.at_end in AT_END, f"at_end one of {', '.join(AT_END)}")
    for name in ("title", "provider", "recipient"):
        _check(_is_text(getattr(terms, name)), f"{name} of 1 to {_MAX_WORDS} characters")
    for name in ("permitted_uses", "safeguards", "subcontractors"):
        values = getattr(terms, name)
        _check(len(values) <= _MAX_LIST and all(map(_is_text, values)), f"{name} as at most {_MAX_LIST} short texts")
    _check(bool(terms.permitted_uses), "at least one of permitted_uses")
    _check(bool(terms.safeguards), "at least one of safeguards")
    _check(all(map(_ROW.fullmatch, terms.safeguards)), 'safeguards as rows of the register, like "S4.1"')
    _check(1 <= terms.breach_notice_days <= MOST_NOTICE_DAYS, f"breach_notice_days of 1 to {MOST_NOTICE_DAYS}")
    _check(0 <= terms.at_end_days <= _MAX_DAYS, f"at_end_days of 0 to {_MAX_DAYS}")
    signed, begins, ends = (_day(terms, name) for name in _DAYS)
    _check(signed <= ends and begins < ends, "ends after begins, and not before it was signed")


def check_document(digest: str) -> None:
    """Raises ``InvalidError`` unless ``digest`` is a SHA-256 in lower-case hexadecimal."""
    _check(_DIGEST.fullmatch(digest) is not None, "the SHA-256 of the signed document in hexadecimal")


def span_of(terms: Terms, state: str) -> Span:
    """When ``terms`` hold, in ``state``."""
    return Span(state, _day(terms, "begins"), _day(terms, "ends"))


def standing(spans: Iterable[Span], at: datetime) -> str:
    """How a project stands at ``at``: ``live`` when an agreement in force covers it, ``none`` when none ever did.

    ``over`` is a project that worked under one and does so no longer (ended, or its time has passed or not come).
    What is only recorded or was refused counts for nothing.
    """
    effective = [span for span in spans if span.state in ("in_force", "ended")]
    if any(span.state == "in_force" and span.begins <= at < span.ends for span in effective):
        return LIVE
    return OVER if effective else NO_AGREEMENT


def to_table(terms: Terms) -> dict[str, Any]:
    """``terms`` as JSON has them."""
    values = {field.name: getattr(terms, field.name) for field in fields(terms)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _day(terms: Terms, name: str) -> datetime:
    text = str(getattr(terms, name))
    try:
        return parse_time(f"{text}T00:00:00Z")
    except InvalidError:
        raise InvalidError(f"agreement: wanted {name} as a day like 2027-01-31, got something else") from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= _MAX_WORDS and value.isprintable()


def _check(holds: bool, wanted: str) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise InvalidError(f"agreement: wanted {wanted}, got something else")
