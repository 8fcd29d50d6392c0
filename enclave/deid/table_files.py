"""Tables as files: CSV as it comes from a clinic, Parquet with plain columns; what has another form is refused."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import parquet

from enclave.deid.reasons import Quarantined

SUFFIXES = (".csv", ".parquet")
DELIMITERS = ",;\t|"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_INT = re.compile(r"[+-]?\d{1,15}")
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")
_HEAD = 1 << 16  # characters that show what the delimiter is
_MAX_CELL = 1 << 20  # characters; a longer one is no cell of a table but a document
Column = list[Any]


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as read: columns of text, numbers or dates, None where a cell is empty.

    ``types``: what each Parquet column is that no role can be given to. ``repeated``: how many columns have the
    name of another one; of those only the first is in ``columns``.
    """

    name: str
    columns: dict[str, Column]
    types: dict[str, str] = field(default_factory=dict)
    repeated: int = 0

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values()), []))


def read_table(path: Path) -> RawTable:
    """A CSV (UTF-8, UTF-16 with its mark, or Latin-1; comma, semicolon, tab or bar) or Parquet file.

    Raises ``Quarantined`` for what is neither.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return _parse_parquet(path)
        return _parse_csv(path.stem, path.read_bytes())
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("table_unreadable") from None


def write_table(table: pa.Table, *, name: str, folder: Path, suffix: str) -> Path:
    """Writes the table under its name, whole or not at all, in the format that it came in."""
    final = folder / f"{name}{suffix}"
    part = folder / f".{name}.part"
    if suffix == ".parquet":
        parquet.write_table(table, part, compression="none", store_schema=False)
    else:
        arrow_csv.write_csv(table, part)
    part.replace(final)
    return final


def to_array(values: Column) -> pa.Array:
    """Whole numbers, decimals, dates or text: the narrowest type that holds every cell."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, str) for value in present):
        if _all(_INT.fullmatch, present) and not any(len(v) > 1 and v[0] == "0" for v in present):
            return pa.array([None if v is None else int(v) for v in values], pa.int64())
        if _all(_FLOAT.fullmatch, present) and any("." in v for v in present):
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array(values) if present else pa.array(values, pa.string())


def _parse_csv(name: str, data: bytes) -> RawTable:
    text = _decoded(data)
    if "\0" in text:
        raise Quarantined("table_unreadable")
    csv.field_size_limit(_MAX_CELL)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True))
    if not rows or any(len(row) not in (0, len(rows[0])) for row in rows):
        raise Quarantined("table_unreadable")
    head = [column.strip() for column in rows[0]]
    body = [row for row in rows[1:] if row]
    columns: dict[str, Column] = {}
    for at, column in enumerate(head):
        columns.setdefault(column, [row[at].strip() or None for row in body])
    return RawTable(name, columns, repeated=len(head) - len(columns))


def _decoded(data: bytes) -> str:
    if data.startswith(_UTF_16):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _delimiter(text: str) -> str:
    """The one that parts the first records into the same number of fields, and into the most of them."""
    return max(DELIMITERS, key=lambda one: _width(text[:_HEAD], delimiter=one, whole=len(text) <= _HEAD))


def _width(text: str, *, delimiter: str, whole: bool) -> int:
    """How many fields each record of ``text`` has; 0 when they differ or break the quoting."""
    widths: list[int] = []
    try:
        widths.extend(len(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        if whole or not widths:
            return 0
    found = set(widths if whole else widths[:-1]) - {0}
    return found.pop() if len(found) == 1 else 0


def _parse_parquet(path: Path) -> RawTable:
    found = parquet.ParquetFile(path).read()  # keeps columns of one name apart
    columns: dict[str, Column] = {}
    types: dict[str, str] = {}
    for name, column in zip(found.column_names, found.columns, strict=True):
        if not _is_plain(column.type):
            types[name] = _kind(column.type)
            columns.setdefault(name, [None] * len(column))
        else:
            columns.setdefault(name, _cells(column))
    return RawTable(path.stem, columns, types, repeated=len(found.column_names) - len(columns))


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    tests = (
        *(pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating),
        *(pa.types.is_boolean, pa.types.is_decimal, pa.types.is_date, pa.types.is_timestamp, pa.types.is_null),
    )
    return any(test(kind) for test in tests)


def _kind(kind: pa.DataType) -> str:
    """The sort of type without what is inside of it: names of fields may say something."""
    return str(kind).partition("<")[0].partition("[")[0]


def _cells(column: pa.ChunkedArray) -> Column:
    kind = column.type
    if pa.types.is_timestamp(kind):  # Python knows no nanoseconds
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    elif pa.types.is_date64(kind):
        column = column.cast(pa.date32())
    return [_cell(value) for value in column.to_pylist()]


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() or None
    return None if value != value else value  # noqa: PLR0124 - not a number is not equal to itself


def _all(test: Callable[[str], Any], values: Iterable[str]) -> bool:
    return all(test(value) for value in values)
