"""Records as columns: the engine of Arrow parses the JSON, many records at once and outside of Python's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from enclave.audit.merkle import leaf_hash
from enclave.audit.segments import Record
from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import EnclaveError

_TEXTS = ("id", "time", "kind", "actor", "role", "project", "dataset", "session", "kernel", "cell", "source", "ticket")
_FIELDS: dict[str, Any] = {
    **dict.fromkeys((*_TEXTS, "trace", "outcome", "reason"), pa.string()),
    "version": pa.int32(),
    "objects": pa.list_(pa.string()),
}
# Keys of ``detail`` that people filter by or add up; each has one type in every kind that names it.
DETAIL_COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(("code_hash", "request", "lease", "certificate"), pa.string()),
    **dict.fromkeys(("duration_ms", "size_bytes"), pa.int64()),
}
_RECORD = pa.schema(
    [
        ("seq", pa.int64()),
        ("received", pa.string()),
        ("writer", pa.struct([("uid", pa.int64())])),
        ("event", pa.struct([*_FIELDS.items(), ("detail", pa.struct(list(DETAIL_COLUMNS.items())))])),
    ]
)
COLUMNS = pa.schema(
    [
        ("seq", pa.int64()),
        ("leaf_hash", pa.binary()),
        ("detail", pa.string()),
        ("received", pa.string()),
        ("writer_uid", pa.int64()),
        *_FIELDS.items(),
        *DETAIL_COLUMNS.items(),
    ]
)
_EVENT = b'"event":{"actor":'
_DETAIL = b'"detail":{'
_AFTER_DETAIL = b'},"id":"'
_BLOCK_BYTES = 4 << 20


def record_columns(records: Sequence[Record]) -> pa.Table:
    """One row per record of our writing; others are left out, ``verify`` names them."""
    found = _quick(records)
    if found is not None:
        return found
    rows = [row for record in records if (row := _row(record)) is not None]
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def _quick(records: Sequence[Record]) -> pa.Table | None:
    """All rows at once, or None when one record is not as our ledger writes them."""
    payloads = [record.payload for record in records]
    details = [_detail_of(payload) for payload in payloads]
    if not records or None in details:
        return None
    try:
        parsed = arrow_json.read_json(
            pa.BufferReader(b"\n".join(payloads)),
            read_options=arrow_json.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=arrow_json.ParseOptions(explicit_schema=_RECORD, unexpected_field_behavior="ignore"),
        ).combine_chunks()
        seqs = pa.array([record.seq for record in records], pa.int64())
        if not parsed["seq"].combine_chunks().equals(seqs):
            return None
        text = pa.array(details, pa.binary()).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    leaves = pa.array([leaf_hash(payload) for payload in payloads], pa.binary())
    event = _parts(parsed["event"])
    detail = _parts(event.pop("detail"))
    columns = {
        "seq": seqs,
        "leaf_hash": leaves,
        "detail": text,
        "received": parsed["received"],
        "writer_uid": _parts(parsed["writer"])["uid"],
        **event,
        **detail,
    }
    return pa.table([columns[name] for name in COLUMNS.names], schema=COLUMNS)


def _parts(column: Any) -> dict[str, Any]:
    """The fields of a column of objects, null where the object is."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return {field.name: part for field, part in zip(array.type, array.flatten(), strict=True)}


def _detail_of(payload: bytes) -> bytes | None:
    """The bytes of the event's ``detail`` in canonical JSON, where it stands between ``dataset`` and ``id``.

    A quotation mark within a string is escaped, so that these marks can stand nowhere else than between keys; the
    first such key after the beginning of the event and the last ``id`` are the event's own.
    """
    event = payload.find(_EVENT)
    start = payload.find(_DETAIL, event)
    end = payload.rfind(_AFTER_DETAIL)
    return payload[start + len(_DETAIL) - 1 : end + 1] if 0 < event < start < end else None


def _row(record: Record) -> dict[str, Any] | None:
    """The slow way, for a record that is JSON but not quite what we write: what has another type is left out."""
    try:
        value = parse_json(record.payload)
        event, detail = value["event"], value["event"].get("detail", {})
        found: dict[str, Any] = {name: _typed(event.get(name), kind) for name, kind in _FIELDS.items()}
        found |= {name: _typed(detail.get(name), kind) for name, kind in DETAIL_COLUMNS.items()}
        received, writer = _typed(value.get("received"), pa.string()), value.get("writer", {})
        found |= {"seq": record.seq, "leaf_hash": leaf_hash(record.payload), "received": received}
        return found | {"detail": canonical_bytes(detail).decode(), "writer_uid": _typed(writer.get("uid"), pa.int64())}
    except (EnclaveError, KeyError, TypeError, AttributeError):
        return None


def _typed(value: Any, kind: Any) -> Any:
    """``value`` when it is of the column's type, else None."""
    try:
        return pa.array([value], kind, from_pandas=False)[0].as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None
