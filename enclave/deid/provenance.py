"""What was done with each object: hashes, table edition, options, versions, actions, redactions. No values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from enclave.deid.table import table_edition
from enclave.deid.worker import Outcome

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
    tools = json.dumps(tool_versions(), sort_keys=True)
    rows = [
        {
            "output": done.path,
            "input_sha256": done.input_sha256,
            "output_sha256": done.output_sha256,
            "pixel_sha256": done.pixel_sha256,
            "table_edition": table_edition(),
            "options": list(options),
            "tools": tools,
            "actions": json.dumps(done.actions, sort_keys=True),
            "redactions": json.dumps([{"tag": tag, "reason": reason} for tag, reason in done.redactions]),
        }
        for done in sorted(outcomes, key=lambda done: done.path)
    ]
    part = path.with_name(f".{path.name}.part")
    parquet.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), part, compression="none")
    part.replace(path)


def tool_versions() -> dict[str, str]:
    """The versions of what touched the data."""
    return {name: _version(name) for name in ("enclave", "pydicom", "pyarrow", "numpy")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "0"
