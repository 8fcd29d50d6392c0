"""A determination's numbers derived again from the version that it is bound to, and compared one by one. Pure.

What can be derived from the version alone is; what it rests on and the version does not hold is named, not skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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
NOT_IN_THE_VERSION: Final = (
    *("quality", "deidentification", "assumptions", "thresholds", "counts.patients", "counts.files_in"),
    *("counts.files_out", "counts.quarantined", "counts.quarantine_reasons", "counts.series_left_out"),
)
"""Statements about the files that came in and the checks over them, or that people declared."""
_CLOSE: Final = 1e-9  # the same arithmetic in another order


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One number: what the certificate states, what the version gives; None is *not available*."""

    name: str
    stated: Json
    found: Json
    ok: bool


def compare(
    certificate: Certificate,
    *,
    counts: Mapping[str, Any],
    results: Mapping[str, Any],
    beyond: frozenset[str] = frozenset(),
) -> tuple[Compared, ...]:
    """Each number stated under ``counts`` and ``results`` beside the one derived again, by name.

    A stated number that was to be derived and was not is a difference; so is one that nobody stated. ``beyond``
    names what this version cannot tell besides ``NOT_IN_THE_VERSION``.
    """
    stated = dict(_leaves({"counts": certificate.counts, "results": certificate.results}))
    outside = (*NOT_IN_THE_VERSION, *beyond)
    wanted = {name: value for name, value in stated.items() if not _is_of(name, outside)}
    derived = dict(_leaves({"counts": counts, "results": results}))
    names = sorted({*wanted, *(name for name in derived if _section_of(name) in stated_sections(stated))})
    return tuple(
        Compared(
            name=name,
            stated=wanted.get(name),
            found=derived.get(name),
            ok=name in wanted and name in derived and _same(wanted[name], derived[name]),
        )
        for name in names
    )


def stated_sections(stated: Mapping[str, Json]) -> frozenset[str]:
    """The groups of numbers that a certificate speaks of at all."""
    return frozenset(_section_of(name) for name in stated)


def not_derivable(certificate: Certificate, *, compared: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """What the certificate states and the version could not tell; ``compared`` names the numbers that it did."""
    sections = {"counts": certificate.counts, "results": certificate.results}
    told = {**sections, **{name: getattr(certificate, name) for name in ("quality", "deidentification")}}
    told |= {name: getattr(certificate, name) for name in ("assumptions", "thresholds")}
    names = {name for name, _ in _leaves(told)}
    return tuple(
        one
        for one in (*BEFORE_SEALING, *NOT_IN_THE_VERSION)
        if any(_is_of(name, (one,)) for name in names) and not any(_is_of(name, (one,)) for name in compared)
    )


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
