"""A run notebook as one HTML page that needs nothing from anywhere and runs nothing.

What the kernel printed is hostile: the page keeps text, tables and PNG pictures of an allow-list and nothing else.
"""

from __future__ import annotations

import functools
import html
import re
from typing import Any, Final

import bleach
from nbconvert import HTMLExporter

_BLOCKS: Final = ("h1", "h2", "h3", "h4", "p", "div", "span", "blockquote", "pre", "code", "em", "strong", "hr", "br")
_TABLES: Final = ("table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li", "img")
_TAGS: Final = frozenset((*_BLOCKS, *_TABLES))
_KEPT: Final = ("image/png", "text/html", "text/plain")  # in the order in which one of them is shown
_PNG: Final = "data:image/png;base64,"
_DROPPED_BLOCKS: Final = re.compile(r"<(style|script)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; margin: .5rem 0 } th, td { padding: .25rem .6rem; border-bottom: 1px solid #dde3ea }
th { text-align: left } img { max-width: 100% } pre { white-space: pre-wrap; font-size: 13px }
"""
_FRAME: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head>
<body>
{body}
</body></html>
"""


def render_page(notebook: Any, *, title: str) -> str:
    """The page of a run notebook: text and outputs, without the code."""
    for cell in notebook.cells:
        cell["outputs"] = [plain for output in cell.get("outputs", ()) if (plain := _plain(output)) is not None]
    body, _ = _exporter().from_notebook_node(notebook)
    return _FRAME.format(title=html.escape(title), style=_STYLE, body=_clean(body))


@functools.cache
def _exporter() -> HTMLExporter:
    return HTMLExporter(
        template_name="basic",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
        mermaid_layout_elk_js_url="",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )


def _plain(output: Any) -> Any:
    """The output with the one kind that is shown, or None when it has none of them."""
    if output["output_type"] == "stream":
        return output
    data = output.get("data", {})
    kept = next((kind for kind in _KEPT if kind in data), None)
    if kept is None:
        return None
    shown = _DROPPED_BLOCKS.sub("", str(data[kept])) if kept == "text/html" else data[kept]
    output["data"] = {kept: shown}
    return output


def _clean(body: str) -> str:
    cleaned: str = bleach.clean(
        body, tags=_TAGS, attributes=_may_keep, protocols={"data"}, strip=True, strip_comments=True
    )
    return cleaned


def _may_keep(tag: str, name: str, value: str) -> bool:
    if tag == "img" and name == "src":
        return value.startswith(_PNG)
    return name in ("class", "alt", "colspan", "rowspan")
