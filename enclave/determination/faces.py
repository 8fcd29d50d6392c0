"""What a determination says of faces: of each series what was measured, and which heads can be seen. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from enclave.determination.certificate import Certificate
from enclave.determination.plots import number

MAX_ROWS: Final = 200  # series of which a page shows the numbers
_UID: Final = re.compile(r"[0-9.]{1,64}")
_NUMBERS: Final = ("brain_cc", "brain_lost", "face_gone", "removed_share")
_HEAD: Final = (
    *("Modality", "Images", "Brain, cm³", "Brain lost, cm³", "Brain lost", "Face gone", "Removed of the head's tissue"),
)
_CAUTION: Final = "This lowers the risk that somebody is recognised by these amounts; it does not exclude it."


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownHead:
    """A head that is kept to be seen: the series' new UID, and what was measured in words."""

    series: str
    numbers: tuple[tuple[str, str], ...]


def shown_heads(certificate: Certificate) -> tuple[ShownHead, ...]:
    """The heads that the certificate names; what is no UID is left out."""
    named = _list(_dict(certificate.quality).get("faces"), "shown")
    return tuple(
        ShownHead(series=one["series"], numbers=tuple(zip(_HEAD[2:], _measured(one), strict=True)))
        for one in named
        if _UID.fullmatch(str(one.get("series", "")))
    )


def faces_html(certificate: Certificate, *, at: str) -> str:
    """The section of a report; '' for a certificate that says nothing of faces. ``at``: where the heads are shown."""
    told = _dict(_dict(certificate.deidentification).get("faces"))
    if not told:
        return ""
    return f"<h2>Faces</h2>{_amounts(told)}{_table(_list(told, 'stacks'))}{_where(certificate, at=at)}"


def _amounts(told: Mapping[str, Any]) -> str:
    rows = [
        ("Images whose face was taken out", _count(told.get("removed"))),
        ("of these, images of which only the brain is left", _count(told.get("stripped"))),
        ("Images of heads of which nobody is recognised, left as they are", _reasons(told.get("not_recognisable"))),
        ("Images held back for a person, by rule", _reasons(told.get("held"))),
    ]
    cells = "".join(f'<tr><th scope="row">{name}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f"<table><tbody>{cells}</tbody></table>"


def _table(stacks: list[dict[str, Any]]) -> str:
    if not stacks:
        return "<p>No face was taken out of any series.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _HEAD)
    rows = "".join(_row(stack) for stack in stacks[:MAX_ROWS])
    left = len(stacks) - MAX_ROWS
    more = f"<p>{left} more series are in the certificate.</p>" if left > 0 else ""
    return (
        "<table><caption>What was measured on each series</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}<p>{_CAUTION}</p>"
    )


def _row(stack: Mapping[str, Any]) -> str:
    cells = (str(stack.get("modality", "")), _count(stack.get("images")), *_measured(stack))
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _where(certificate: Certificate, *, at: str) -> str:
    count = len(shown_heads(certificate))
    if not count:
        return "<p>No head is kept to be seen from the front.</p>"
    words = f"determinations/{certificate.id}/faces"
    place = f'<a href="{escape(at)}">{words}</a>' if at else f"<code>{words}</code>"
    return (
        f"<p>{count} of these heads can be seen from the front, before and after, in the console at {place}: by the "
        "expert while engaged for this version, and by an honest broker. Each look is recorded. A head as it came in "
        "shows who it is; this page, which can be passed on, therefore holds none.</p>"
    )


def _measured(numbers: Mapping[str, Any]) -> tuple[str, ...]:
    """Brain and brain lost in cm³, then the shares."""
    brain, lost, gone, removed = (_real(numbers.get(name)) for name in _NUMBERS)
    lost_cc = None if brain is None or lost is None else brain * lost
    volumes = ("not measured" if one is None else f"{one:,.2f}" for one in (brain, lost_cc))
    shares = ("not measured" if one is None else number(one, share=True) for one in (lost, gone, removed))
    return (*volumes, *shares)


def _reasons(value: Any) -> str:
    told = _dict(value)
    return ", ".join(f"{reason.replace('_', ' ')}: {_count(count)}" for reason, count in sorted(told.items())) or "none"


def _count(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else "nothing is stated"


def _real(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    found = _dict(value).get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
