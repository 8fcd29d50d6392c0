"""What runs in a kernel stands on its tap's page; without a whole word there, the kernel is given nothing."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

import pytest

from enclave.broker.daemon import BrokerDaemon
from enclave.core.errors import DeniedError, InvalidError, NotFoundError, UnavailableError
from enclave.runtime.log import Log
from enclave.wire import page
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import ListDatasets, ListObjects, LoadIntermediate, SaveIntermediate, TakePage
from enclave.wire.page import ExecutionPage

Stand = Any  # tests/broker/conftest.py: BrokerStand
CELL = "a" * 32


def restarted(broker: Stand) -> None:
    """Another broker, to which no tap has handed a page yet."""
    kernels, broker.kernels = broker.kernels, []
    broker.stop()
    broker.start()
    broker.kernels = kernels


def sealed_memory() -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, b"x")
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def everything(kernel: Any, lease: str) -> list[tuple[str, Callable[[], Any]]]:
    """All that a kernel can ask, and the event that its refusal is."""

    def save() -> None:
        fd = sealed_memory()
        try:
            kernel.client.call_with_descriptors(SaveIntermediate(name="x", kind="bytes", header={}), descriptors=[fd])
        finally:
            os.close(fd)

    return [
        ("dataset.list", lambda: kernel.client.call(ListDatasets())),
        ("dataset.open", kernel.open),
        ("dataset.open", lambda: kernel.client.call(ListObjects(lease=lease, after=""))),
        ("dataset.read", lambda: kernel.read(lease, "tables/patients")),
        ("intermediate.save", save),
        ("intermediate.load", lambda: kernel.client.call(LoadIntermediate(name="x"))),
    ]


@pytest.mark.row("S10.1")
def test_after_a_start_of_the_broker_nothing_is_given_before_the_page_is_there_again(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    restarted(broker)
    for kind, act in everything(kernel, lease):
        error = kernel.refused(act)
        assert isinstance(error, UnavailableError)
        assert error.code == "execution_unknown"
        event = broker.events(kind=kind, outcome="refused")[-1]
        assert (event["reason"], event.get("cell"), event["kernel"]) == ("execution_unknown", None, kernel.id)
    assert len(broker.events(outcome="refused")) == 6
    kernel.page.show(CELL)
    broker.hand_over(kernel)
    kernel.read(lease, "tables/patients")
    assert broker.events(kind="dataset.read", outcome="ok")[-1]["cell"] == CELL


def test_a_page_that_does_not_become_whole_is_a_refusal_and_no_cell(
    broker: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LOOK_S", 0.01)
    kernel = broker.kernel()
    lease = kernel.open().lease
    kernel.page.show(CELL)
    kernel.page._map[:4] = b"\xff" * 4  # as if its tap had been killed while it wrote
    for _, act in everything(kernel, lease):
        assert kernel.refused(act).code == "page_torn"
    assert not broker.events(kind="dataset.read", outcome="ok")
    assert [one["reason"] for one in broker.events(kind="dataset.read")] == ["page_torn"]


def test_memory_that_is_no_page_is_refused_on_record_and_the_page_of_before_stands(broker: Stand) -> None:
    kernel = broker.kernel()
    client = WireClient(broker.audit.home.socket("brokerd"))
    fd = sealed_memory()
    with pytest.raises(InvalidError):
        client.call_with_descriptors(TakePage(kernel=kernel.id), descriptors=[fd])
    os.close(fd)
    with pytest.raises(InvalidError):
        client.call(TakePage(kernel=kernel.id))
    client.close()
    (event, _) = broker.events(kind="broker.listener", outcome="refused")
    assert (event["reason"], event["detail"]) == ("page_not_sealed", {"act": "page", "uid": os.getuid()})
    kernel.page.show(CELL)
    kernel.open()
    assert broker.events(kind="dataset.open", outcome="ok")[-1]["cell"] == CELL


def test_nobody_but_a_tap_of_this_enclave_hands_a_page_over(broker: Stand) -> None:
    kernel = broker.kernel()
    broker.stop()
    others = BrokerDaemon(
        broker.audit.home, log=Log("brokerd"), settings=broker.settings, allowed_uids=frozenset({os.getuid() + 1})
    )
    others.start()
    try:
        with pytest.raises(DeniedError):
            broker.hand_over(kernel)
        assert kernel.refused(kernel.open).code == "execution_unknown"
    finally:
        others.close()


def test_the_page_of_one_kernel_says_nothing_of_another_of_the_same_person(
    broker: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LOOK_S", 0.01)
    one, two = broker.kernel(), broker.kernel()
    one.page.show(CELL)
    two.open()
    assert broker.events(kind="dataset.open", outcome="ok")[-1]["cell"] == "background"
    two.page = one.page
    broker.hand_over(two)
    assert two.refused(two.open).code == "page_torn"


def test_a_kernel_that_begins_anew_has_no_page_before_its_tap_hands_it_over(broker: Stand) -> None:
    kernel = broker.kernel()
    kernel.page.show(CELL)
    _, told = broker.hand_over(kernel)
    broker.close(kernel)
    assert told.change() == 1  # the tap asks before the next cell
    with pytest.raises(NotFoundError):
        broker.hand_over(kernel)


def test_an_ended_lease_is_told_on_the_page_at_once(broker: Stand) -> None:
    kernel = broker.kernel()
    kernel.open()
    said, told = broker.hand_over(kernel)
    assert (said.count, told.change()) == (1, said.change)
    broker.registry.change(grant_state="revoked")
    broker.wait_for(lambda: told.change() == said.change + 1)
    assert broker.launcher.heard.wait(30)


def test_a_kernel_cannot_hand_over_a_page_of_its_own(broker: Stand) -> None:
    kernel = broker.kernel()
    own = ExecutionPage(kernel.id)
    own.show("b" * 32)
    fd = own.descriptor()
    with pytest.raises(InvalidError):
        kernel.client.call_with_descriptors(TakePage(kernel=kernel.id), descriptors=[fd])
    os.close(fd)
    kernel.open()
    assert broker.events(kind="dataset.open", outcome="ok")[-1]["cell"] == "background"
