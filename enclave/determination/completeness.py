"""What a determination must state before anybody signs it. Pure: a table of statements and what each must look like.

Source: 45 CFR 164.514(b)(1): the methods and results of the analysis that justify the determination are documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from enclave.core.errors import InvalidError
from enclave.determination.certificate import Certificate

TRIGGERS: Final = ("columns_added", "rows_changed", "new_release_of_cohort", "software_changed")
"""What reopens the assessment; the registry looks for these and knows no others."""

Test = Callable[[Any], bool]
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OPTION: Final = re.compile(r"1131[0-9]{2}")


def _words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _filled(value: Any) -> bool:
    return isinstance(value, dict | list | tuple) and len(value) > 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _share(value: Any) -> bool:
    return _number(value) and 0 < value <= 1


def _digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _option_codes(value: Any) -> bool:
    return _filled(value) and all(isinstance(code, str) and _OPTION.fullmatch(code) for code in value)


def _stated(value: Any) -> bool:
    return _words(value) or _filled(value) or _number(value)


def _all_words(value: Any) -> bool:
    return _filled(value) and all(_words(one) for one in value)


def _known_triggers(value: Any) -> bool:
    return _filled(value) and set(value) <= set(TRIGGERS)


STATEMENTS: Final[Mapping[str, Test]] = MappingProxyType(
    {
        "expert.engagement": _words,
        "release.model": _words,
        "release.recipients": _all_words,
        "release.purposes": _all_words,
        "release.controls": _all_words,
        "counts.rows": _count,
        "counts.subjects": _count,
        "counts.studies": _count,
        "counts.series": _count,
        "column_roles": _filled,
        "deidentification.option_codes": _option_codes,
        "deidentification.recipe_sha256": _digest,
        "deidentification.software_sha256": _digest,
        "assumptions.adversary": _stated,
        "assumptions.population": _stated,
        "assumptions.sampling_fraction": _share,
        "assumptions.external_data": _stated,
        "methods.quasi_identifiers": _filled,
        "methods.k": _count,
        "results.before": _filled,
        "results.after": _filled,
        "quality.checks": _filled,
        "quality.canaries": _filled,
        "thresholds.k": _count,
        "thresholds.justification": _words,
        "conditions": _all_words,
        "triggers": _known_triggers,
        "revocation": _words,
    }
)
"""Every statement and its test. Who, what version, which root and from when to when is in the form of every text."""


def missing(certificate: Certificate) -> tuple[str, ...]:
    """The statements that ``certificate`` does not make, or not in a form that says something; () when complete."""
    return tuple(name for name, test in STATEMENTS.items() if not test(_of(certificate, name)))


def check_complete(certificate: Certificate) -> None:
    """Raises ``InvalidError`` (``certificate_incomplete``) naming what is missing."""
    gaps = missing(certificate)
    if gaps:
        raise InvalidError(
            f"certificate: wanted every statement that a determination rests on, got none of {', '.join(gaps)}; "
            "complete the settings and draft it anew",
            code="certificate_incomplete",
        )


def _of(certificate: Certificate, name: str) -> Any:
    found: Any = certificate
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)
    return found
