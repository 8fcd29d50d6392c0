"""What was done with each object: hashes, table edition, options, versions, actions, redactions. No values."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from array import array
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from enclave.core.errors import UnavailableError
from enclave.deid.faces.order import parse_place
from enclave.deid.iods import types_edition
from enclave.deid.table import table_edition
from enclave.deid.worker import Outcome
from enclave.detectors.model import PACKAGE, check_model, model_folder
from enclave.runtime.call_filter import DECODER, assemble, load_call_list, program

version = functools.cache(metadata.version)  # what this process began with; looking takes longer than a small file
_ROWS = 10_000  # in memory at a time
_SCHEMA = pa.schema([
    ("output", pa.string()),
    ("input_sha256", pa.string()),
    ("output_sha256", pa.string()),
    ("pixel_sha256", pa.string()),
    ("table_edition", pa.string()),
    ("options", pa.list_(pa.string())),
    ("tools", pa.string()),
    ("actions", pa.string()),
    ("redactions", pa.string()),
])  # fmt: skip


def write_provenance(
    path: Path, *, outcomes: Iterable[Outcome], options: tuple[str, ...], long_text: str = "vocabulary"
) -> None:
    """Writes one row per object that left; the same job writes the same bytes."""
    tools = json.dumps(tool_versions(long_text=long_text), sort_keys=True)
    ordered = sorted(outcomes, key=lambda done: done.path)
    part = path.with_name(f".{path.name}.part")
    with parquet.ParquetWriter(part, _SCHEMA, compression="none") as writer:
        for at in range(0, max(1, len(ordered)), _ROWS):
            writer.write_table(_rows(ordered[at : at + _ROWS], options=options, tools=tools))
    part.replace(path)


def _rows(outcomes: list[Outcome], *, options: tuple[str, ...], tools: str) -> pa.Table:
    count = len(outcomes)
    listed = pa.ListArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), count + 1, [None, _buffer(at * len(options) for at in range(count + 1))]),
        _strings(options * count),
    )
    columns = [
        _strings(done.path for done in outcomes),
        _strings(done.input_sha256 for done in outcomes),
        _strings(done.output_sha256 for done in outcomes),
        _strings(done.pixel_sha256 for done in outcomes),
        _strings([table_edition()] * count),
        listed,
        _strings([tools] * count),
        _strings(json.dumps(done.actions, sort_keys=True) for done in outcomes),
        _strings(_redactions(done) for done in outcomes),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _redactions(done: Outcome) -> str:
    """Where and why: of an instance by tag and, of pixels, box; of a table by ``column[row]``."""
    if not done.path.endswith(".dcm"):
        return json.dumps([{"cell": place, "reason": reason} for place, reason in done.redactions])
    return json.dumps([{**_place(place), "reason": reason} for place, reason in done.redactions])


def _place(place: str) -> dict[str, Any]:
    tag, brace, planes = place.partition("{")
    if brace:
        return {"tag": tag, "planes": parse_place(planes.rstrip("}"))}
    tag, bracket, box = place.partition("[")
    return {"tag": tag, "box": [int(edge) for edge in box.rstrip("]").split(",")]} if bracket else {"tag": tag}


def _strings(values: Iterable[str]) -> pa.StringArray:
    """As ``pa.array`` makes it, but that loads pandas first, which takes longer than a hundred files."""
    encoded = [value.encode() for value in values]
    ends = itertools.accumulate((len(value) for value in encoded), initial=0)
    return pa.StringArray.from_buffers(len(encoded), _buffer(ends), pa.py_buffer(b"".join(encoded)))


def _buffer(numbers: Iterable[int]) -> pa.Buffer:
    return pa.py_buffer(array("i", numbers))


def tool_versions(*, long_text: str = "vocabulary") -> dict[str, str]:
    """The versions of what touched the data, the edition of the IODs that it was judged by, and the digest of the
    filter under which compressed pixels were decoded and documents read: without it none is.

    ``long_text``: how running text was cleaned, which is said, too. Where it was by ``detectors`` also the versions of
    the language model and the digest of its files as they are.
    """
    packages = {
        name: _version(name)
        for name in ("enclave", "pydicom", "pyarrow", "numpy", "scipy", "rapidocr", "onnxruntime", "openvino", "pypdf")
    }
    packages["long_text"] = long_text
    if long_text == "detectors":
        packages |= {name: _version(name) for name in ("presidio-analyzer", "spacy", PACKAGE)}
        packages[f"{PACKAGE} sha256"] = check_model(model_folder())
    return {**packages, "decoder filter sha256": _decoder_filter(), "ps3.3": types_edition()}


def _decoder_filter() -> str:
    """'none' for an architecture without one."""
    try:
        code = assemble(program(load_call_list(DECODER)))
    except UnavailableError:
        return "none"
    return hashlib.sha256(code).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except metadata.PackageNotFoundError:
        return "0"
