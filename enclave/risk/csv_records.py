"""Records of CSV text, whatever limit other readers of this process have set."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

MOST_CHARACTERS: Final = 131_072  # of one value


def csv_records(text: str, *, delimiter: str) -> Iterator[list[str]]:
    """One list of values per record; raises ``csv.Error`` for what is no CSV and for a value that has no end."""
    for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        if any(len(value) > MOST_CHARACTERS for value in record):
            raise csv.Error("value too long")
        yield record
