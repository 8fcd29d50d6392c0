"""A kernel behind its tap, from a real client."""

from __future__ import annotations

from typing import Any


def test_a_cell_runs_in_the_sandbox_and_stands_in_the_ledger(stand: Any, notebook: Any) -> None:
    reply, text = notebook.run("import os; print(os.getuid(), 6 * 7)")
    assert reply["status"] == "ok"
    assert text == "1000 42\n"
    notebook.run("pass")
    events = stand.ledger.events(kind="cell.execute")
    assert [event["outcome"] for event in events][:2] == ["intent", "ok"]
    assert events[0]["cell"] == events[1]["cell"]
    assert events[1]["objects"] == ["tables/patients"]
