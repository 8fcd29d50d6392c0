"""What came of a cell is recorded, whatever else is sent to its kernel while the ledger is away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enclave.audit.event import Event
from enclave.core.errors import InvalidError, UnavailableError
from enclave.runtime.log import Log
from enclave.sandbox.tap import debts as module
from enclave.sandbox.tap.debts import MAX_REFUSALS, Debts

ENDED = Event(
    id="0" * 32,
    time="2026-12-01T00:00:00.000000Z",
    kind="cell.execute",
    actor="rosa",
    role="researcher",
    outcome="ok",
    detail={},
)
REFUSED = replace(ENDED, kind="cell.message", outcome="refused", reason="replayed")


class Ledger:
    """Takes records, or is away."""

    def __init__(self) -> None:
        self.away = True
        self.held: list[Event] = []

    def append(self, event: Event) -> None:
        if self.away:
            raise UnavailableError("ledger: wanted an answer, got none")
        if event.reason == "bad":
            raise InvalidError("event: wanted another")
        self.held.append(event)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    return Ledger()


@pytest.fixture
def owed(ledger: Ledger) -> Debts:
    return Debts(ledger.append, more=lambda count: replace(REFUSED, detail={"count": count}), log=Log("tap"))


def test_no_flood_of_refusals_takes_the_place_of_what_came_of_a_cell(ledger: Ledger, owed: Debts) -> None:
    for number in range(3 * MAX_REFUSALS):
        owed.owe(REFUSED)
        if number % MAX_REFUSALS == 0:
            owed.owe(replace(ENDED, cell=str(number)))
    ledger.away = False
    owed.pay()
    assert [e.cell for e in ledger.held if e.outcome == "ok"] == ["0", "1000", "2000"]
    refused = [e.detail.get("count", 1) for e in ledger.held if e.outcome == "refused"]
    assert sum(refused) == 3 * MAX_REFUSALS
    assert len(refused) == MAX_REFUSALS + 1


def test_records_are_written_in_order_and_one_that_is_refused_keeps_none_back(ledger: Ledger, owed: Debts) -> None:
    for cell in ("a", "b"):
        owed.owe(replace(ENDED, cell=cell))
    owed.owe(replace(REFUSED, reason="bad"))
    owed.owe(replace(ENDED, cell="c"))
    ledger.away = False
    owed.pay()
    owed.pay()
    assert [e.cell for e in ledger.held] == ["a", "b", "c"]
