"""Nothing is handed in that nobody can say of which cell it is."""

from __future__ import annotations

import os
from typing import Any

import pytest

from enclave.core.errors import InvalidError, NotFoundError, UnavailableError
from enclave.wire import page
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock as m

CELL = "ab" * 16


def test_after_a_start_of_the_airlock_nothing_is_taken_before_the_page_is_there_again(airlock: Any) -> None:
    kernel = airlock.kernel()
    kernels, airlock.kernels = airlock.kernels, {}
    airlock.stop()
    airlock.start()
    airlock.kernels = kernels
    with pytest.raises(UnavailableError) as refused:
        airlock.submit()
    assert refused.value.code == "execution_unknown"
    (event,) = airlock.auditd.events(kind="egress.submit")
    assert (event["outcome"], event["reason"], event.get("cell")) == ("refused", "execution_unknown", None)
    airlock.pages[kernel].show(CELL)
    airlock.hand_over(kernel)
    assert airlock.show("ada", airlock.submit().id).cell == CELL


def test_a_page_that_does_not_become_whole_is_a_refusal(airlock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LOOK_S", 0.01)
    kernel = airlock.kernel()
    airlock.pages[kernel].show(CELL)
    airlock.pages[kernel]._map[:4] = b"\xff" * 4
    with pytest.raises(UnavailableError):
        airlock.submit()
    assert [one["reason"] for one in airlock.auditd.events(kind="egress.submit")] == ["page_torn"]


def test_memory_that_is_no_page_is_refused_on_record(airlock: Any, make_memory: Any) -> None:
    kernel = airlock.kernel()
    client = WireClient(airlock.home.socket("airlockd"))
    fd = make_memory(b"x")
    with pytest.raises(InvalidError):
        client.call_with_descriptors(m.TakeSubmitPage(kernel=kernel), descriptors=[fd])
    os.close(fd)
    with pytest.raises(InvalidError):
        client.call(m.TakeSubmitPage(kernel=kernel))
    client.close()
    (event, _) = airlock.auditd.events(kind="airlock.listener", outcome="refused")
    assert (event["reason"], event["kernel"], event["detail"]) == ("page_not_sealed", kernel, {"act": "page"})
    with pytest.raises(NotFoundError):
        airlock.hand_over("0" * 32)


def test_a_kernel_cannot_hand_over_a_page_of_its_own(airlock: Any) -> None:
    kernel = airlock.kernel()
    fd = airlock.pages[kernel].descriptor()
    with pytest.raises(InvalidError):
        airlock.client(airlock.socket(kernel)).call_with_descriptors(m.TakeSubmitPage(kernel=kernel), descriptors=[fd])
    os.close(fd)
