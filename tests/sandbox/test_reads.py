"""What a cell read stands in the record of its end."""

from __future__ import annotations

import time
from typing import Any


def test_the_record_counts_every_object_though_it_names_only_some(stand: Any, notebook: Any) -> None:
    stand.far.objects = tuple(f"series/{number}" for number in range(1000))
    notebook.run("1")
    end = time.monotonic() + 30
    while not (events := stand.ledger.events(kind="cell.execute", outcome="ok")) and time.monotonic() < end:
        time.sleep(0.05)
    assert events[0]["detail"]["objects_total"] == 1000
    assert events[0]["objects"] == list(stand.far.objects[:200])
