"""The account of an intake run as a version holds it: what became of each file that came in, and what was stated. Pure.

Hashes, reasons and counts; no name of a file, no value, and no order that names would give. The content root binds it,
so what a certificate says of files and checks can be held against what intake wrote down when it sealed. That intake
counted right it cannot show; who has the originals finds each by its hash.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from enclave.core.canonical import canonical_bytes, parse_canonical
from enclave.core.errors import IntegrityError, InvalidError
from enclave.wire.messages.schema import Json

ACCOUNT: Final = "review/account"
RECOUNTED: Final = (
    *("counts.files_in", "counts.files_out", "counts.quarantined", "counts.quarantine_reasons"),
    *("deidentification.actions", "deidentification.redactions"),
)
"""Numbers that are added up again from the files; the rest of the account is compared as it was stated."""
_STATED: Final = b"enclave.stated"
_SECTIONS: Final = ("counts", "deidentification", "quality")
_HASH: Final = pa.binary(32)
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())
_SCHEMA: Final = pa.schema([
    ("input_sha256", _HASH),
    ("output_sha256", _HASH),
    ("reason", _WORDS),
    ("actions", _WORDS),
    ("redactions", _WORDS),
])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAccount:
    """One file that came in: hashes in hex, '' without one; ``reason`` it was held for, '' when it left.

    ``actions``, ``redactions``: how often each was done to it.
    """

    input_sha256: str
    output_sha256: str = ""
    reason: str = ""
    actions: Mapping[str, int]
    redactions: Mapping[str, int]


def account_table(files: Iterable[FileAccount], *, stated: Mapping[str, Json]) -> pa.Table:
    """A row per file, by hash; ``stated`` holds sections of the certificate, without what is recounted."""
    rows = sorted(files, key=lambda one: (one.input_sha256, one.output_sha256, one.reason))
    columns = [
        pa.array([_bytes(one.input_sha256) for one in rows], type=_HASH),
        pa.array([_bytes(one.output_sha256) for one in rows], type=_HASH),
        _words(one.reason or None for one in rows),
        _words(json.dumps(dict(one.actions), sort_keys=True) for one in rows),
        _words(json.dumps(dict(one.redactions), sort_keys=True) for one in rows),
    ]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    return table.replace_schema_metadata({_STATED: canonical_bytes(dict(stated))})


def read_account(table: pa.Table) -> dict[str, dict[str, Any]]:
    """``{counts, deidentification, quality}`` as it gives them; raises ``IntegrityError`` for another table."""
    try:
        stated = parse_canonical((table.schema.metadata or {})[_STATED])
        reasons = Counter(filter(None, table.column("reason").to_pylist()))
        sums = {name: _summed(table.column(name)) for name in ("actions", "redactions")}
        left = len(table) - table.column("output_sha256").null_count
        sections: dict[str, dict[str, Any]] = {name: dict(stated[name]) for name in _SECTIONS}
    except (KeyError, AttributeError, TypeError, ValueError, InvalidError):
        raise IntegrityError("account: wanted the account of an intake run, got another table") from None
    sections["counts"] |= {"files_in": len(table), "files_out": left, "quarantined": len(table) - left}
    sections["counts"] |= {"quarantine_reasons": dict(reasons)}
    sections["deidentification"] |= sums
    return sections


def _bytes(digest: str) -> bytes | None:
    return bytes.fromhex(digest) if digest else None


def _words(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), type=pa.string()).dictionary_encode()


def _summed(column: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in column.value_counts().to_pylist():
        for name, count in json.loads(one["values"]).items():
            total[name] += count * one["counts"]
    return dict(total)
