"""What a kernel keeps is no way around the limits of what it came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import enclave_kernel
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import EnclaveError
from enclave.wire.messages.broker import LoadIntermediate, SaveIntermediate
from enclave_kernel.errors import EnclaveError as KernelError
from enclave_kernel_views.kept import parts_of, value_of

Stand = Any
CANARY = b"Canary^Carla-19010203"


def drop_connection() -> None:
    enclave_kernel.dataset._lease._drop()


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """As if this process were the kernel that it is given."""

    def be(kernel: Any) -> None:
        drop_connection()
        monkeypatch.setenv("ENCLAVE_RUN_DIR", str(kernel.directory))

    yield be
    drop_connection()


@pytest.fixture
def inside(broker: Stand, become: Any) -> Any:
    kernel = broker.kernel()
    become(kernel)
    return kernel


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(KernelError) as caught:
        act()
    return str(caught.value.code)


def sealed_files(broker: Stand) -> list[Path]:
    return sorted(broker.audit.home.state("broker").rglob("*.sealed"))


def test_bytes_arrays_and_tables_come_back_as_they_were(inside: Any) -> None:
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}, index=[3, 4])
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for value in (b"", b"abc", volume, volume[:, ::2], np.array(["a", "bc"]), np.float64([]), frame):
        enclave_kernel.save("thing", value)
        found = enclave_kernel.load("thing")
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found, value)
        elif isinstance(value, np.ndarray):
            assert np.array_equal(found, value)
            assert (found.dtype, found.shape, found.flags.writeable) == (value.dtype, value.shape, False)
        else:
            assert found == value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    shape=st.lists(st.integers(0, 4), min_size=0, max_size=3), kind=st.sampled_from(["u1", "<i2", "<f4", "<c16", "?"])
)
def test_any_array_of_numbers_survives(shape: list[int], kind: str) -> None:
    value = np.ones(shape, dtype=kind)
    name, header, parts = parts_of(value)
    found = value_of(name, header, b"".join(bytes(memoryview(part).cast("B")) for part in parts))
    assert np.array_equal(found, value)
    assert found.shape == value.shape


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, np.array([object()]), "text"])
def test_what_would_have_to_be_pickled_is_refused(inside: Any, value: Any) -> None:
    with pytest.raises(KernelError):
        enclave_kernel.save("thing", value)


def test_it_inherits_lineage_and_the_first_expiry_and_both_acts_are_recorded(broker: Stand, inside: Any) -> None:
    broker.cell(inside, "ab" * 16)
    ds = enclave_kernel.open("demo-ct")
    enclave_kernel.save("mask", np.zeros(3))
    enclave_kernel.load("mask")
    saved, loaded = (broker.events(kind=f"intermediate.{act}", outcome="ok")[0] for act in ("save", "load"))
    for event in (saved, loaded):
        assert event["cell"] == "ab" * 16
        assert event["detail"]["lineage"] == ["demo-ct@1"]
        assert event["detail"]["expires"] <= ds.expires
    assert [one["outcome"] for one in broker.events(kind="intermediate.save")] == ["intent", "ok"]
    assert "mask" not in str(broker.events())
    assert broker.reads(inside, "ab" * 16).datasets == ("demo-ct@1",)


def test_a_certificate_that_ends_sooner_ends_what_came_of_it(broker: Stand, inside: Any) -> None:
    soon = format_time(datetime.now(UTC) + timedelta(days=2))
    broker.registry.change(expires=soon)
    enclave_kernel.open("demo-ct")
    reply = enclave_kernel.save("mask", b"x")
    assert reply == f"kept until {soon[:10]}"
    assert parse_time(broker.events(kind="intermediate.save")[0]["detail"]["expires"]) <= parse_time(soon)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"certificate_valid": False, "certificate_reason": "revoked"}, "certificate_revoked"),
        ({"grant_state": "revoked"}, "grant_revoked"),
        ({"member_role": ""}, "not_a_member"),
        ({"project_state": "closed"}, "project_not_open"),
        ({"version_state": "withdrawn"}, "version_not_usable"),
    ],
)
def test_what_takes_the_source_away_takes_it_away_too(
    broker: Stand, inside: Any, become: Any, change: dict[str, Any], reason: str
) -> None:
    enclave_kernel.open("demo-ct")
    enclave_kernel.save("mask", b"x")
    broker.registry.change(**change)
    become(broker.kernel())
    assert refused(lambda: enclave_kernel.load("mask")) == reason
    (event,) = broker.events(kind="intermediate.load")
    assert (event["outcome"], event["reason"]) == ("refused", reason)


def test_a_kernel_that_loaded_it_holds_leases_and_passes_the_lineage_on(
    broker: Stand, inside: Any, become: Any
) -> None:
    enclave_kernel.open("demo-ct")
    enclave_kernel.save("mask", b"x")
    other = broker.kernel()
    become(other)
    enclave_kernel.load("mask")
    enclave_kernel.save("derived", b"y")
    assert broker.events(kind="intermediate.save", outcome="ok")[-1]["detail"]["lineage"] == ["demo-ct@1"]
    broker.registry.change(grant_state="revoked")
    assert broker.wait_for(lambda: (other.id, "grant_revoked") in broker.launcher.ended)


def test_a_neighbour_gets_nothing(broker: Stand, inside: Any, become: Any) -> None:
    enclave_kernel.open("demo-ct")
    enclave_kernel.save("mask", b"x")
    become(broker.kernel(project="other"))
    assert refused(lambda: enclave_kernel.load("mask")) == "intermediate_unknown"
    become(broker.kernel(person="rita"))
    assert refused(lambda: enclave_kernel.load("mask")) == "not_a_member"
    become(broker.kernel(role="expert", project=""))
    assert refused(lambda: enclave_kernel.load("mask")) == "no_project"
    assert refused(lambda: enclave_kernel.save("mask", b"x")) == "no_project"
    assert {one["outcome"] for one in broker.events(kind="intermediate.load")} == {"refused"}


def test_a_member_does_not_write_over_another_members_name(broker: Stand, inside: Any, become: Any) -> None:
    enclave_kernel.save("mask", b"x")
    become(broker.kernel(person="rita"))
    assert refused(lambda: enclave_kernel.save("mask", b"y")) == "intermediate_of_another"
    become(broker.kernel())
    enclave_kernel.save("mask", b"z")
    assert enclave_kernel.load("mask") == b"z"


def test_it_is_over_when_its_time_is_over_and_then_it_goes(make_broker: Any, become: Any) -> None:
    broker = make_broker(intermediate_days=0)
    become(broker.kernel())
    enclave_kernel.save("mask", b"x")
    assert refused(lambda: enclave_kernel.load("mask")) == "intermediate_expired"
    (old,) = sealed_files(broker)
    enclave_kernel.save("other", b"x")
    assert not old.exists()


def test_number_and_size_are_bounded(make_broker: Any, become: Any) -> None:
    broker = make_broker(intermediates=2, intermediates_mb=1)
    become(broker.kernel())
    enclave_kernel.save("a", b"x" * (600 << 10))
    enclave_kernel.save("a", b"x" * (700 << 10))  # in its own place
    assert refused(lambda: enclave_kernel.save("b", b"x" * (600 << 10))) == "intermediate_quota"
    enclave_kernel.save("b", b"x")
    assert refused(lambda: enclave_kernel.save("c", b"x")) == "intermediate_quota"
    assert len(sealed_files(broker)) == 2


def test_nothing_of_it_stands_on_the_disk_in_clear_and_no_name_either(broker: Stand, inside: Any) -> None:
    enclave_kernel.save("carla", CANARY * 1000)
    (path,) = sealed_files(broker)
    data = path.read_bytes()
    assert CANARY not in data
    assert b"carla" not in data
    assert "carla" not in str(path)


@pytest.mark.parametrize("place", [0.0, 0.05, 0.5, 0.999])
def test_a_changed_byte_opens_nothing(broker: Stand, inside: Any, place: float) -> None:
    enclave_kernel.open("demo-ct")
    enclave_kernel.save("mask", CANARY * 10)
    (path,) = sealed_files(broker)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(KernelError):
        enclave_kernel.load("mask")


def test_a_record_that_somebody_made_kinder_opens_nothing(broker: Stand, inside: Any) -> None:
    enclave_kernel.open("demo-ct")
    enclave_kernel.save("mask", b"x")
    (path,) = sealed_files(broker)
    path.write_bytes(path.read_bytes().replace(b'"lineage":["demo-ct@1"]', b'"lineage":[           ]'))
    with pytest.raises(KernelError):
        enclave_kernel.load("mask")


def test_memory_that_can_still_change_is_refused(broker: Stand, inside: Any) -> None:
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    try:
        message = SaveIntermediate(name="mask", kind="bytes", header={})
        with pytest.raises(EnclaveError):
            inside.client.call_with_descriptors(message, descriptors=[fd])
        with pytest.raises(EnclaveError):
            inside.client.call(message)
        with pytest.raises(EnclaveError):
            inside.client.call_with_descriptors(replace(message, kind="pickle"), descriptors=[fd])
    finally:
        os.close(fd)
    with pytest.raises(EnclaveError):
        inside.client.call(LoadIntermediate(name="../mask"))


def test_without_the_ledger_nothing_is_kept_and_nothing_loaded(broker: Stand, inside: Any) -> None:
    enclave_kernel.save("mask", b"x")
    broker.audit.stop()
    with pytest.raises(KernelError):
        enclave_kernel.save("other", b"x")
    with pytest.raises(KernelError):
        enclave_kernel.load("mask")
    assert len(sealed_files(broker)) == 1
    broker.audit.start()
