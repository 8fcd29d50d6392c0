"""Opening and reading: works for the allowed, refused for each neighbour, and each of it in the ledger."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pages import hand_over

from enclave.broker.session import KernelIdentity, Lease, Session
from enclave.core.clock import format_time
from enclave.core.errors import (
    DeniedError,
    EnclaveError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from enclave.core.ids import VersionName
from enclave.sealed.writer import PlainObject
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import (
    CloseListener,
    LeasesReply,
    ListDatasets,
    ListObjects,
    OpenDataset,
    OpenListener,
    ReadObjects,
    TakePage,
    VerifyVersion,
)
from enclave.wire.messages.facts import Engagement
from enclave.wire.page import ExecutionPage

Stand = Any  # tests/broker/conftest.py: BrokerStand
CELL = "a" * 32
OTHER_CELL = "b" * 32


def past(days: int = 1) -> str:
    return format_time(datetime.now(UTC) - timedelta(days=days))


def future(days: int = 1) -> str:
    return format_time(datetime.now(UTC) + timedelta(days=days))


def test_a_member_opens_a_released_version_and_reads_its_objects(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open()
    assert (lease.dataset, lease.version) == ("demo-ct", 1)
    assert {item.name: item.kind for item in lease.objects} == {"series/1.2.3": "series", "tables/patients": "table"}
    table, volume = kernel.read(lease.lease, "tables/patients", "series/1.2.3")
    assert pa.ipc.open_file(table).read_all().column("patient").to_pylist() == ["p1", "p2"]
    assert volume == bytes(range(256)) * 24


def test_the_newest_released_version_is_opened_unless_one_is_named(broker: Stand) -> None:
    broker.seal()
    kernel = broker.kernel()
    assert kernel.open().version == 2
    assert kernel.open(version=1).version == 1


def test_opening_a_version_again_gives_the_same_lease(broker: Stand) -> None:
    kernel, other = broker.kernel(), broker.kernel()
    first = kernel.open()
    assert kernel.open() == first
    assert other.open().lease != first.lease
    assert kernel.read(first.lease, "series/1.2.3")
    broker.close(kernel)
    broker.wait_for(lambda: len(broker.events(kind="lease.end", kernel=kernel.id)) == 1)


def test_a_kernel_learns_what_it_may_open(broker: Stand) -> None:
    broker.seal(dataset="other-mr")
    broker.registry.known["rosa", "demo", "other-mr", 1] = broker.registry.known.pop(("rosa", "demo", "other-mr", 1))
    found = broker.kernel().client.call(ListDatasets()).datasets
    assert [(item.name, item.version, item.title) for item in found] == [
        ("demo-ct", 1, "Demo CT"),
        ("other-mr", 1, "Demo CT"),
    ]
    broker.registry.change(certificate_valid=False, certificate_reason="revoked")
    assert broker.kernel().client.call(ListDatasets()).datasets == ()
    assert [(e["actor"], e["outcome"]) for e in broker.events(kind="dataset.list")] == [("rosa", "ok")] * 2


@pytest.mark.row("S10.1")
def test_an_open_and_a_read_are_events_with_person_project_cell_and_objects(broker: Stand) -> None:
    kernel = broker.kernel()
    broker.cell(kernel, CELL)
    lease = kernel.open()
    kernel.read(lease.lease, "tables/patients")
    for kind in ("dataset.open", "dataset.read"):
        for event in broker.events(kind=kind):
            assert (event["actor"], event["role"], event["project"]) == ("rosa", "researcher", "demo")
            assert (event["kernel"], event["cell"]) == (kernel.id, CELL)
            assert (event["dataset"], event["version"]) == ("demo-ct", 1)
    assert [event["outcome"] for event in broker.events(kind="dataset.open")] == ["intent", "ok"]
    assert [event["outcome"] for event in broker.events(kind="dataset.read")] == ["intent", "ok"]
    assert broker.events(kind="dataset.read")[0]["objects"] == ["tables/patients"]
    assert broker.events(kind="dataset.open")[0]["detail"]["certificate"] == "c" * 32


def test_a_warm_object_is_handed_out_with_one_event(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open()
    first = kernel.read(lease.lease, "tables/patients")
    assert kernel.read(lease.lease, "tables/patients") == first
    outcomes = [(event["outcome"], event["detail"]["warm"]) for event in broker.events(kind="dataset.read")]
    assert outcomes == [("intent", False), ("ok", False), ("ok", True)]


@pytest.mark.row("S10.1")
def test_a_read_outside_of_any_cell_is_marked_as_background(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open()
    broker.cell(kernel, CELL)
    kernel.read(lease.lease, "tables/patients")
    broker.cell(kernel, None)
    kernel.read(lease.lease, "series/1.2.3")
    found = [
        (event["cell"], event["detail"]["background"]) for event in broker.events(kind="dataset.read", outcome="ok")
    ]
    assert found == [(CELL, False), ("background", True)]


def test_the_tap_learns_what_each_cell_read(broker: Stand) -> None:
    kernel, other = broker.kernel(), broker.kernel()
    lease = kernel.open()
    broker.cell(kernel, CELL)
    kernel.read(lease.lease, "tables/patients", "series/1.2.3")
    kernel.read(lease.lease, "tables/patients")
    broker.cell(kernel, OTHER_CELL)
    kernel.read(lease.lease, "series/1.2.3")
    found = broker.reads(kernel, CELL)
    assert found.datasets == ("demo-ct@1",)
    assert found.objects == ("demo-ct@1/series/1.2.3", "demo-ct@1/tables/patients")
    assert found.object_count == 2
    assert broker.reads(kernel, OTHER_CELL).objects == ("demo-ct@1/series/1.2.3",)
    assert broker.reads(other, CELL).objects == ()


@pytest.mark.row("S4.5")
def test_what_the_kernel_gets_is_sealed_and_read_only(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open()
    message = ReadObjects(lease=lease.lease, names=("series/1.2.3",))
    _, (fd,) = kernel.client.call_with_descriptors(message, max_descriptors=1)
    seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    assert seals & 0b1111 == 0b1111
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    with pytest.raises(OSError):
        os.pwrite(fd, b"x", 0)
    os.close(fd)


def test_one_kernels_offset_does_not_move_anothers(broker: Stand) -> None:
    descriptors = []
    for kernel in (broker.kernel(), broker.kernel()):
        message = ReadObjects(lease=kernel.open().lease, names=("series/1.2.3",))
        descriptors += kernel.client.call_with_descriptors(message, max_descriptors=1)[1]
    os.lseek(descriptors[0], 100, os.SEEK_SET)
    assert os.lseek(descriptors[1], 0, os.SEEK_CUR) == 0
    for fd in descriptors:
        os.close(fd)


# ── refused, and in the ledger ──────────────────────────────────────────────

NEIGHBOURS = {
    "project_not_open": {"project_state": "closed"},
    "agreement_over": {"agreement": "over"},
    "not_a_member": {"member_role": ""},
    "not_released": {"released_to_project": False},
    "version_not_usable": {"version_state": "withdrawn"},
    "certificate_revoked": {"certificate_valid": False, "certificate_reason": "revoked"},
    "certificate_altered": {"certificate_valid": False, "certificate_reason": "altered"},
    "certificate_expired": {"expires": past()},
    "certificate_not_yet_valid": {"not_before": future()},
    "certificate_other_root": {"certificate_root": "0" * 64},
    "certificate_missing": {"certificate_id": ""},
    "not_granted": {"grant_id": "", "grant_state": ""},
    "grant_revoked": {"grant_state": "revoked"},
    "grant_over": {"grant_until": past()},
}


@pytest.mark.row("S7.1")
@pytest.mark.parametrize("reason", NEIGHBOURS)
def test_a_lease_is_refused_for_each_fact_that_does_not_hold(broker: Stand, reason: str) -> None:
    broker.registry.change(**NEIGHBOURS[reason])
    kernel = broker.kernel()
    error = kernel.refused(kernel.open)
    assert isinstance(error, DeniedError)
    assert error.code == reason
    (event,) = broker.events(kind="dataset.open")
    assert (event["outcome"], event["reason"], event["actor"], event["kernel"]) == (
        "refused",
        reason,
        "rosa",
        kernel.id,
    )


@pytest.mark.row("S7.1")
@pytest.mark.parametrize("reason", NEIGHBOURS)
def test_a_read_is_refused_as_soon_as_a_fact_does_not_hold_any_more(broker: Stand, reason: str) -> None:
    kernel = broker.kernel()
    lease = kernel.open()
    broker.registry.change(**NEIGHBOURS[reason])

    def refused() -> bool:
        try:
            kernel.read(lease.lease, "series/1.2.3")
        except EnclaveError:
            return True
        return False

    broker.wait_for(refused)
    assert broker.wait_for(lambda: broker.events(kind="lease.end", reason=reason))


@pytest.mark.parametrize(
    ("person", "role", "project"),
    [
        ("rolf", "researcher", "demo"),
        ("rosa", "researcher", "other"),
        ("rosa", "researcher", ""),
        ("rosa", "expert", "demo"),
        ("rosa", "output_checker", "demo"),
        ("service:reports", "researcher", "demo"),
        ("service:backup", "service", "demo"),
        ("rosa", "root", "demo"),
    ],
)
def test_another_person_role_or_project_gets_nothing(broker: Stand, person: str, role: str, project: str) -> None:
    kernel = broker.kernel(person=person, role=role, project=project)
    assert isinstance(kernel.refused(kernel.open), DeniedError)
    (event,) = broker.events(kind="dataset.open")
    assert (event["outcome"], event["actor"]) == ("refused", person)


def test_an_engaged_expert_opens_the_candidate_and_nobody_else_does(broker: Stand) -> None:
    done = broker.seal(dataset="candidate")
    facts = broker.registry.known.pop(("rosa", "demo", "candidate", 1))
    fields = {
        "version_state": "candidate",
        "released_to_project": False,
        "certificate_id": "",
        "project_state": "missing",
    }
    broker.registry.known["edgar", "", "candidate", 1] = facts
    broker.registry.change(**fields, engagement_until=future())
    root = done.content_root
    engagement = Engagement(
        expert="edgar", dataset="candidate", version=1, content_root=root, certificate="c", until=future()
    )
    broker.registry.engagements = [engagement]
    expert = broker.kernel(person="edgar", role="expert", project="")
    assert [item.name for item in expert.client.call(ListDatasets()).datasets] == ["candidate"]
    assert expert.read(expert.open("candidate", 1).lease, "series/1.2.3")
    researcher = broker.kernel()
    assert isinstance(researcher.refused(lambda: researcher.open("candidate", 1)), DeniedError)
    broker.registry.change(engagement_until=past())
    broker.wait_for(lambda: (expert.id, "engagement_over") in broker.launcher.ended)


def test_a_dataset_that_does_not_exist_is_refused_as_one_that_was_not_released(broker: Stand) -> None:
    kernel = broker.kernel()
    absent = kernel.refused(lambda: kernel.open("no-such"))
    broker.registry.change(released_to_project=False)
    hidden = kernel.refused(kernel.open)
    assert (absent.family, absent.code, absent.message) == (hidden.family, hidden.code, hidden.message)


@pytest.mark.row("S7.1")
def test_the_lease_of_another_kernel_is_refused(broker: Stand) -> None:
    owner, thief = broker.kernel(), broker.kernel()
    lease = owner.open().lease
    error = thief.refused(lambda: thief.read(lease, "series/1.2.3"))
    assert isinstance(error, DeniedError)
    unknown = thief.refused(lambda: thief.read("0" * 32, "series/1.2.3"))
    assert error.message == unknown.message
    reasons = [event["reason"] for event in broker.events(kind="dataset.read", outcome="refused", kernel=thief.id)]
    assert reasons == ["lease_of_other_kernel", "lease_unknown"]
    assert isinstance(thief.refused(lambda: thief.client.call(ListObjects(lease=lease, after=""))), DeniedError)


def test_a_process_of_another_uid_is_refused_on_a_kernels_socket(broker: Stand) -> None:
    kernel = broker.kernel(uid=os.getuid() + 1)
    for message in (
        ListDatasets(),
        OpenDataset(dataset="demo-ct"),
        ReadObjects(lease="0" * 32, names=("series/1.2.3",)),
    ):
        with pytest.raises(DeniedError) as caught:
            kernel.client.call(message)
        assert caught.value.code == "other_uid"
    events = broker.events(kind="broker.listener", outcome="refused")
    assert [event["reason"] for event in events] == ["other_uid"] * 3
    assert events[0]["detail"] == {"act": "use", "uid": os.getuid(), "expected_uid": os.getuid() + 1}
    assert not broker.events(kind="dataset.open")


def test_the_tap_is_told_which_leases_are_in_force(broker: Stand) -> None:
    """When it hands its page over, and at the end of each cell; a lease of another kernel is none of it."""
    other = broker.kernel()
    other.open()
    kernel = broker.kernel()
    said, told = broker.hand_over(kernel)
    assert (said, told.change()) == (LeasesReply(leases=()), 0)
    lease = kernel.open().lease
    assert told.change() == 1  # before the kernel hears of its lease
    kernel.open()  # the same one again
    (held,) = broker.reads(kernel, CELL).in_force.leases
    assert (held.lease, held.version) == (lease, "demo-ct@1")
    said, told = broker.hand_over(kernel)
    assert (said.leases, said.count, said.change, told.change()) == ((held,), 1, 1, 1)
    broker.close(kernel)
    assert told.change() == 2
    with pytest.raises(NotFoundError):
        broker.hand_over(kernel)


def test_many_leases_are_counted_though_not_all_are_named() -> None:
    session = Session(KernelIdentity(kernel="k", person="rosa", role="", project="demo", directory="/", uid=0))
    for number in range(100):
        session.add(Lease(f"{number:032x}", VersionName("demo-ct", number + 1)))
    said = session.in_force()
    assert (len(said.leases), said.count, said.change) == (64, 100, 100)
    session.end()
    assert (session.in_force().count, session.in_force().change) == (0, 101)


def test_a_kernels_socket_serves_no_request_of_the_launcher(broker: Stand) -> None:
    kernel = broker.kernel()
    listener = OpenListener(
        kernel="0" * 32, person="ada", role="auditor", project="demo", directory=str(kernel.directory), uid=0
    )
    for message in (listener, CloseListener(kernel=kernel.id), TakePage(kernel=kernel.id)):
        with pytest.raises(InvalidError):
            kernel.client.call(message)
    assert kernel.open().version == 1


@pytest.mark.parametrize(("name", "code"), [("review/qc.png", "object_not_leasable"), ("series/9", "object_unknown")])
def test_review_and_unknown_objects_never_leave_by_lease(broker: Stand, name: str, code: str) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    error = kernel.refused(lambda: kernel.read(lease, "series/1.2.3", name))
    assert isinstance(error, NotFoundError)
    (event,) = broker.events(kind="dataset.read")
    assert (event["outcome"], event["reason"]) == ("refused", code)


@pytest.mark.parametrize("count", [0, 101])
def test_a_message_reads_one_to_a_hundred_objects(broker: Stand, count: int) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    assert isinstance(kernel.refused(lambda: kernel.read(lease, *["series/1.2.3"] * count)), InvalidError)


def test_a_hundred_objects_come_in_one_message(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    assert kernel.read(lease, *["series/1.2.3"] * 100) == [bytes(range(256)) * 24] * 100


@pytest.mark.row("S6.3")
def test_an_object_changed_on_disk_is_not_handed_out(broker: Stand) -> None:
    path = broker.store.object_file(VersionName("demo-ct", 1), 1)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    kernel = broker.kernel()
    lease = kernel.open().lease
    error = kernel.refused(lambda: kernel.read(lease, "tables/patients", "series/1.2.3"))
    assert isinstance(error, IntegrityError)
    assert [(event["outcome"], event.get("reason")) for event in broker.events(kind="dataset.read")] == [
        ("intent", None),
        ("failed", "stream_damaged"),
    ]
    assert kernel.read(lease, "tables/patients")


@pytest.mark.row("S6.3")
def test_a_version_with_another_root_than_the_certified_one_is_not_opened(broker: Stand) -> None:
    broker.registry.change(content_root="1" * 64, certificate_root="1" * 64)
    kernel = broker.kernel()
    assert kernel.refused(kernel.open).code == "root_mismatch"
    assert [event["outcome"] for event in broker.events(kind="dataset.open")] == ["intent", "failed"]


def test_without_a_ledger_nothing_is_opened_or_read(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    before = kernel.read(lease, "series/1.2.3")
    broker.audit.stop()
    for act in (kernel.open, lambda: kernel.read(lease, "series/1.2.3"), lambda: kernel.read(lease, "tables/patients")):
        error = kernel.refused(act)
        assert isinstance(error, UnavailableError)
        assert error.code == "ledger_unavailable"
    broker.audit.start()
    assert kernel.read(lease, "series/1.2.3") == before


def test_without_the_registry_nothing_is_opened_and_old_facts_soon_do_not_count(broker: Stand) -> None:
    kernel = broker.kernel()
    lease = kernel.open().lease
    broker.registry.stop()
    assert kernel.refused(kernel.open).code == "registry_unavailable"

    def read_refused() -> bool:
        try:
            kernel.read(lease, "series/1.2.3")
        except UnavailableError:
            return True
        return False

    broker.wait_for(read_refused)
    assert broker.events(kind="dataset.read", outcome="refused", reason="registry_unavailable")
    broker.registry.start()
    assert kernel.read(lease, "series/1.2.3")
    assert broker.launcher.ended == []


@pytest.mark.parametrize("dataset", ["../x", "Demo", "", "demo/ct", CELL * 3])
def test_a_dataset_name_of_another_form_is_invalid(broker: Stand, dataset: str) -> None:
    kernel = broker.kernel()
    assert isinstance(kernel.refused(lambda: kernel.open(dataset)), InvalidError)


def test_the_launchers_request_is_checked(broker: Stand) -> None:
    good = {"kernel": "0" * 32, "person": "rosa", "role": "researcher", "project": "demo", "uid": 1}
    folder = str(broker.kernel().directory)
    for field, value in (("kernel", "x"), ("person", "../x"), ("project", "A b"), ("directory", "/nowhere/at/all")):
        with pytest.raises(InvalidError):
            broker.call(OpenListener(**{**good, "directory": folder, field: value}))


def test_many_objects_are_listed_page_by_page(broker: Stand) -> None:
    header = {"dtype": "int8", "shape": [1], "modality": "CT", "attributes": {"pad": "x" * 9000}}
    many = [PlainObject(name=f"series/{i:05d}", kind="series", header=header, chunks=b"1") for i in range(150)]
    broker.seal(*many, dataset="large")
    kernel = broker.kernel()
    lease = kernel.open("large")
    names = [item.name for item in lease.objects]
    more, pages = lease.more, 1
    while more:
        page = kernel.client.call(ListObjects(lease=lease.lease, after=names[-1]))
        names += [item.name for item in page.objects]
        more, pages = page.more, pages + 1
    assert names == [item.name for item in many]
    assert pages > 2


def test_many_kernels_read_at_once_and_each_gets_the_bytes(broker: Stand) -> None:
    kernels = [broker.kernel() for _ in range(6)]
    results: list[list[bytes]] = []

    def work(kernel: Any) -> None:
        lease = kernel.open().lease
        results.extend(kernel.read(lease, "series/1.2.3", "tables/patients") for _ in range(10))

    threads = [threading.Thread(target=work, args=(kernel,)) for kernel in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 60
    assert len({tuple(item) for item in results}) == 1


def test_an_operator_has_a_version_verified(broker: Stand) -> None:
    good = broker.call(VerifyVersion(dataset="demo-ct", version=1))
    assert (good.objects, good.bad) == (3, ())
    broker.store.object_file(VersionName("demo-ct", 1), 0).unlink()
    bad = broker.call(VerifyVersion(dataset="demo-ct", version=1))
    assert bad.bad == ({"object": "review/qc.png", "reason": "object_missing"},)
    outcomes = [event["outcome"] for event in broker.events(kind="dataset.verify")]
    assert outcomes == ["intent", "ok", "intent", "failed"]


@pytest.mark.row("S16.4")
def test_no_event_log_or_error_holds_a_value_from_the_data(broker: Stand, capfd: pytest.CaptureFixture[str]) -> None:
    canary = "Canary^Carla-19010203"
    kernel = broker.kernel()
    lease = kernel.open().lease
    assert canary.encode() in b"".join(kernel.read(lease, "tables/patients"))
    errors = [
        kernel.refused(lambda: kernel.read(lease, f"series/{canary}")),
        kernel.refused(lambda: kernel.open(canary)),
    ]
    broker.close(kernel)
    broker.wait_for(lambda: broker.events(kind="lease.end"))
    assert canary not in json.dumps(broker.audit.records())
    assert all(canary not in error.message for error in errors)
    assert canary not in capfd.readouterr().err
    state = broker.audit.home.state("broker")
    assert all(canary.encode() not in path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_each_kernel_has_its_own_socket_in_its_own_folder(broker: Stand) -> None:
    kernel = broker.kernel()
    assert (kernel.directory / "lease.sock").exists()
    broker.close(kernel)
    assert not (kernel.directory / "lease.sock").exists()
    with pytest.raises(UnavailableError):
        WireClient(Path(kernel.directory) / "lease.sock").call(ListDatasets())


@pytest.mark.row("S13.7")
def test_a_replay_reads_the_bound_version_only_and_stands_in_the_ledger(broker: Any) -> None:
    from enclave.core.canonical import canonical_bytes
    from enclave.determination.certificate import Certificate, Expert, ReleaseTerms, certificate_text
    from enclave.wire.messages.broker import ReplayDetermination

    certificate = Certificate(
        id="0" * 32,
        dataset="demo-ct",
        version=1,
        content_root="cd" * 32,
        expert=Expert(principal="edgar", name="E", qualification="Q", independence="I", engagement="E-1"),
        steward="stella",
        release=ReleaseTerms(model="enclave", recipients=("demo",)),
        drafted="2026-01-01T00:00:00.000000Z",
        not_before="2026-01-01T00:00:00.000000Z",
        expires="2027-01-01T00:00:00.000000Z",
    )
    text = certificate_text(certificate).decode()
    with pytest.raises(IntegrityError):
        broker.call(ReplayDetermination(dataset="demo-ct", version=1, text=text))
    with pytest.raises(EnclaveError):
        broker.call(ReplayDetermination(dataset="demo-ct", version=1, text=canonical_bytes({"a": 1}).decode()))
    (event,) = broker.events(kind="determination.replay", outcome="failed")
    assert (event["reason"], event["detail"]["certificate"]) == ("other_root", "0" * 32)


def test_a_tap_or_a_gate_opens_no_lease_socket_for_anybody(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever took one over, by what a browser or a kernel sent to it, has the uid of all of them and no more."""
    broker.stop()
    monkeypatch.setattr("enclave.broker.daemon.door_uid", lambda _: os.getuid())
    broker.start()
    kernel = "f" * 32
    opening = OpenListener(kernel=kernel, person="rosa", role="researcher", project="demo", directory="/", uid=0)
    for message in (opening, CloseListener(kernel=kernel), VerifyVersion(dataset="demo-ct", version=1)):
        with pytest.raises(DeniedError):
            broker.call(message)
    with pytest.raises(NotFoundError):
        hand_over(
            broker.audit.home.socket("brokerd"), TakePage(kernel=kernel), ExecutionPage(kernel)
        )  # theirs to give, of a kernel that there is
    refused = broker.events(kind="broker.listener", outcome="refused")
    assert [one["reason"] for one in refused] == ["not_the_launcher"] * 3
    assert {one["detail"]["uid"] for one in refused} == {os.getuid()}
