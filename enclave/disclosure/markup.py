"""What HTML, SVG and notebooks can hide or start. Pure: text in, observations out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Final
from xml.parsers import expat

from enclave.disclosure.findings import Observation, seen
from enclave.disclosure.text import observe_text

MAX_DEPTH: Final = 400
HIDDEN_COMMENT: Final = 200  # characters; a shorter comment is a remark
_ACTIVE: Final = frozenset({"iframe", "frame", "object", "embed", "applet", "form", "base", "foreignobject", "portal"})
_LOADS: Final = frozenset(
    {"src", "srcset", "data", "poster", "background", "action", "formaction", "manifest", "ping", "codebase"}
)
_LOADING_TAGS: Final = frozenset({"link", "image", "use", "feimage", "script", "set", "animate"})
_DATA_URI: Final = re.compile(r"\bdata:[^,\s]{0,200},", re.IGNORECASE)
_SCRIPT_URI: Final = re.compile(r"^\s*(?:javascript|vbscript)\s*:", re.IGNORECASE)
_REMOTE: Final = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_REMOTE_CSS: Final = re.compile(r"@import\b|url\(\s*['\"]?\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_HIDDEN_CSS: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])", re.IGNORECASE)


def observe_html(text: str) -> Iterator[Observation]:
    """Scripts, frames, handlers, embedded data, remote loads and hidden content of an HTML text."""
    watcher = _Html()
    watcher.feed(text)
    watcher.close()
    yield from watcher.found
    yield from observe_text(text)


def observe_svg(text: str) -> Iterator[Observation]:
    """The same for SVG. A declared entity ends the reading: nothing is ever expanded or fetched."""
    watcher = _Svg()
    watcher.read(text)
    yield from watcher.found
    yield from observe_text(text)


def observe_element(tag: str, attributes: dict[str, str], line: int) -> Iterator[Observation]:
    """What one element of HTML or SVG does; ``tag`` and attribute names without prefix, in lower case."""
    where = {"line": line}
    if tag == "script":
        yield seen("script", where=where)
    if tag in _ACTIVE or (tag == "meta" and "http-equiv" in attributes):
        yield seen("active_content", where=where)
    for name, value in attributes.items():
        if name.startswith("on") or name == "srcdoc" or _SCRIPT_URI.search(value):
            yield seen("active_content", where=where)
        if _DATA_URI.search(value):
            yield seen("embedded_data", where=where)
        loads = name in _LOADS or (name == "href" and tag in _LOADING_TAGS)
        if (loads and _REMOTE.search(value)) or (name == "style" and _REMOTE_CSS.search(value)):
            yield seen("external_reference", where=where)
        if name == "hidden" or (name == "style" and _HIDDEN_CSS.search(value)):
            yield seen("hidden_content", where=where)


def observe_style(text: str, line: int) -> Iterator[Observation]:
    """What a style sheet loads or hides."""
    if _DATA_URI.search(text):
        yield seen("embedded_data", where={"line": line})
    if _REMOTE_CSS.search(text):
        yield seen("external_reference", where={"line": line})
    if _HIDDEN_CSS.search(text):
        yield seen("hidden_content", where={"line": line})


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Observation] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name.rpartition(":")[2].lower(): value or "" for name, value in attrs}
        self.found.extend(observe_element(tag.rpartition(":")[2], attributes, self.getpos()[0]))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.found.extend(observe_style(data, self.getpos()[0]))

    def handle_comment(self, data: str) -> None:
        if len(data) > HIDDEN_COMMENT:
            self.found.append(seen("hidden_content", where={"line": self.getpos()[0]}))

    def unknown_decl(self, data: str) -> None:
        del data
        self.found.append(seen("markup_unreadable", where={"line": self.getpos()[0]}))


class _StopReadingError(Exception):
    """An entity was declared: nothing after it is looked at, the file is blocked."""


class _Svg:
    def __init__(self) -> None:
        self.found: list[Observation] = []
        self._depth = 0
        self._style = False
        self._root = ""
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.CommentHandler = self._comment
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._entity
        self._parser.ProcessingInstructionHandler = self._instruction
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def read(self, text: str) -> None:
        try:
            self._parser.Parse(text, True)  # noqa: FBT003 - expat's own signature
        except expat.ExpatError:
            self.found.append(seen("markup_unreadable", where=self._where()))
        except _StopReadingError:
            return
        if self._root and self._root != "svg":
            self.found.append(seen("type_mismatch", where={"line": 1}))

    def _where(self) -> dict[str, int]:
        return {"line": max(1, self._parser.CurrentLineNumber)}

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(":")[2].lower()
        self._root = self._root or tag
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.found.append(seen("markup_unreadable", where=self._where()))
            raise _StopReadingError
        plain = {key.rpartition(":")[2].lower(): value for key, value in attributes.items()}
        self.found.extend(observe_element(tag, plain, self._where()["line"]))
        self._style = tag == "style"

    def _end(self, name: str) -> None:
        del name
        self._depth -= 1
        self._style = False

    def _data(self, text: str) -> None:
        if self._style:
            self.found.extend(observe_style(text, self._where()["line"]))

    def _comment(self, text: str) -> None:
        if len(text) > HIDDEN_COMMENT:
            self.found.append(seen("hidden_content", where=self._where()))

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        del name, system, public
        if internal:
            self.found.append(seen("entity_declaration", where=self._where()))
            raise _StopReadingError

    def _entity(self, *_: Any) -> None:
        self.found.append(seen("entity_declaration", where=self._where()))
        raise _StopReadingError

    def _instruction(self, target: str, data: str) -> None:
        del data
        if target.lower() == "xml-stylesheet":
            self.found.append(seen("external_reference", where=self._where()))


_TEXT_OUTPUTS: Final = frozenset({"text/plain", "text/markdown", "text/latex"})


def observe_notebook(text: str) -> Iterator[Observation]:
    """A notebook (nbformat 4): its sources as text, each output by its kind; places are cells, 1 is the first."""
    try:
        notebook = json.loads(text)
        cells = notebook["cells"]
        if not isinstance(cells, list) or notebook.get("nbformat") != 4:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        yield seen("notebook_unreadable")
        return
    metadata = notebook.get("metadata")
    if isinstance(metadata, dict) and metadata.get("widgets"):
        yield seen("embedded_data")
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, dict):
            yield from _cell(cell, number)
        else:
            yield seen("notebook_unreadable", where={"cell": number})


def _cell(cell: dict[str, Any], number: int) -> Iterator[Observation]:
    if cell.get("attachments"):
        yield seen("embedded_data", where={"cell": number})
    source = _joined(cell.get("source"))
    inner = observe_html(source) if cell.get("cell_type") == "markdown" else observe_text(source)
    yield from _within(inner, number)
    outputs = cell.get("outputs") or []
    if not isinstance(outputs, list):
        yield seen("notebook_unreadable", where={"cell": number})
        return
    if outputs:
        yield seen("notebook_outputs", where={"cell": number})
    for output in outputs:
        yield from _within(_output(output), number)


def _output(output: Any) -> Iterator[Observation]:
    if not isinstance(output, dict):
        yield seen("notebook_unreadable")
        return
    yield from observe_text(_joined(output.get("text")))
    yield from observe_text(_joined(output.get("traceback")))
    data = output.get("data")
    for mime, value in data.items() if isinstance(data, dict) else ():
        if mime in _TEXT_OUTPUTS:
            yield from observe_text(_joined(value))
        elif mime == "text/html":
            yield from observe_html(_joined(value))
        elif "javascript" in mime:
            yield seen("script")
        else:
            yield seen("embedded_data")


def _within(observations: Iterator[Observation], number: int) -> Iterator[Observation]:
    """The same, placed in a cell; a line then counts from the cell's first."""
    for one in observations:
        line = {"line": one.where["line"]} if "line" in one.where else {}
        yield seen(one.rule, where={"cell": number, **line}, count=one.count)


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
