"""The evidence pack as one page without scripts: a table per kind of safeguard. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from enclave.audit.controls import KINDS
from enclave.audit.page_style import PAGE_STYLE

STYLE: Final = (
    PAGE_STYLE
    + """\
code, pre { overflow-wrap: anywhere; white-space: pre-wrap; font-size: 0.85rem; }
"""
)
_HEADINGS: Final = ("Safeguard", "45 CFR", "Workflow", "What holds it", "Events in the period", "Tests", "Rows")


def html_of(pack: Mapping[str, Any]) -> str:
    """The whole page."""
    unsigned = ", ".join(pack["weeks_unsigned"]) or "none"
    told = (
        f"From {pack['from']} to {pack['to']}; written {pack['written']} from a ledger of {pack['size']} events. "
        f"Weeks not signed off: {unsigned}. Administrative acts without a ticket: {pack['acts_without_ticket']}."
    )
    left_out = pack["events_unsigned"]
    older = f" It leaves out {left_out} newer events, which could not be signed." if left_out else ""
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Evidence of safeguards</title>\n',
        f"<style>{STYLE}</style></head>\n<body><h1>Evidence of safeguards</h1>\n<p>{escape(told)}</p>\n",
        f"<p>The ledger's signed checkpoint, for <code>enclave audit verify --against</code>:{older}</p>\n",
        f"<pre>{escape(pack['checkpoint'])}</pre>\n",
    ]
    for kind in KINDS:
        parts += [f"<h2>{kind.capitalize()} safeguards</h2>\n<table><thead><tr>"]
        parts += [f'<th scope="col">{heading}</th>' for heading in _HEADINGS]
        parts += ["</tr></thead><tbody>\n"]
        parts += [f"<tr>{''.join(_cells(one))}</tr>\n" for one in pack["controls"] if one["kind"] == kind]
        parts += ["</tbody></table>\n"]
    return "".join([*parts, "</body></html>\n"])


def _cells(control: Mapping[str, Any]) -> Iterator[str]:
    whose = "" if control["held_by"] == "product" else " <strong>The organisation's own.</strong>"
    yield f'<th scope="row">{escape(control["safeguard"])}</th>'
    yield f"<td>{escape(control['section'].removeprefix('45 CFR '))}</td>"
    yield f"<td>{escape(', '.join(control['workflow']))}</td>"
    yield f"<td>{escape(control['mechanism'])}{whose}</td>"
    yield f"<td>{'<br>'.join(_counted(kind, found) for kind, found in control['events'].items())}</td>"
    yield f"<td>{'<br>'.join(f'<code>{escape(test)}</code>' for test in control['tests'])}</td>"
    yield f"<td>{escape(', '.join(control['rows']))}</td>"


def _counted(kind: str, found: Mapping[str, int]) -> str:
    said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.items())) or "none"
    return f"<code>{escape(kind)}</code> {escape(said)}"
