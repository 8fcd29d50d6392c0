"""Disclosure rules for a table of results: row-level data, small counts, extremes. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Final

from enclave.core.errors import InvalidError
from enclave.disclosure.findings import Observation, seen

THRESHOLD: Final = 10  # a count of people below this is not released
MANY_ROWS: Final = 200
MIN_ROWS_FOR_DISTINCT: Final = 20
MIN_ROWS_FOR_ROW_LEVEL: Final = 5
MAX_CELLS: Final = 2_000_000
DELIMITERS: Final = ",;\t|"

_COUNT: Final = re.compile(
    r"(?:^|[ _.(#-])(?:n|count|counts|freq|frequency|number|patients?|subjects?|people|persons?|cases?|records?|total"
    r"|events?|studies|scans|images)(?:$|[ _.)-])",
    re.IGNORECASE,
)
_IDENTIFIER: Final = re.compile(
    r"(?:^|[ _.-])(?:id|ids|uid|mrn|pseudonym|accession|(?:patient|subject|study|series|visit|instance|person)"
    r"[ _.-]?(?:id|uid|key|no|number|name|pseudonym)|(?:patient|subject)(?:id|uid))(?:$|[ _.-])",
    re.IGNORECASE,
)
_EXTREME: Final = re.compile(r"(?:^|[ _.-])(?:min|max|minimum|maximum)(?:$|[ _.-])", re.IGNORECASE)
_WHOLE: Final = re.compile(r"[+-]?\d{1,18}(?:\.0+)?")
_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d*)?|\.\d{1,18})(?:[eE][+-]?\d{1,3})?")


def parse_table(text: str, *, tabs: bool = False) -> list[list[str]]:
    """The cells of delimited text, header first; the delimiter is the one that splits the first lines evenly.

    Raises ``InvalidError`` for more cells than can be reviewed or broken quoting.
    """
    lines = text.splitlines()
    delimiter = "\t" if tabs else _delimiter(lines[:20])
    rows: list[list[str]] = []
    cells = 0
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            cells += len(row)
            if cells > MAX_CELLS:
                raise InvalidError(f"table: wanted at most {MAX_CELLS} cells, got more")
            if row:
                rows.append(row)
    except csv.Error:
        raise InvalidError("table: wanted delimited text, got something else") from None
    return rows


def observe_table(rows: Sequence[Sequence[str]]) -> Iterator[Observation]:
    """All observations of a table whose first row is its header; places are lines and spreadsheet cells."""
    if len(rows) < 2:
        return
    body = rows[1:]
    if len(body) > MANY_ROWS:
        yield seen("table_rows", where={"line": len(rows)})
    width = max(len(row) for row in rows)
    for column in range(width):
        header = rows[0][column] if column < len(rows[0]) else ""
        yield from _column(header, [row[column].strip() if column < len(row) else "" for row in body], column)
    yield from _extreme_rows(body)


def _column(header: str, values: list[str], column: int) -> Iterator[Observation]:
    filled = [value for value in values if value]
    distinct = len(set(filled))
    top = {"line": 1, "cell": cell_name(0, column)}
    identifies = bool(_IDENTIFIER.search(_words(header)))
    if identifies and distinct >= MIN_ROWS_FOR_ROW_LEVEL:
        yield seen("row_level_data", where=top)
    elif len(filled) >= MIN_ROWS_FOR_DISTINCT and distinct == len(filled) and not _measure(filled) and header:
        yield seen("distinct_values", where=top)
    if _EXTREME.search(_words(header)):
        yield seen("extreme_value", where=top)
    if not identifies:
        yield from _small(header, values, column)


def _small(header: str, values: list[str], column: int) -> Iterator[Observation]:
    counts = bool(_COUNT.search(_words(header)))
    if not counts and (not all(_WHOLE.fullmatch(v) for v in values if v) or _is_index(values)):
        return
    rule = "small_cells" if counts else "small_numbers"
    for index, value in enumerate(values):
        if _WHOLE.fullmatch(value) and 0 < float(value) < THRESHOLD:
            yield seen(rule, where={"line": index + 2, "cell": cell_name(index + 1, column)})


def _extreme_rows(body: Sequence[Sequence[str]]) -> Iterator[Observation]:
    """``describe()`` puts its labels into the first column."""
    for index, row in enumerate(body):
        if row and _EXTREME.search(_words(row[0])) and any(_NUMBER.fullmatch(cell.strip()) for cell in row[1:]):
            yield seen("extreme_value", where={"line": index + 2, "cell": cell_name(index + 1, 0)})


def _is_index(values: list[str]) -> bool:
    """Whether the column counts its rows: 0, 1, 2 … or 1, 2, 3 …"""
    return bool(values) and any(values == [str(start + i) for i in range(len(values))] for start in (0, 1))


def _measure(filled: list[str]) -> bool:
    """Whether all values are numbers with a fraction: those differ in every row without naming anybody."""
    return all(_NUMBER.fullmatch(v) for v in filled) and not all(_WHOLE.fullmatch(v) for v in filled)


def _words(header: str) -> str:
    """``PatientID`` as ``Patient ID``, so that one pattern reads both spellings."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header.strip())


def _delimiter(lines: list[str]) -> str:
    counts = {d: [line.count(d) for line in lines if line] for d in DELIMITERS}
    even = {d: c[0] for d, c in counts.items() if c and c[0] and len(set(c)) == 1}
    return max(even, key=lambda d: even[d]) if even else ","


def cell_name(row: int, column: int) -> str:
    """The spreadsheet name of a cell: row 0, column 0 is A1."""
    letters = ""
    number = column + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row + 1}"
