"""Who floods the ledger is cut; others, control and refusals are not."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_disk import run_on_own_disk

from enclave.audit.ledger import Ledger
from enclave.audit.quota import WINDOW_S, Limits, Quotas
from enclave.audit.verify import verify_log
from enclave.audit.vocabulary import class_of, known_kinds, parse_kinds
from enclave.core.clock import parse_time
from enclave.core.errors import InvalidError, UnavailableError

LIMITS = Limits(events_per_s=10.0, burst=20, bytes_per_day=10_000)
ROSA, SAM = (1, "rosa"), (1, "sam")


def begin(client, actor, **fields):
    return client.record("cell.execute", actor=actor, outcome="intent", detail={"code_hash": "00"}, **fields)


@pytest.fixture
def small(auditd):
    """A ledger where one person may write little."""
    auditd.stop()
    auditd.home.settings_file.write_text("[audit]\nquota_events_per_s = 5.0\nquota_burst = 30\n")
    auditd.start()
    return auditd


@pytest.mark.row("S10.6")
def test_one_person_who_floods_is_cut_and_another_is_not(small):
    cut, written_by_rosa = [], 0
    first = time.monotonic()
    end = first + 3

    def flood():
        while time.monotonic() < end:
            try:
                begin(small.client, "mallory")
            except UnavailableError as error:
                cut.append(error)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        begin(small.client, "rosa")
        written_by_rosa += 1
        time.sleep(0.25)
    for thread in threads:
        thread.join()
    lasted_s = time.monotonic() - first
    assert {error.code for error in cut} == {"ledger_quota"}
    assert "mallory" in cut[0].message
    written = small.events(kind="cell.execute", actor="mallory")
    assert 30 <= len(written) <= 30 + 5 * (lasted_s + 2)
    assert len(small.events(kind="cell.execute", actor="rosa")) == written_by_rosa
    told = small.events(kind="audit.quota")
    assert [(e["actor"], e["outcome"], e["reason"]) for e in told] == [("mallory", "refused", "quota_events")]
    assert told[0]["detail"]["uid"] == os.getuid()


def test_who_was_cut_may_tell_the_ends_of_what_was_begun_and_be_refused(small):
    begun = []
    with pytest.raises(UnavailableError):
        for number in range(100):
            begin(small.client, "mallory", cell=f"{number:032x}")
            begun.append(number)
    for number in begun[:20]:
        small.client.record("cell.execute", actor="mallory", cell=f"{number:032x}")
    small.client.record("cell.execute", actor="mallory", outcome="refused", reason="ledger_quota")
    small.client.record("lease.end", actor="mallory", reason="kernel_ended", detail={"lease": "0"})
    assert len(small.events(kind="cell.execute", actor="mallory", outcome="refused")) == 1


def test_a_service_is_not_counted(small):
    for number in range(60):
        small.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    assert small.events(kind="audit.quota") == []


def test_the_same_limit_holds_however_the_request_is_spelled(small):
    """A request with bodies goes another way through the daemon."""
    with pytest.raises(UnavailableError) as caught:
        for _ in range(100):
            begin(small.client, "mallory", bodies={"code": "x = 1"})
    assert caught.value.code == "ledger_quota"


def test_bytes_of_a_day_are_counted(auditd):
    auditd.stop()
    auditd.home.settings_file.write_text("[audit]\nquota_mib_per_day = 1\n")
    auditd.start()
    with pytest.raises(UnavailableError) as caught:
        for _ in range(20):
            begin(auditd.client, "mallory", bodies={"code": "x" * 100_000})
    assert "quota_bytes" in caught.value.message
    assert begin(auditd.client, "rosa").seq > 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([ROSA, SAM]), st.floats(0, 2), st.booleans()), max_size=200))
def test_nobody_ever_writes_more_than_the_bucket_and_what_it_earned(acts):
    quotas = Quotas(LIMITS)
    at = 0.0
    begun, all_of = {ROSA: 0, SAM: 0}, {ROSA: 0, SAM: 0}
    for principal, wait, begins in acts:
        at += wait * 0.1
        if quotas.admit(principal, size_bytes=1, kind_class="ordinary", begins=begins, at=at) is None:
            begun[principal] += begins
            all_of[principal] += 1
        assert begun[principal] <= LIMITS.burst + LIMITS.events_per_s * at + 1
        assert all_of[principal] <= 2 * LIMITS.burst + LIMITS.events_per_s * at + 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=100))
def test_a_cut_is_told_at_once_and_then_once_per_window_with_all_that_was_refused(waits):
    quotas = Quotas(Limits(events_per_s=0.0001, burst=1, bytes_per_day=100))
    at, told, refused, counted = 0.0, [], 0, 0
    for wait in waits:
        at += wait
        refused += quotas.admit(ROSA, size_bytes=1, kind_class="ordinary", begins=True, at=at) is not None
        for cut in quotas.due(at):
            told.append(at)
            counted += cut.refused
    assert all(later - earlier >= WINDOW_S for earlier, later in itertools.pairwise(told))
    assert (len(told) >= 1) == (refused >= 1)
    counted += sum(cut.refused for cut in quotas.due(at + 2 * WINDOW_S))
    assert counted == refused


def test_a_day_later_the_bytes_are_given_again():
    quotas = Quotas(LIMITS)
    ask = {"kind_class": "ordinary", "begins": True}
    assert quotas.admit(ROSA, size_bytes=9_999, at=0.0, **ask) is None
    assert quotas.admit(ROSA, size_bytes=9_999, at=10.0, **ask) == "quota_bytes"
    assert quotas.admit(SAM, size_bytes=9_999, at=10.0, **ask) is None
    assert quotas.admit(ROSA, size_bytes=9_999, at=86_401.0, **ask) is None


def test_what_takes_a_right_away_is_control_and_every_refusal_is_one():
    for kind in ("lease.end", "kernel.end", "determination.revoke", "project.close", "audit.quota", "reidentify.alarm"):
        assert known_kinds()[kind].kind_class == "control"
    for kind in known_kinds():
        assert class_of(kind, "refused") in {"refusal", "control"}
    assert class_of("cell.execute", "intent") == "ordinary"
    with pytest.raises(InvalidError):
        parse_kinds('["a.b"]\nwhat = "x."\nwriter = "y"\nclass = "urgent"', where="test.toml")


FULL = """
    ballast = store / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    ordinary = refused = control = 0
    code = ""
    for number in range(400):
        try:
            client.record("audit.rebuild", actor="service:test", detail={"rows": number}, bodies={"why": "x" * 3000})
            ordinary += 1
        except UnavailableError as error:
            refused += 1
            code = error.code
            client.record("lease.end", actor="rosa", reason="kernel_ended", detail={"lease": str(number)})
            client.record("cell.execute", actor="rosa", outcome="refused", reason="ledger_reserve")
            control += 2
    ballast.unlink()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            client.record("audit.rebuild", actor="service:test")
            break
        except UnavailableError:
            time.sleep(0.1)
    else:
        sys.exit(3)
    daemon.close()
    from enclave.audit.segments import Record, read_segment, segment_files
    from enclave.audit.verify import verify_log
    import json
    kinds = [
        json.loads(r.payload)["event"]["kind"]
        for p in segment_files(store / "segments") for r in read_segment(p) if isinstance(r, Record)
    ]
    space = kinds.count("audit.space")
    print(ordinary + refused, refused > 300, code, control == kinds.count("lease.end") + kinds.count("cell.execute"))
    print(space, verify_log(store).ok, (store / "reserve").exists())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="a small disk needs a mount namespace of root")
def test_on_a_really_full_disk_control_and_refusals_are_still_written(auditd, tmp_path):
    auditd.stop()
    first, second = run_on_own_disk(auditd.home, FULL, mebibytes=24, folder=tmp_path).splitlines()
    assert first.split() == ["400", "True", "ledger_reserve", "True"]
    assert second.split() == ["2", "True", "False"]


def test_the_reserve_is_taken_while_the_ledger_runs_and_given_back(auditd):
    reserve = auditd.home.state("audit") / "reserve"
    assert reserve.stat().st_blocks * 512 >= 8 << 20
    auditd.stop()
    assert not reserve.exists()
    assert verify_log(auditd.home.state("audit")).ok


def test_ordinary_events_wait_until_the_reserve_is_whole_again(auditd, monkeypatch):
    """The rule itself, where no small disk can be mounted: the kernel's refusal is played."""
    ledger: Ledger = auditd.daemon.ledger
    with monkeypatch.context() as broken:
        broken.setattr("enclave.audit.reserve.os.posix_fallocate", _no_space)
        ledger._reserve.give()
        with pytest.raises(UnavailableError) as caught:
            begin(auditd.client, "rosa")
        assert caught.value.code == "ledger_reserve"
        auditd.client.record("lease.end", actor="rosa", reason="kernel_ended", detail={"lease": "0"})
    end = time.monotonic() + 30
    while ledger.short_of_space and time.monotonic() < end:
        time.sleep(0.05)
    begin(auditd.client, "rosa")


def test_a_disk_that_stays_full_is_told_again_each_day_and_its_end_once(auditd, monkeypatch):
    monkeypatch.setattr("enclave.audit.daemon.FULL_S", 1.0)
    ledger: Ledger = auditd.daemon.ledger

    def told(outcome):
        return auditd.events(kind="audit.space", outcome=outcome)

    def until(condition):
        end = time.monotonic() + 30
        while not condition() and time.monotonic() < end:
            time.sleep(0.05)
        assert condition()

    with monkeypatch.context() as broken:
        broken.setattr("enclave.audit.reserve.os.posix_fallocate", _no_space)
        ledger._reserve.give()
        ledger.due.set()
        until(lambda: ledger.due.set() or len(told("failed")) >= 2)
    assert told("ok") == []
    until(lambda: ledger.due.set() or told("ok") != [])
    first, second, *_ = [parse_time(event["time"]) for event in told("failed")]
    assert (second - first).total_seconds() >= 0.9
    count = len(told("failed"))
    with monkeypatch.context() as broken:  # full again within the day
        broken.setattr("enclave.audit.reserve.os.posix_fallocate", _no_space)
        ledger._reserve.give()
        until(lambda: ledger.due.set() or len(told("failed")) > count)
    until(lambda: ledger.due.set() or len(told("ok")) == 2)


def _no_space(*_args):
    raise OSError(28, "No space left on device")
