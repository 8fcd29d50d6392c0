"""Makes ``attribute_types.csv`` from a folder with tables of PS3.3 and PS3.4 as JSON.

``python -m enclave.deid.standard.gather FOLDER --edition 2026b --date 2026-11-22``. FOLDER holds
``sop_class_iod_map.json`` (UID: IOD), ``iod_module_map.json`` (IOD: its modules) and ``module_attribute_map.json``
(module: attributes with keyword, type and the sequences above them), as highdicom (MIT) ships them. Only facts are
taken: which module an IOD has, which type an attribute has in it. Types 1, 1C, 2, 2C are taken of all attributes,
type 3 of those only whose action in Table E.1-1 depends on it.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from enclave.deid.actions import ABSENT, TYPES
from enclave.deid.table import table_rows

TARGET = Path(__file__).with_name("attribute_types.csv")
_TOP = "top"
_PLAIN_TYPE = "3"
Block = tuple[str, tuple[tuple[str, str], ...]]  # the sequence above, then tag and type


def gather(folder: Path, *, edition: str, date: str) -> str:
    """The whole text of the file."""
    classes: dict[str, str] = _load(folder, "sop_class_iod_map")
    iods: dict[str, list[dict[str, str]]] = _load(folder, "iod_module_map")
    attributes: dict[str, list[dict[str, Any]]] = _load(folder, "module_attribute_map")
    wanted = {iod: [part["key"] for part in iods[iod]] for iod in sorted(set(classes.values()))}
    modules = sorted({module for parts in wanted.values() for module in parts if module in attributes})
    numbers: dict[Block, int] = {}
    module_lines = [
        f"module;{module};{_spaced(numbers.setdefault(block, len(numbers)) for block in _blocks(attributes[module]))}"
        for module in modules
    ]
    lines = [
        f"# Attribute types of the storage IODs in DICOM PS3.3, facts in our own form. Edition {edition}, {date}.",
        "# Made by enclave.deid.standard.gather. Types of an optional module hold where its attributes are present;",
        "# where a sequence stands at several places of a module, the strictest type is written.",
        f"edition;{edition};{date}",
        *(f"class;{uid};{iod}" for uid, iod in sorted(classes.items())),
        *(_iod_line(iod, parts, known=attributes) for iod, parts in wanted.items()),
        *module_lines,
        *(f"block;{number};{_block_text(block)}" for block, number in numbers.items()),
    ]
    return "\n".join(lines) + "\n"


def _iod_line(iod: str, parts: list[str], *, known: Mapping[str, Any]) -> str:
    whole = "whole" if all(part in known for part in parts) else "partial"
    return f"iod;{iod};{whole};{' '.join(part for part in parts if part in known)}"


def _blocks(attributes: list[dict[str, Any]]) -> Iterator[Block]:
    combined = {row.tag for row in table_rows() if "/" in row.basic}
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for attribute in attributes:
        path = [_TOP, *map(_tag, attribute["path"])]
        tag, kind = _tag(attribute["keyword"]), attribute["type"]
        if not tag or not path[-1] or kind not in TYPES or (kind == _PLAIN_TYPE and tag not in combined):
            continue
        known = found[path[-1]]
        known[tag] = min(known.get(tag, ABSENT), kind, key=TYPES.index)
    for sequence, types in sorted(found.items()):
        yield sequence, tuple(sorted(types.items()))


def _block_text(block: Block) -> str:
    sequence, types = block
    parts = [f"{kind}:{','.join(tag for tag, of in types if of == kind)}" for kind in TYPES]
    return f"{sequence};{' '.join(part for part in parts if not part.endswith(':'))}"


def _tag(keyword: str) -> str:
    """Empty for a repeating group, whose elements go as a whole."""
    number = tag_for_keyword(keyword)
    return f"{number:08x}" if number is not None else ""


def _load(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def _spaced(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def main() -> None:
    """Writes the file anew."""
    parser = argparse.ArgumentParser(prog="python -m enclave.deid.standard.gather")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edition", required=True)
    parser.add_argument("--date", required=True)
    given = parser.parse_args()
    TARGET.write_text(gather(given.folder, edition=given.edition, date=given.date), "utf-8")


if __name__ == "__main__":
    main()
