"""What a check says about one file. Pure: observations come in, findings and a verdict go out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from enclave.core.errors import IntegrityError
from enclave.disclosure.rules import RULES, SEVERITIES, Severity
from enclave.wire.messages.schema import Json

Verdict = Literal["pass", "review", "block"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
SHOWN_PER_RULE: Final = 10  # further places of one rule are counted, not listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One thing seen: the id of a rule, a place that is never empty, how often. No value from the file."""

    rule: str
    where: dict[str, Json]
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the parser saw in one file."""

    sha256: str
    size_bytes: int
    type: str
    observations: tuple[Observation, ...] = ()
    checks_not_run: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation in words, with what to do about it."""

    rule: str
    severity: Severity
    where: dict[str, Json]
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One file's result."""

    sha256: str
    size_bytes: int
    type: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    checks_not_run: tuple[str, ...] = field(default=())


WHOLE_FILE: Final[dict[str, Json]] = {"file": True}
_PLACES: Final = frozenset({"file", "page", "sheet", "cell", "line", "region"})


def judge(report: Report) -> Judged:
    """Findings and verdict of a parser's report.

    The severity is the table's, never the parser's. Raises ``IntegrityError`` for a rule that the table does
    not know or a place that says nothing: then the check itself has failed.
    """
    findings = tuple(_finding(one) for one in report.observations)
    return Judged(
        sha256=report.sha256,
        size_bytes=report.size_bytes,
        type=report.type,
        verdict=verdict_of(findings),
        findings=findings,
        checks_not_run=report.checks_not_run,
    )


def failed_check(*, sha256: str, size_bytes: int, type_name: str = "unknown") -> Judged:
    """The result of a file whose check crashed, hung or was not available: blocked."""
    report = Report(sha256=sha256, size_bytes=size_bytes, type=type_name, observations=(seen("check_failed"),))
    return judge(report)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """The highest severity; none and info are a pass."""
    highest = max((SEVERITIES.index(f.severity) for f in findings), default=0)
    return VERDICTS[highest]


def highest_verdict(verdicts: Iterable[str]) -> Verdict:
    """The strictest of several files' verdicts; none is a pass."""
    return VERDICTS[max((VERDICTS.index(v) for v in verdicts if v in VERDICTS), default=0)]


def seen(rule: str, *, where: dict[str, Any] | None = None, count: int = 1) -> Observation:
    """An observation of ``rule``, in the file as a whole when no place is given."""
    return Observation(rule=rule, where=dict(where or WHOLE_FILE), count=count)


def capped(observations: Iterable[Observation]) -> tuple[Observation, ...]:
    """The first places of each rule; the rest of a rule becomes one observation that counts them."""
    kept: list[Observation] = []
    shown: dict[str, int] = {}
    rest: dict[str, Observation] = {}
    for one in observations:
        shown[one.rule] = shown.get(one.rule, 0) + 1
        if shown[one.rule] <= SHOWN_PER_RULE:
            kept.append(one)
        else:
            before = rest.get(one.rule)
            place = before.where if before else one.where
            rest[one.rule] = seen(one.rule, where=place, count=one.count + (before.count if before else 0))
    return (*kept, *rest.values())


def _finding(one: Observation) -> Finding:
    rule = RULES.get(one.rule)
    if rule is None:
        raise IntegrityError("check: wanted findings of known rules, got one of another")
    if not one.where or not set(one.where) <= _PLACES:
        raise IntegrityError("check: wanted a place for each finding, got none")
    times = f" ({one.count} times from here)" if one.count > 1 else ""
    return Finding(
        rule=rule.id, severity=rule.severity, where=one.where, message=rule.message + times, remedy=rule.remedy
    )
