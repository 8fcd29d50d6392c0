"""HTML that a kernel shows, written anew: listed elements with listed attributes, and text. Pure.

Whatever is not on the lists is left out: scripts, styles, frames, forms, SVG, links, pictures from elsewhere, handlers.
No element on the list changes how a browser reads what follows (no raw text, no foreign content), so what is written
here has one reading. The libraries at hand were no help: bleach takes 10 s for a megabyte and 20 MB of memory in
each tap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from typing import Final

_TEXT: Final = "a abbr b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i ins kbd li mark ol p pre"
_MORE: Final = (
    "q s samp small span strong sub summary sup u ul var caption col colgroup table tbody td tfoot th thead tr"
)
TAGS: Final = frozenset((*_TEXT.split(), *_MORE.split()))
_ATTRIBUTES: Final = frozenset({"class", "title", "colspan", "rowspan", "border", "align", "scope", "start", "open"})
_VOID: Final = frozenset({"br", "hr", "col"})
_HIDDEN: Final = frozenset({"script", "style", "title", "head", "template", "noscript", "textarea", "iframe", "xmp"})
_STYLE: Final = re.compile(r"\s*(?:text-align|color|background-color|font-weight|width|height)\s*:[\w\s#%.,()-]*")
_BEGIN_ROWS: Final = "tr br li p div dt dd h1 h2 h3 h4 h5 h6 hr blockquote summary caption"
_ROWS: Final = frozenset(_BEGIN_ROWS.split())
MAX_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The HTML that may be shown, the rows that it begins and how many things were left out that could run or load."""

    html: str
    rows: int
    removed: int


def clean_html(text: str) -> Cleaned:
    """``text`` with nothing in it but listed elements, attributes and words."""
    writer = _Writer()
    writer.feed(text)
    writer.close()
    return writer.result()


class _Writer(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._rows = 0
        self._removed = 0
        self._hidden = ""

    def result(self) -> Cleaned:
        ends = "".join(f"</{tag}>" for tag in reversed(self._open))
        return Cleaned("".join(self._parts) + ends, self._rows, self._removed)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            return
        if tag in _HIDDEN:
            self._hidden = tag
            self._removed += tag != "style"
            return
        if tag not in TAGS or len(self._open) >= MAX_DEPTH:
            self._removed += 1
            return
        self._rows += tag in _ROWS
        self._parts.append(f"<{tag}{self._attributes(attrs)}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self._hidden == tag:
            self._hidden = ""
        if tag in TAGS and tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden:
                self._hidden = ""
            return
        if tag not in self._open:
            return
        while (last := self._open.pop()) != tag:
            self._parts.append(f"</{last}>")
        self._parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._rows += data.count("\n") if "pre" in self._open else 0
            self._parts.append(escape(data, quote=False))

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> str:
        kept: list[str] = []
        for name, value in attrs:
            words = value or ""
            if name in _ATTRIBUTES or (name == "style" and _harmless(words)):
                kept.append(f' {name}="{escape(words)}"')
            elif name.startswith("on") or name in ("src", "href", "srcset", "srcdoc", "action", "formaction", "data"):
                self._removed += 1
        return "".join(kept)


def _harmless(style: str) -> bool:
    """Whether each declaration is on the list; one by one, for a pattern over all of them takes exponential time."""
    return "url" not in style.lower() and all(_STYLE.fullmatch(one) for one in style.split(";") if one.strip())
