"""A determination's numbers derived again from the version that it is bound to, and compared one by one. Pure.

What can be derived from the version alone is; what was stated of the files that came in is held against the account
that was sealed with it; what it rests on and the version does not hold is named, not skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from enclave.determination.account import RECOUNTED
from enclave.determination.certificate import Certificate
from enclave.wire.messages.schema import Json

MEASURED_BEFORE: Final = "review/measured-before"
"""The object of a version by which the numbers from before it was sealed are derived; see ``enclave.risk.blinding``."""
SEARCHED: Final = ("node", "metric_value", "suppressed", "nodes_total", "nodes_evaluated", "optimal")
BEFORE_SEALING: Final = (
    *("results.before", "results.profile.before", "results.k_before", "results.levels", "results.suppressed_rows"),
    *(f"results.after.{name}" for name in SEARCHED),
)
"""Numbers of the table as it was measured, which only a version with ``MEASURED_BEFORE`` tells."""
IN_THE_ACCOUNT: Final = (
    *("quality", "deidentification", "counts.patients", "counts.files_in"),
    *("counts.files_out", "counts.quarantined", "counts.quarantine_reasons", "counts.series_left_out"),
    *("counts.documents_left_out", "counts.texts_withheld"),
)
"""Statements about the files that came in and the checks over them, which only a version with an account tells."""
SAID_IF_HELD: Final = ("counts.documents",)
"""What a certificate of a version that holds any may not pass over in silence."""
DECLARED: Final = ("assumptions", "thresholds")
"""What people declared: no version tells it."""
SOURCES: Final = ("derived", "recounted", "account")
_CLOSE: Final = 1e-9  # the same arithmetic in another order


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One number: what the certificate states, what the version gives; None is *not available*.

    ``by``: derived from the data of the version; recounted from the files in its account; or compared with the account
    as intake stated it.
    """

    name: str
    stated: Json
    found: Json
    ok: bool
    by: Literal["derived", "recounted", "account"] = "derived"


def compare(
    certificate: Certificate,
    *,
    counts: Mapping[str, Any],
    results: Mapping[str, Any],
    account: Mapping[str, Mapping[str, Any]] | None = None,
    beyond: frozenset[str] = frozenset(),
) -> tuple[Compared, ...]:
    """Each number stated under ``counts`` and ``results`` beside the one derived again, by name.

    ``account``: sections of the account that was sealed with the version, compared likewise; what people declared
    beside them in ``quality`` and ``deidentification`` is not. A stated number that was to be derived and was not is a
    difference; so is one that nobody stated, and a part that is not stated though the version holds it
    (``SAID_IF_HELD``). ``beyond`` names what this version cannot tell.
    """
    told = {"counts": certificate.counts, "results": certificate.results}
    known: dict[str, Any] = {"counts": {**counts, **(account or {}).get("counts", {})}, "results": results}
    outside = {*beyond, *(() if account else IN_THE_ACCOUNT)}
    for section in ("quality", "deidentification"):
        known[section] = dict((account or {}).get(section, {}))
        told[section] = {
            name: one for name, one in _dict(getattr(certificate, section)).items() if name in known[section]
        }
    stated = dict(_leaves(told))
    wanted = {name: value for name, value in stated.items() if not _is_of(name, outside)}
    derived = dict(_leaves(known))
    spoken = {f"{section}.{name}" for section, part in told.items() for name in _dict(part)}
    spoken |= {one for one in SAID_IF_HELD if any(value for name, value in derived.items() if _is_of(name, (one,)))}
    names = sorted({*wanted, *(name for name in derived if _section_of(name) in spoken)})
    return tuple(
        Compared(
            name=name,
            stated=wanted.get(name),
            found=derived.get(name),
            ok=name in wanted and name in derived and _same(wanted[name], derived[name]),
            by="recounted" if _is_of(name, RECOUNTED) else "account" if _is_of(name, IN_THE_ACCOUNT) else "derived",
        )
        for name in names
    )


def not_derivable(certificate: Certificate, *, compared: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """What the certificate states and the version could not tell; ``compared`` names the numbers that it did."""
    sections = ("counts", "results", "quality", "deidentification", "assumptions", "thresholds")
    told = {name: getattr(certificate, name) for name in sections}
    left = [name for name, _ in _leaves(told) if name not in compared]
    whole = tuple(
        one
        for one in (*BEFORE_SEALING, *IN_THE_ACCOUNT, *DECLARED)
        if any(_is_of(name, (one,)) for name in left) and not any(_is_of(name, (one,)) for name in compared)
    )
    return (*whole, *sorted({_section_of(name) for name in left if not _is_of(name, whole)}))


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _is_of(name: str, groups: Iterable[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in groups)


def _section_of(name: str) -> str:
    """``results.after.prosecutor.max`` is of ``results.after``."""
    return ".".join(name.split(".")[:2])


def _leaves(value: Any, *, name: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, name=f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _leaves(item, name=f"{name}.{at}")
    else:
        yield name, value


def _same(stated: Json, found: Json) -> bool:
    numbers = [isinstance(one, int | float) and not isinstance(one, bool) for one in (stated, found)]
    if all(numbers):
        return math.isclose(stated, found, rel_tol=_CLOSE, abs_tol=_CLOSE)
    return type(stated) is type(found) and stated == found
