"""How listings look in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any

SHOWN = 50


def listing_html(listing: Any) -> str:
    """A table of at most fifty rows; every word is escaped."""
    items = list(listing[:SHOWN])
    if not items:
        return f"<p>{escape(listing.title)}: none</p>"
    head = "".join(f"<th style='text-align:left'>{escape(word)}</th>" for word in items[0].columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(word)}</td>" for word in item.row()) + "</tr>"
        for item in items
    )
    more = len(listing) - len(items)
    rest = f"<p>… and {more} more</p>" if more else ""
    return f"<p>{escape(listing.title)}: {len(listing)}</p><table><tr>{head}</tr>{body}</table>{rest}"


def dataset_html(dataset: Any) -> str:
    """Name, version and until when; then what is in it."""
    head = f"<p><b>{escape(dataset.name)}@{dataset.version}</b>, open until {escape(dataset.expires[:10])}</p>"
    listings = [dataset.tables, dataset.series, *([dataset.documents] if dataset.documents else [])]
    return head + "".join(map(listing_html, listings))
