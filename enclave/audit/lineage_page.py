"""A lineage as a picture: one SVG without scripts, every box a link to its row in the table below. Pure.

Boxes stand in columns from the dataset version on the left to the file on the right. Cells that neither read data nor
handed a file in are drawn as one box per kernel; the table has each of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import Any, Final

from enclave.audit.lineage import KINDS, Edge, Graph, Node
from enclave.audit.page_style import PAGE_STYLE

BOX: Final = (168, 46)
GAP: Final = (46, 16)
MARGIN: Final = 14
HEADINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "version": "Dataset version",
        "certificate": "Certificate",
        "lease": "Lease",
        "kernel": "Kernel",
        "cell": "Cell",
        "intermediate": "Saved result",
        "request": "Request",
        "file": "File",
    }
)
STYLE: Final = (
    PAGE_STYLE
    + """\
code { overflow-wrap: anywhere; } tr:target { background: #ffd54f55; }
.lineage-scroll { overflow-x: auto; }
.lineage rect { fill: Canvas; stroke: #5b6a70; } .lineage text { fill: CanvasText; font: 12px system-ui, sans-serif; }
.lineage .head { font-weight: 600; } .lineage .kind { fill: #5b6a70; font-size: 11px; }
.lineage path { fill: none; stroke: #8a979c; stroke-width: 1.3; }
.lineage .sure path { stroke: #0f5c5c; stroke-width: 2; }
.lineage .asked rect { stroke: #0f5c5c; stroke-width: 3; } .lineage a:focus rect { stroke-width: 3; }
"""
)


@dataclass(frozen=True, slots=True)
class _Box:
    """A drawn node: where it stands, and which row of the table it leads to."""

    id: str
    kind: str
    name: str
    note: str
    row: str


def svg_of(graph: Graph) -> str:
    """The picture; its text alternative is its title, its description and the tables below it."""
    boxes, place_of = _boxes(graph)
    columns: dict[str, list[_Box]] = defaultdict(list)
    for box in boxes:
        columns[box.kind].append(box)
    kinds = [kind for kind in KINDS if columns[kind]]
    at = {
        box.id: (MARGIN + x * (BOX[0] + GAP[0]), 40 + y * (BOX[1] + GAP[1]))
        for x, kind in enumerate(kinds)
        for y, box in enumerate(columns[kind])
    }
    width = 2 * MARGIN + len(kinds) * (BOX[0] + GAP[0]) - GAP[0]
    height = 40 + MARGIN + max((len(columns[kind]) for kind in kinds), default=0) * (BOX[1] + GAP[1])
    drawn = {(place_of[e.source], place_of[e.target], e.what in _SURE) for e in graph.edges}
    lines = [_path(at[s], at[t], sure=sure) for s, t, sure in sorted(drawn) if s in at and t in at and s != t]
    heads = [
        f'<text class="head" x="{MARGIN + x * (BOX[0] + GAP[0])}" y="24">{HEADINGS[kind]}</text>'
        for x, kind in enumerate(kinds)
    ]
    shapes = [_shape(box, at[box.id], asked=graph.subject in (box.name, box.row)) for box in boxes]
    return (
        f'<svg class="lineage" xmlns="http://www.w3.org/2000/svg" role="group" aria-labelledby="lineage-title '
        f'lineage-words" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<title id="lineage-title">Lineage of {escape(graph.subject)}</title>'
        f'<desc id="lineage-words">{escape(summary_of(graph))}</desc>{"".join(lines + heads + shapes)}</svg>'
    )


def summary_of(graph: Graph) -> str:
    """The picture in one sentence."""
    counts = [(len(graph.of_kind(kind)), HEADINGS[kind].lower()) for kind in KINDS]
    return "; ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts if count) + "."


def html_of(graph: Graph, *, written: str) -> str:
    """A page of its own: no script, nothing from outside."""
    tables = "".join(_table(graph, kind) for kind in KINDS if graph.of_kind(kind))
    subject = escape(graph.subject)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Lineage of {subject}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>Lineage of <code>{subject}</code></h1><p>{escape(summary_of(graph))} Made {escape(written)}.</p>"
        f'<div class="lineage-scroll" tabindex="0" role="region" aria-label="Picture">{svg_of(graph)}</div>{tables}'
        "</main></body></html>\n"
    )


def table_rows(graph: Graph) -> list[dict[str, Any]]:
    """The same as text: per kind its heading and rows of id, name, facts and what it comes from."""
    sources: dict[str, list[Edge]] = defaultdict(list)
    for edge in graph.edges:
        sources[edge.target].append(edge)
    names = {node.id: node.name for node in graph.nodes}
    return [
        {
            "heading": HEADINGS[kind],
            "rows": [
                {
                    "id": anchor(node.id),
                    "name": node.name,
                    "facts": facts_of(node),
                    "from": [f"{e.what}: {names[e.source]}" for e in sources[node.id]],
                }
                for node in graph.of_kind(kind)
            ],
        }
        for kind in KINDS
        if graph.of_kind(kind)
    ]


def facts_of(node: Node) -> list[tuple[str, str]]:
    """What is known of a node, as pairs of words."""
    return [
        (key.replace("_", " "), _words(value))
        for key, value in node.facts.items()
        if key != "seq" and value is not None
    ]


def anchor(node_id: str) -> str:
    """An id that a link can name."""
    return "row-" + "".join(letter if letter.isalnum() else "-" for letter in node_id)


_ID: Final = re.compile(r"[0-9a-f]{32,64}")
_SURE: Final = frozenset({"handed in", "holds", "read by", "allowed", "determined by", "saved", "loaded by"})


def _boxes(graph: Graph) -> tuple[list[_Box], dict[str, str]]:
    """What is drawn, and for every node the box that stands for it."""
    busy = {e.source for e in graph.edges if e.what in ("handed in", "saved")}
    busy |= {e.target for e in graph.edges if e.what in ("read by", "loaded by")}
    kernel_of = {e.target: e.source for e in graph.edges if e.what == "ran"}
    boxes: list[_Box] = []
    place_of: dict[str, str] = {}
    quiet: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.kind == "cell" and node.id not in busy:
            quiet[kernel_of.get(node.id, "")].append(node)
            continue
        place_of[node.id] = node.id
        boxes.append(_Box(node.id, node.kind, node.name, _note(node), anchor(node.id)))
    for kernel, cells in quiet.items():
        box_id = f"cell:others of {kernel}"
        count = len(cells)
        name = f"{count} other cell{'' if count == 1 else 's'}"
        boxes.append(_Box(box_id, "cell", name, "no read, no file", anchor(cells[0].id)))
        place_of |= {cell.id: box_id for cell in cells}
    return boxes, place_of


def _note(node: Node) -> str:
    facts = node.facts
    if node.kind == "cell" and "read" in facts:
        count = sum(len(objects) for objects in facts["read"].values())
        return f"read {count} object{'' if count == 1 else 's'}"
    for key in ("signed_by", "purpose", "person", "author", "released", "content_root", "submitted"):
        if facts.get(key):
            return str(facts[key])
    return ""


def _shape(box: _Box, at: tuple[int, int], *, asked: bool) -> str:
    x, y = at
    label = escape(f"{HEADINGS[box.kind]} {box.name}{', ' + box.note if box.note else ''}")
    return (
        f'<a href="#{box.row}" aria-label="{label}"{_asked(asked)}><title>{label}</title>'
        f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="7"/>'
        f'<text x="{x + 9}" y="{y + 19}">{escape(_shown(box.name))}</text>'
        f'<text class="kind" x="{x + 9}" y="{y + 35}">{escape(_shown(box.note, 25))}</text></a>'
    )


def _asked(asked: bool) -> str:  # noqa: FBT001 - one flag of one helper
    return ' class="asked"' if asked else ""


def _path(source: tuple[int, int], target: tuple[int, int], *, sure: bool) -> str:
    x1, y1 = source[0] + BOX[0], source[1] + BOX[1] // 2
    x2, y2 = target[0], target[1] + BOX[1] // 2
    bend = max(24, abs(x2 - x1) // 2)
    line = f'<path d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'
    return f'<g class="sure">{line}</g>' if sure else f"<g>{line}</g>"


def _table(graph: Graph, kind: str) -> str:
    found = next(part for part in table_rows(graph) if part["heading"] == HEADINGS[kind])
    rows = "".join(
        f'<tr id="{row["id"]}"><td><code>{escape(row["name"])}</code></td><td>{_pairs(row["facts"])}</td>'
        f"<td>{'<br>'.join(escape(text) for text in row['from'])}</td></tr>"
        for row in found["rows"]
    )
    return (
        f"<h2>{found['heading']}</h2><table><thead><tr><th>Name</th><th>What is known</th><th>Comes from</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "<br>".join(f"{escape(key)}: {escape(value)}" for key, value in pairs)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(inner) for inner in value)
    return str(value)


def _shown(name: str, longest: int = 22) -> str:
    """A name as it fits its box: of an id the beginning, as lists show it, too; digits are wider than letters."""
    return name[:12] if _ID.fullmatch(name) else _cut(name, longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
