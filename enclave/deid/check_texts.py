"""Running text of objects that detectors cleaned: where it stands, and how a person is shown it."""

from __future__ import annotations

import json
from pathlib import Path

from pyarrow import parquet

from enclave.deid.decoding import walk
from enclave.deid.documents import DOCUMENT
from enclave.deid.long_text import LONG_VRS
from enclave.deid.plain_pdf import read_pdf
from enclave.deid.reading import read_instance
from enclave.deid.source import open_source
from enclave.deid.trace import REVIEW
from enclave.deid.tree import texts

TEXTS = 20  # objects of a sample
SHOWN_AS = "text"  # the item of an object that shows its running text


def recorded_texts(path: Path) -> dict[str, frozenset[int]]:
    """The attributes that the provenance at ``path`` flags for a person, for each file of the output that has some."""
    try:
        rows = parquet.read_table(path, columns=["output", "redactions"]).to_pylist()
        found = {
            row["output"]: frozenset(
                int(one["tag"], 16) for one in json.loads(row["redactions"]) if one["reason"] == REVIEW and "tag" in one
            )
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {output: tags for output, tags in found.items() if tags}


def running_text(path: Path, *, tags: frozenset[int]) -> str:
    """The text in ``tags`` of a de-identified object, at any depth. Raises ``Quarantined`` when it cannot be read."""
    with open_source(path) as source:
        tree = read_instance(source).tree
        document = tree[DOCUMENT][1] if DOCUMENT in tags and DOCUMENT in tree else b""
        parts = [read_pdf(document)] if isinstance(document, bytes) and document else []
        parts += [
            text
            for node, tag, field in walk(tree)
            if tag in tags and field[0] in LONG_VRS
            for text in texts(field, node=node)
        ]
    return "\n\n".join(parts)
