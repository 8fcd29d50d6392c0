"""Loads, when it is imported, what all workers of a pool share: once, in the process that they are forked from."""

from __future__ import annotations

import enclave.deid.pools  # noqa: F401 - what a worker runs
from enclave.deid.codes import known_meanings
from enclave.deid.iods import iod_names
from enclave.deid.table import coded_terms, defined_terms, safe_private, stems, table_rows, technical_words

known_meanings()
iod_names()
coded_terms()
defined_terms()
stems()
technical_words()
safe_private()
table_rows()
