"""The watch: lost rights end the kernel in time, whatever else is down; a broker that comes back goes on watching."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enclave.broker.cache import ObjectKey, WarmCache
from enclave.broker.residual import count_survivors
from enclave.core.clock import format_time
from enclave.core.errors import DeniedError, IntegrityError, InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import VersionName
from enclave.keys.uri import file_uri
from enclave.sealed.memory import sealed_memory
from enclave.sealed.reader import open_unwrapper, verify_version
from enclave.sealed.writer import PlainObject

Stand = Any  # tests/broker/conftest.py: BrokerStand


@pytest.mark.row("S8.3")
def test_a_revoked_certificate_ends_lease_and_kernel_within_five_seconds(make_broker: Callable[..., Stand]) -> None:
    """With the settings as they come."""
    broker = make_broker()
    broker.seal()
    kernel = broker.kernel()
    lease = kernel.open()
    broker.registry.change(certificate_valid=False, certificate_reason="revoked")
    began = time.monotonic()
    assert broker.launcher.heard.wait(5)
    assert time.monotonic() - began < 5
    assert broker.launcher.ended == [(kernel.id, "certificate_revoked")]
    assert isinstance(kernel.refused(lambda: kernel.read(lease.lease, "series/1.2.3")), UnavailableError)
    (event,) = broker.wait_for(lambda: broker.events(kind="lease.end"))
    assert (event["reason"], event["kernel"], event["actor"]) == ("certificate_revoked", kernel.id, "rosa")
    assert event["detail"] == {"lease": lease.lease}


@pytest.mark.row("S8.3")
def test_a_revoked_grant_ends_lease_and_kernel_within_five_seconds(make_broker: Callable[..., Stand]) -> None:
    """With the settings as they come; a grant that was only asked for again opens nothing."""
    broker = make_broker()
    broker.seal()
    kernel = broker.kernel()
    lease = kernel.open()
    broker.registry.change(grant_state="revoked")
    began = time.monotonic()
    assert broker.launcher.heard.wait(5)
    assert time.monotonic() - began < 5
    assert broker.launcher.ended == [(kernel.id, "grant_revoked")]
    assert isinstance(kernel.refused(lambda: kernel.read(lease.lease, "series/1.2.3")), UnavailableError)
    (event,) = broker.wait_for(lambda: broker.events(kind="lease.end"))
    assert (event["reason"], event["kernel"], event["actor"]) == ("grant_revoked", kernel.id, "rosa")
    broker.registry.change(grant_state="requested")
    other = broker.kernel()
    assert other.refused(other.open).code == "not_granted"


def test_a_lease_ends_with_its_grant_when_that_is_sooner_than_the_certificate(broker: Stand) -> None:
    kernel = broker.kernel()
    until = format_time(datetime.now(UTC) + timedelta(seconds=3))
    broker.registry.change(grant_until=until)
    assert kernel.open().expires == until
    broker.wait_for(lambda: broker.launcher.ended == [(kernel.id, "grant_over")])


def test_a_certificate_that_expires_ends_the_lease_without_anybody_asking(broker: Stand) -> None:
    kernel = broker.kernel()
    broker.registry.change(expires=format_time(datetime.now(UTC) + timedelta(seconds=3)))
    kernel.open()
    assert broker.wait_for(lambda: broker.launcher.ended) == [(kernel.id, "certificate_expired")]


def test_a_certificate_expires_even_while_the_registry_is_away(broker: Stand) -> None:
    kernel = broker.kernel()
    broker.registry.change(expires=format_time(datetime.now(UTC) + timedelta(seconds=3)))
    kernel.open()
    broker.registry.stop()
    assert broker.wait_for(lambda: broker.launcher.ended) == [(kernel.id, "certificate_expired")]


def test_a_person_who_leaves_the_project_loses_the_kernel_and_others_keep_theirs(broker: Stand) -> None:
    broker.registry.known["rita", "demo", "demo-ct", 1] = broker.registry.known["rosa", "demo", "demo-ct", 1]
    leaving, staying = broker.kernel(), broker.kernel(person="rita")
    leaving.open()
    lease = staying.open().lease
    del broker.registry.known["rosa", "demo", "demo-ct", 1]
    broker.wait_for(lambda: broker.launcher.ended)
    assert [kernel for kernel, _ in broker.launcher.ended] == [leaving.id]
    assert staying.read(lease, "series/1.2.3")


def test_an_end_does_not_wait_for_the_ledger_and_is_written_once_it_is_back(broker: Stand) -> None:
    kernel = broker.kernel()
    kernel.open()
    broker.audit.stop()
    broker.registry.change(project_state="closed")
    broker.wait_for(lambda: broker.launcher.ended == [(kernel.id, "project_not_open")])
    broker.audit.start()
    (event,) = broker.wait_for(lambda: broker.events(kind="lease.end"))
    assert event["reason"] == "project_not_open"


def test_a_closed_kernel_has_no_lease_any_more(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    broker.close(kernel)
    broker.close(kernel)
    assert isinstance(kernel.refused(lambda: kernel.read(lease, "series/1.2.3")), UnavailableError)
    (event,) = broker.wait_for(lambda: broker.events(kind="lease.end"))
    assert event["reason"] == "kernel_ended"
    assert broker.launcher.ended == []
    assert isinstance(kernel.refused(lambda: broker.reads(kernel, "a" * 32)), NotFoundError)


def test_a_broker_that_comes_back_goes_on_with_its_leases(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    before = kernel.read(lease, "series/1.2.3")
    broker.stop()
    assert isinstance(kernel.refused(lambda: kernel.read(lease, "series/1.2.3")), UnavailableError)
    broker.start()
    assert kernel.read(lease, "series/1.2.3") == before
    assert broker.events(kind="dataset.read")[-1]["cell"] == "background"


def test_a_right_lost_while_the_broker_was_away_ends_the_kernel(broker: Stand) -> None:
    kernel = broker.kernel()
    kernel.open()
    broker.stop()
    broker.registry.change(certificate_valid=False, certificate_reason="revoked")
    broker.start()
    assert broker.wait_for(lambda: broker.launcher.ended) == [(kernel.id, "certificate_revoked")]


def test_a_kernel_that_went_while_the_broker_was_away_is_forgotten(broker: Stand) -> None:
    kernel = broker.kernel()
    kernel.open()
    broker.stop()
    shutil.rmtree(kernel.directory)
    broker.start()
    (event,) = broker.wait_for(lambda: broker.events(kind="lease.end"))
    assert (event["reason"], event["kernel"]) == ("kernel_gone", kernel.id)


def test_a_broker_with_a_damaged_record_of_leases_does_not_start(broker: Stand) -> None:
    broker.stop()
    (broker.audit.home.state("broker") / "leases.json").write_text("{}")
    with pytest.raises(IntegrityError):
        broker.start()


def test_a_second_broker_on_the_same_home_does_not_start(broker: Stand) -> None:
    first = broker.daemon
    kernel = broker.kernel()
    lease = kernel.open().lease
    record = (broker.audit.home.state("broker") / "leases.json").read_bytes()
    with pytest.raises(UnavailableError):
        broker.start()
    broker.daemon = first
    assert kernel.read(lease, "series/1.2.3")
    assert (broker.audit.home.state("broker") / "leases.json").read_bytes() == record


# ── warm objects ────────────────────────────────────────────────────────────


def memory(size: int) -> int:
    return sealed_memory(size, fill=lambda put: put(memoryview(bytes(size))))


def test_the_cache_stays_within_its_bytes_and_drops_what_was_used_least() -> None:
    cache = WarmCache(1000)
    loads: list[str] = []

    def get(name: str, size: int = 400) -> None:
        def load() -> int:
            loads.append(name)
            return memory(size)

        fd = cache.handle(ObjectKey("root", name), load=load)
        assert os.fstat(fd).st_size == size
        os.close(fd)
        assert cache.size_bytes <= 1000

    for name in ("a", "b", "a", "c", "a", "b"):
        get(name)
    assert loads == ["a", "b", "c", "b"]
    get("huge", 5000)
    get("huge", 5000)
    assert loads[-2:] == ["huge", "huge"]
    cache.forget("root")
    assert cache.size_bytes == 0
    cache.close()


def test_an_object_wanted_by_many_at_once_is_decrypted_once() -> None:
    cache = WarmCache(10_000)
    loads: list[int] = []
    together = threading.Barrier(8)

    def load() -> int:
        loads.append(1)
        time.sleep(0.05)
        return memory(100)

    def work() -> None:
        together.wait()
        os.close(cache.handle(ObjectKey("root", "x"), load=load))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    cache.close()


def test_what_could_not_be_loaded_is_tried_again() -> None:
    cache = WarmCache(10_000)

    def fail() -> int:
        raise IntegrityError("damaged")

    for _ in range(2):
        with pytest.raises(IntegrityError):
            cache.handle(ObjectKey("root", "x"), load=fail)
    assert not cache.warm(ObjectKey("root", "x"))


@pytest.mark.row("S16.5")
def test_what_nobody_may_read_any_more_is_not_kept_warm(broker: Stand) -> None:
    kernel = broker.kernel()
    kernel.read(kernel.open().lease, "series/1.2.3")
    assert broker.daemon._cache.size_bytes > 0
    broker.registry.change(certificate_valid=False, certificate_reason="revoked")
    broker.wait_for(lambda: broker.launcher.ended)
    broker.wait_for(lambda: broker.daemon._cache.size_bytes == 0)


# ── the demo's check ────────────────────────────────────────────────────────


@pytest.mark.row("S13.6")
def test_survivors_are_counted_in_names_headers_and_bytes_across_every_seam(broker: Stand) -> None:
    edge = (1 << 20) - 40 - 16
    planted = [b"Alpha^Anna", b"Beta^Bert", b"Gamma^Gus", b"Delta^Dan"]
    chunk = b"." * (edge - 3) + planted[0] + b"." * 5000
    header = {"dtype": "uint8", "shape": [len(chunk)], "note": planted[1].decode()}
    done = broker.seal(
        PlainObject(name="series/1", kind="series", header=header, chunks=chunk),
        PlainObject(name="review/Gamma", kind="review", header={}, chunks=planted[2] * 3),
    )
    home = broker.audit.home
    assert count_survivors(home, "demo-ct", done.version, planted) == 3
    assert count_survivors(home, "demo-ct", done.version, [planted[3], b"nobody"]) == 0
    assert count_survivors(home, "demo-ct", done.version, [b"review/Gamma"]) == 1
    assert count_survivors(home, "demo-ct", 1, planted) == 0
    with pytest.raises(InvalidError):
        count_survivors(home, "demo-ct", 1, [])
    with pytest.raises(NotFoundError):
        count_survivors(home, "demo-ct", 99, planted)


@pytest.mark.row("S4.4")
def test_whoever_sealed_cannot_open_what_the_broker_can(broker: Stand) -> None:
    home = broker.audit.home
    name = VersionName("demo-ct", 1)
    own = open_unwrapper(file_uri(home.key_file("kek")))
    assert verify_version(broker.store, name, unwrapper=own) == []
    with pytest.raises((IntegrityError, DeniedError)):
        open_unwrapper(file_uri(home.key_file("kek").with_suffix(".pub")))
