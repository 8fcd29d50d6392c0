"""The ledger as its writers meet it."""

from __future__ import annotations

import threading

import pytest

from enclave.core.errors import InvalidError, UnavailableError


def test_a_receipt_means_the_event_is_in_the_segments(auditd):
    receipt = auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": 3})
    found = auditd.events(kind="audit.rebuild")
    assert [e["detail"] for e in found] == [{"rows": 3}]
    assert auditd.records()[receipt.seq]["event"] == found[0]


def test_events_survive_a_restart_and_numbers_go_on(auditd):
    first = auditd.client.record("audit.rebuild", actor="service:test")
    auditd.stop()
    auditd.start()
    second = auditd.client.record("audit.rebuild", actor="service:test")
    assert second.seq > first.seq
    assert [len(auditd.events(kind=kind)) for kind in ("audit.started", "audit.stopped")] == [2, 1]
    assert [r["seq"] for r in auditd.records()] == list(range(second.seq + 1))


def test_without_a_daemon_there_is_no_receipt_and_it_works_again_when_it_is_back(auditd):
    auditd.stop()
    with pytest.raises(UnavailableError):
        auditd.client.record("audit.rebuild", actor="service:test")
    auditd.start()
    auditd.client.record("audit.rebuild", actor="service:test")
    assert len(auditd.events(kind="audit.rebuild")) == 1


def test_an_undeclared_kind_or_detail_is_refused_by_the_client(auditd):
    with pytest.raises(InvalidError):
        auditd.client.record("nobody.declared_this", actor="service:test")
    with pytest.raises(InvalidError):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"name": "x"})
    with pytest.raises(InvalidError):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": True})


def test_many_writers_at_once_get_distinct_numbers_without_a_gap(auditd):
    receipts = []

    def write() -> None:
        for _ in range(20):
            receipts.append(auditd.client.record("audit.rebuild", actor="service:test").seq)  # noqa: PERF401

    threads = [threading.Thread(target=write) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(receipts) == list(range(min(receipts), min(receipts) + 160))
