"""Kernels and saved outputs under a clock that is set back: nothing ended comes back, no budget is used twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clocks import ShiftedClock
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.errors import DeniedError, UnavailableError
from enclave.runtime.log import Log
from enclave.sandbox.display_budgets import DisplayBudgets
from enclave.sandbox.gate_desk import GateDesk
from enclave.sandbox.owner import Owner
from enclave.sandbox.tap.amounts import NOTHING, Amount
from enclave.sandbox.tap.policy import Budget, DisplayPolicy
from enclave.wire.client import WireClient
from enclave.wire.messages import facts, launcher
from enclave.wire.messages import projects as pm
from enclave.wire.peer import WireServer

pytestmark = pytest.mark.row("S10.4")
HOUR_S = 3_600.0


class Heard:
    """What an audit client has heard of the ledger's time."""

    ledger_time: datetime | None = datetime(2020, 1, 1, tzinfo=UTC)


def budgets(path: Path, clock: Any) -> DisplayBudgets:
    """Ten pictures in an hour and thirty in a day for everybody."""
    small = {"cell": Budget(mb=1, images=10, rows=10), "hour": Budget(mb=1024, images=10, rows=10_000)}
    policy = DisplayPolicy(**small, day=Budget(mb=4096, images=30, rows=10_000))
    return DisplayBudgets(path, default=policy, changes={}, clock=clock, log=Log("test"))


def shown(found: DisplayBudgets, pictures: int, project: str = "demo") -> bool:
    return found.draw("rosa", project, need=Amount(0, pictures, 0), spare=NOTHING).granted is not None


def test_an_hours_budget_is_not_there_twice_when_the_clock_is_set_back_and_put_right(tmp_path: Path) -> None:
    machine = ShiftedClock()
    found = budgets(tmp_path / "display.json", LedgerClock(machine, Heard()))
    assert shown(found, 6)
    machine.shift_s = -2 * HOUR_S
    assert shown(found, 4)
    assert not shown(found, 1)
    machine.shift_s = 0.0
    assert not shown(found, 1)  # what was shown under the wrong clock was shown in this hour
    machine.shift_s = 1.2 * HOUR_S
    assert shown(found, 10)
    found.close()


def test_a_launcher_that_begins_under_a_clock_set_back_counts_by_the_ledgers_time(tmp_path: Path) -> None:
    machine, heard, path = ShiftedClock(), Heard(), tmp_path / "display.json"
    found = budgets(path, LedgerClock(machine, heard))
    assert shown(found, 6)
    heard.ledger_time = machine.now()
    found.close()
    machine.shift_s = -2 * HOUR_S
    found = budgets(path, LedgerClock(machine, heard))
    assert shown(found, 4)
    machine.shift_s = 0.0
    assert not shown(found, 1)
    found.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-3 * HOUR_S, 0.0), st.integers(1, 4)), max_size=20))
def test_no_sequence_of_steps_back_shows_more_in_an_hour_than_its_budget(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, int]]
) -> None:
    machine, heard = ShiftedClock(), Heard()
    heard.ledger_time = machine.now()
    found = budgets(tmp_path_factory.mktemp("budgets") / "display.json", LedgerClock(machine, heard))
    found._closing.set()  # nothing is written: this is about what is granted
    total = 0
    for machine.shift_s, pictures in steps:
        total += pictures if shown(found, pictures) else 0
    assert total <= 10
    found.close()


# ── saved outputs ───────────────────────────────────────────────────────────


@pytest.fixture
def desk(auditd: Any, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """The gate's desk in a launcher, for rosa, with a registry that knows her project."""
    demo = pm.Project(name="demo", title="", purpose="", state="open", members={"rosa": "researcher"})
    table: dict[type[Any], Callable[[Any, Any], Any]] = {
        facts.ProjectsOf: lambda _m, _c: pm.ProjectList(projects=(demo,)),
        facts.AskEngagements: lambda _m, _c: facts.EngagementList(engagements=()),
    }
    registry = WireServer(auditd.home.socket("registryd"), table, log=Log("registryd"), allowed_uids=None)
    registry.start()
    machine = ShiftedClock()
    clock = LedgerClock(machine, AuditClient(auditd.home.socket("auditd")))
    display = budgets(tmp_path / "display.json", clock)
    places = SimpleNamespace(runtime=SimpleNamespace(home=auditd.home))
    owner = Owner(id="0" * 32, person="rosa", front=tmp_path, view="view")
    shop: Any = SimpleNamespace(places=places, display=display, time=clock, clock=machine)
    yield SimpleNamespace(gate=GateDesk(shop, owner), display=display, machine=machine, registry=registry)
    display.close()
    registry.close()


FILE = launcher.ShowFile(path="demo/look.ipynb", size_bytes=1 << 20)


def left(desk: SimpleNamespace, project: str) -> int:
    return int(desk.display.left("rosa", project)["hour"][0]) >> 20


def test_a_saved_file_counts_for_its_project_and_one_of_no_project_for_none(desk: SimpleNamespace) -> None:
    desk.gate.show(FILE)
    assert (left(desk, "demo"), left(desk, "")) == (1023, 1024)


def test_under_a_clock_set_back_no_saved_file_is_shown_and_none_counts_for_no_project(desk: SimpleNamespace) -> None:
    desk.gate.show(FILE)
    desk.machine.shift_s = -60.0
    with pytest.raises(DeniedError) as refused:
        desk.gate.show(FILE)
    assert refused.value.code == "clock_step"
    assert (left(desk, "demo"), left(desk, "")) == (1023, 1024)
    desk.machine.shift_s = 0.0
    desk.gate.show(FILE)


def test_while_nobody_says_whose_project_it_is_no_saved_file_is_shown(desk: SimpleNamespace) -> None:
    desk.registry.close()
    with pytest.raises(UnavailableError):
        desk.gate.show(FILE)
    assert (left(desk, "demo"), left(desk, "")) == (1024, 1024)


# ── kernels ─────────────────────────────────────────────────────────────────


@pytest.fixture
def machine_clock(request: pytest.FixtureRequest) -> ShiftedClock | None:
    """The ledger's clock, which a launcher that is a process of its own does not share."""
    return ShiftedClock() if "stand" in request.fixturenames else None


def test_a_launcher_whose_clock_is_behind_the_ledger_starts_no_kernel_and_that_is_on_record(
    stand: Any, machine_clock: ShiftedClock
) -> None:
    client = WireClient(stand.service_socket())
    machine_clock.shift_s = 60.0
    stand.ledger.client.record("audit.rebuild", actor="service:test")
    with pytest.raises(DeniedError) as refused:
        client.call(launcher.StartKernel(project="demo"))
    assert refused.value.code == "clock_step"
    (event,) = stand.ledger.events(kind="kernel.start")
    assert (event["outcome"], event["reason"]) == ("refused", "clock_step")
    assert stand.far.opened == []
    client.close()
