"""What an auditor may ask the query store: one SELECT over the views, and no function that is a door.

Outside access is off and the configuration locked, but a table function may still change the engine for everybody
(``enable_logging`` shows one auditor what another asks), end its process (``pandas_scan(NULL)``) or be handed SQL in a
text that nobody looked at (``query``). So only those on a list are taken, wherever in the statement they stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import duckdb

from enclave.core.errors import InvalidError

TABLE_FUNCTIONS: Final = (
    *("generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"),
    *("duckdb_columns", "duckdb_functions", "duckdb_settings", "duckdb_tables", "duckdb_types", "duckdb_views"),
)


def one_select(sql: str, *, engine: duckdb.DuckDBPyConnection) -> str:
    """The text of the one SELECT in ``sql``; raises ``InvalidError`` for more, less, and what it may not call.

    Raises ``duckdb.Error`` when it cannot be parsed.
    """
    # By this engine: the module would parse with a database of its own, which may read files and fetch extensions,
    # and some statements (IMPORT DATABASE) read the files that they name while they are parsed.
    statements = engine.extract_statements(sql)
    text = statements[0].query.strip().rstrip(";") if len(statements) == 1 else ""
    # DuckDB rewrites some PRAGMAs into a SELECT of its own; those are none that were asked for.
    if not text or statements[0].type != duckdb.StatementType.SELECT or text not in sql:
        raise InvalidError("audit query: wanted one SELECT, got something else", code="not_a_select")
    for name in _table_functions(_parsed(text, engine)):
        if name not in TABLE_FUNCTIONS:
            known = ", ".join(TABLE_FUNCTIONS)
            raise InvalidError(
                f"audit query: wanted the views and of table functions only {known}, got another",
                code="function_not_allowed",
            )
    return text


def _parsed(text: str, engine: duckdb.DuckDBPyConnection) -> Any:
    """The statement as the engine's own parser understands it."""
    row = engine.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    try:
        found = json.loads(row[0]) if row else {}
    except (ValueError, RecursionError):
        found = {}
    if found.get("error") is not False:
        raise InvalidError("audit query: wanted a SELECT that can be looked through, got another", code="not_a_select")
    return found


def _table_functions(parsed: Any) -> Iterator[str]:
    """The names of all table functions in a parsed statement, at whatever depth."""
    left = [parsed]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        elif isinstance(node, dict):
            if node.get("type") == "TABLE_FUNCTION":
                yield str(node.get("function", {}).get("function_name", "")).lower()
            left += node.values()
