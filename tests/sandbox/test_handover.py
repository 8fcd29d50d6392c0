"""How the tap's page gets into the hands of broker and airlock, and what counts as being there."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pages import Holder

from enclave.core.errors import InvalidError, NotFoundError
from enclave.runtime.log import Log
from enclave.sandbox.tap import handover as module
from enclave.sandbox.tap.handover import Handover
from enclave.sandbox.tap.leases import KnownLeases
from enclave.wire.messages.airlock import TakeSubmitPage
from enclave.wire.messages.broker import LeaseInForce, LeasesReply, TakePage
from enclave.wire.page import ExecutionView
from enclave.wire.peer import Reply, WireServer

KERNEL, CELL = "a" * 32, "c" * 32
ONE = LeaseInForce(lease="1" * 32, version="demo-ct@1")


class Tap:
    """A hand-over with its poller."""

    def __init__(self, folder: Path) -> None:
        self.poll = select.poll()
        self.leases = KnownLeases()
        sockets = {name: str(folder / name) for name in ("broker_socket", "airlock_socket")}
        settings: Any = SimpleNamespace(kernel=KERNEL, **sockets)
        self.handover = Handover(
            settings,
            watch=lambda fd: self.poll.register(fd, select.POLLIN),
            unwatch=self.poll.unregister,
            heard=self.leases.hear,
        )

    def turn(self) -> Any:
        """One turn of the loop; the fault that it met."""
        return self.handover.hear({fd for fd, _ in self.poll.poll(self.handover.wait_ms(20))})

    @property
    def stands(self) -> bool:
        return self.handover.stands(self.leases.standing()[0])

    def until(self, what: Any) -> None:
        end = time.monotonic() + 20
        while not what():
            assert time.monotonic() < end
            assert self.turn() is None

    def shown(self) -> str | None:
        fd = self.handover._page.descriptor()
        try:
            return ExecutionView(fd, kernel=KERNEL).running()
        finally:
            os.close(fd)


def served(path: Path, request: type[Any], handler: Any) -> WireServer:
    server = WireServer(path, {request: handler}, log=Log("far"), allowed_uids=None, max_descriptors=1)
    server.start()
    return server


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Holder]:
    holder = Holder()
    servers = [
        served(tmp_path / "broker_socket", TakePage, holder.take),
        served(tmp_path / "airlock_socket", TakeSubmitPage, holder.take_submit),
    ]
    yield holder
    for server in servers:
        server.close()


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[Tap]:
    found = Tap(tmp_path)
    yield found
    found.handover.end()


def test_it_stands_once_both_hold_the_page_and_no_longer_when_the_leases_change(far: Holder, tap: Tap) -> None:
    assert not tap.stands
    tap.handover.begin()
    tap.until(lambda: tap.stands)
    assert tap.leases.standing()[0] == 0
    far.hold(LeasesReply(leases=(ONE,), count=1, change=1))
    assert not tap.stands
    tap.handover.ask(tap.leases.standing()[0])
    tap.until(lambda: tap.stands)
    change, leases = tap.leases.standing()
    assert (change, leases.named) == (1, ((ONE.lease, ONE.version),))
    assert [who for who, _ in far.taken].count("airlock") == 1  # which nobody had to ask


def test_a_kernel_that_begins_keeps_the_cell_that_was_sent_to_it_and_its_end_clears_the_page(
    far: Holder, tap: Tap
) -> None:
    tap.handover.show(CELL)
    tap.handover.begin()
    tap.until(lambda: tap.stands)
    assert tap.shown() == far.running(KERNEL) == CELL
    tap.handover.end()
    assert tap.shown() is None
    assert not tap.stands


def test_a_session_that_is_not_there_is_said_and_not_asked_for_again(tmp_path: Path, tap: Tap) -> None:
    asked: list[Any] = []

    def unknown(message: Any, _: Any) -> Any:
        asked.append(message)
        raise NotFoundError("kernel: wanted one with a lease socket, got another", code="kernel_unknown")

    servers = [
        served(tmp_path / "broker_socket", TakePage, unknown),
        served(tmp_path / "airlock_socket", TakeSubmitPage, Holder().take_submit),
    ]
    tap.handover.begin()
    faults = []
    for _ in range(30):
        faults += [fault.code for fault in [tap.turn()] if fault is not None]
    assert (faults, len(asked), tap.stands) == (["kernel_unknown"], 1, False)
    for server in servers:
        server.close()


@pytest.mark.parametrize("beside", ["nothing", "memory"])
def test_an_answer_without_the_brokers_page_is_none(tmp_path: Path, tap: Tap, beside: str) -> None:
    def take(_message: Any, _call: Any) -> Any:
        fds = () if beside == "nothing" else (os.memfd_create("x", os.MFD_CLOEXEC),)
        return Reply(LeasesReply(leases=()), fds)

    servers = [
        served(tmp_path / "broker_socket", TakePage, take),
        served(tmp_path / "airlock_socket", TakeSubmitPage, Holder().take_submit),
    ]
    tap.handover.begin()
    end = time.monotonic() + 20
    while (fault := tap.turn()) is None:
        assert time.monotonic() < end
    assert isinstance(fault, InvalidError)
    assert not tap.stands
    assert tap.leases.standing()[0] == -1
    for server in servers:
        server.close()


def test_a_silent_connection_is_used_before_the_other_end_closes_it(
    far: Holder, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.05)
    tap.handover.begin()
    again = {("broker", KERNEL), ("airlock", KERNEL)}
    tap.until(lambda: all(far.taken.count(one) >= 2 for one in again))
    tap.until(lambda: tap.stands)
    assert set(far.taken) == again


def test_who_is_not_there_yet_is_asked_until_they_are(tmp_path: Path, tap: Tap) -> None:
    tap.handover.begin()
    assert tap.turn() is None
    holder = Holder()
    servers = [served(tmp_path / "airlock_socket", TakeSubmitPage, holder.take_submit)]
    tap.until(lambda: ("airlock", KERNEL) in holder.taken)
    assert not tap.stands
    assert "broker" in str(tap.handover.unavailable())
    servers.append(served(tmp_path / "broker_socket", TakePage, holder.take))
    tap.until(lambda: tap.stands)
    for server in servers:
        server.close()
