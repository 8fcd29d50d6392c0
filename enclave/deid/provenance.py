"""What was done with each object: hashes, table edition, options, versions, actions, redactions. No values."""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from enclave.deid.table import table_edition
from enclave.deid.worker import Outcome

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


def write_provenance(path: Path, *, outcomes: Iterable[Outcome], options: tuple[str, ...]) -> None:
    """Writes one row per object that left; the same job writes the same bytes."""
    ordered = sorted(outcomes, key=lambda done: done.path)
    part = path.with_name(f".{path.name}.part")
    with parquet.ParquetWriter(part, _SCHEMA, compression="none") as writer:
        for at in range(0, max(1, len(ordered)), _ROWS):
            writer.write_table(_rows(ordered[at : at + _ROWS], options=options))
    part.replace(path)


def _rows(outcomes: list[Outcome], *, options: tuple[str, ...]) -> pa.Table:
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
        _strings([json.dumps(tool_versions(), sort_keys=True)] * count),
        _strings(json.dumps(done.actions, sort_keys=True) for done in outcomes),
        _strings(json.dumps([{"tag": tag, "reason": reason} for tag, reason in done.redactions]) for done in outcomes),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _strings(values: Iterable[str]) -> pa.StringArray:
    """As ``pa.array`` makes it, but that loads pandas first, which takes longer than a hundred files."""
    encoded = [value.encode() for value in values]
    ends = itertools.accumulate((len(value) for value in encoded), initial=0)
    return pa.StringArray.from_buffers(len(encoded), _buffer(ends), pa.py_buffer(b"".join(encoded)))


def _buffer(numbers: Iterable[int]) -> pa.Buffer:
    return pa.py_buffer(array("i", numbers))


def tool_versions() -> dict[str, str]:
    """The versions of what touched the data."""
    return {name: _version(name) for name in ("enclave", "pydicom", "pyarrow", "numpy")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "0"
