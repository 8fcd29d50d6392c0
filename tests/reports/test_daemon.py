"""The report service as people and the ledger see it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from enclave.core.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UnavailableError
from enclave.reports.process import Result
from enclave.wire.messages.reports import ListRuns, ReportRun, RunNow, ShowPage

RUN = RunNow(token="t-stella", entry="demo-validation")
SELFTEST = RunNow(token="t-stella", entry="sandbox-selftest")
DAY = timedelta(hours=24)


def state_of(reportd: Any, run: ReportRun) -> str:
    runs = reportd.ask(ListRuns(token="t-stella")).runs
    return next(found.state for found in runs if found.id == run.id)


def finished(reportd: Any, *, want: str = "done") -> ReportRun:
    run: ReportRun = reportd.ask(RUN)
    reportd.runner.go.set()
    reportd.wait_for(lambda: state_of(reportd, run) == want)
    return next(found for found in reportd.ask(ListRuns(token="t-stella")).runs if found.id == run.id)


def show(reportd: Any, token: str, run: ReportRun) -> tuple[Any, bytes]:
    body, (fd,) = reportd.client.call_with_descriptors(ShowPage(token=token, id=run.id), max_descriptors=1)
    try:
        return body, os.pread(fd, body.size_bytes, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("token", ["t-stella", "t-hana"])
def test_a_steward_or_broker_runs_a_report_and_reads_its_page(reportd: Any, token: str) -> None:
    run = finished(reportd)
    body, page = show(reportd, token, run)
    assert page == reportd.runner.result.page
    assert body.sha256 == hashlib.sha256(page).hexdigest()
    assert [event["outcome"] for event in reportd.ledger.events(kind="report.run")] == ["intent", "ok"]


@pytest.mark.parametrize("token", ["t-rosa", "t-olga", "t-ada", "t-otto"])
def test_nobody_else_may_run_a_report_and_the_refusal_is_in_the_ledger(reportd: Any, token: str) -> None:
    with pytest.raises(DeniedError):
        reportd.ask(RunNow(token=token, entry="demo-validation"))
    (event,) = reportd.ledger.events(kind="report.queue")
    assert (event["outcome"], event["reason"]) == ("refused", "role")
    assert reportd.runner.tasks == []


def test_an_entry_or_a_run_that_is_not_there_is_refused_and_the_refusal_is_in_the_ledger(reportd: Any) -> None:
    for message, kind in (
        (RunNow(token="t-stella", entry="nowhere"), "report.queue"),
        (ShowPage(token="t-stella", id="0" * 32), "report.show"),
    ):
        with pytest.raises(NotFoundError):
            reportd.ask(message)
        (event,) = reportd.ledger.events(kind=kind)
        assert (event["actor"], event["outcome"], event["reason"]) == ("stella", "refused", "not_found")


def test_an_unknown_token_gets_nothing(reportd: Any) -> None:
    for message in (ListRuns(token="x"), RunNow(token="x", entry="demo-validation"), ShowPage(token="x", id="0" * 32)):
        with pytest.raises(DeniedError):
            reportd.ask(message)


def test_an_entry_that_is_not_in_the_schedule_is_not_found(reportd: Any) -> None:
    with pytest.raises(NotFoundError):
        reportd.ask(RunNow(token="t-stella", entry="other"))


def test_a_member_sees_the_projects_runs_and_a_stranger_none(reportd: Any) -> None:
    run = finished(reportd)
    assert [found.id for found in reportd.ask(ListRuns(token="t-rosa")).runs] == [run.id]
    assert reportd.ask(ListRuns(token="t-rolf")).runs == ()
    assert show(reportd, "t-rosa", run)[1]
    with pytest.raises(NotFoundError):
        show(reportd, "t-rolf", run)
    assert reportd.ledger.events(kind="report.show", outcome="refused")[0]["actor"] == "rolf"


def test_an_operator_sees_the_sandboxs_self_test_and_no_other_report(reportd: Any) -> None:
    finished(reportd)
    selftest = reportd.ask(SELFTEST)
    assert [found.id for found in reportd.ask(ListRuns(token="t-otto")).runs] == [selftest.id]
    with pytest.raises(DeniedError):
        reportd.ask(RunNow(token="t-otto", entry="sandbox-selftest"))


def test_the_self_test_aims_at_listeners_on_loopback_that_are_there_for_its_time_only(reportd: Any) -> None:
    run = reportd.ask(SELFTEST)
    reportd.wait_for(lambda: len(reportd.runner.tasks) == 1)
    (task,) = reportd.runner.tasks
    facts = json.loads(task.parameters["facts"])
    assert facts["dataset"] == "demo-ct"
    assert Path(facts["secret"]).stat().st_mode & 0o004
    with socket.create_connection(("127.0.0.1", facts["port"]), timeout=5):
        pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((outside_address(), facts["port"]), timeout=5)
    reportd.runner.go.set()
    reportd.wait_for(lambda: state_of(reportd, run) == "done")
    assert not Path(facts["secret"]).exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", facts["port"]), timeout=5)


def outside_address() -> str:
    """Another address of this machine; loopback's second one where there is no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.2"


def test_asking_twice_while_it_waits_gives_the_same_run(reportd: Any) -> None:
    first = reportd.ask(RUN)
    assert reportd.ask(RUN).id == first.id


def test_the_kernel_runs_as_the_service_in_the_entrys_project(reportd: Any) -> None:
    finished(reportd)
    (task,) = reportd.runner.tasks
    assert (task.project, task.parameters) == ("demo", {"dataset": "demo-ct"})
    assert {event["actor"] for event in reportd.ledger.events(kind="report.run")} == {"service:reports"}


def test_a_page_of_an_unfinished_run_is_a_conflict(reportd: Any) -> None:
    run = reportd.ask(RUN)
    with pytest.raises(ConflictError):
        show(reportd, "t-stella", run)


@pytest.mark.row("S4.1")
def test_the_page_on_the_disk_is_sealed_and_bound_to_its_run(reportd: Any) -> None:
    run = finished(reportd)
    (path,) = (reportd.home.state("reports") / "pages").iterdir()
    assert b"patients" not in path.read_bytes()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        show(reportd, "t-stella", run)
    assert reportd.ledger.events(kind="report.show", outcome="failed")


def test_the_page_is_handed_out_in_memory_that_nobody_can_change(reportd: Any) -> None:
    run = finished(reportd)
    _, (fd,) = reportd.client.call_with_descriptors(ShowPage(token="t-stella", id=run.id), max_descriptors=1)
    wanted = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == wanted
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    os.close(fd)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (Result(ok=False, code="cell_failed", cell=4, error="KeyError"), "cell 4 of the notebook ended with KeyError"),
        (Result(ok=False, code="time_limit"), "time limit"),
        (Result(ok=False, code="project_not_open"), "project_not_open"),
    ],
)
def test_a_failed_run_says_why_and_stands_in_the_ledger(reportd: Any, result: Result, words: str) -> None:
    reportd.runner.result = result
    run = finished(reportd, want="failed")
    assert words in run.message
    assert reportd.ledger.events(kind="report.run", outcome="failed")[0]["reason"] == result.code


def test_without_the_ledger_nothing_is_queued_and_nothing_runs(reportd: Any) -> None:
    reportd.ledger.stop()
    with pytest.raises(UnavailableError):
        reportd.ask(RUN)
    assert reportd.ask(ListRuns(token="t-stella")).runs == ()
    reportd.ledger.start()
    assert finished(reportd).state == "done"


def test_a_run_cut_off_by_a_stop_runs_again_after_the_next_start(reportd: Any) -> None:
    run = reportd.ask(RUN)
    reportd.wait_for(lambda: len(reportd.runner.tasks) == 1)
    reportd.stop()
    reportd.runner = type(reportd.runner)()
    reportd.runner.go.set()
    reportd.start()
    reportd.wait_for(lambda: state_of(reportd, run) == "done")
    attempts = [event["detail"]["attempt"] for event in reportd.ledger.events(kind="report.run", outcome="intent")]
    assert attempts == [1, 2]


def validations(reportd: Any) -> list[str]:
    return [run.state for run in reportd.ask(ListRuns(token="t-stella")).runs if run.report == "demo-validation"]


def test_a_due_entry_runs_by_itself_once_per_interval(reportd: Any) -> None:
    reportd.runner.go.set()
    reportd.wait_for(lambda: reportd.daemon._parts.store.due_since("demo-validation", at=reportd.clock.at) is not None)
    reportd.clock.at += DAY - timedelta(seconds=1)
    reportd.daemon._worker._queue_due()
    assert validations(reportd) == []
    reportd.clock.at += timedelta(seconds=1)
    reportd.wait_for(lambda: validations(reportd) == ["done"])
    assert reportd.ledger.events(kind="report.queue")[0]["actor"] == "service:reports"
    reportd.daemon._worker._queue_due()
    assert len(validations(reportd)) == 1


@pytest.mark.row("S10.4")
def test_under_a_clock_set_back_nothing_is_queued_or_begun_and_no_interval_comes_twice(reportd: Any) -> None:
    reportd.runner.go.set()
    reportd.wait_for(lambda: reportd.daemon._parts.store.due_since("demo-validation", at=reportd.clock.at) is not None)
    reportd.clock.at += DAY
    reportd.wait_for(lambda: validations(reportd) == ["done"])
    reportd.clock.at -= DAY
    reportd.wait_for(lambda: reportd.ledger.events(kind="report.queue", outcome="refused") != [])
    with pytest.raises(DeniedError) as refused:
        reportd.ask(RUN)
    assert refused.value.code == "clock_step"
    told = [(e["actor"], e["reason"]) for e in reportd.ledger.events(kind="report.queue", outcome="refused")]
    assert told == [("service:reports", "clock_step"), ("stella", "clock_step")]
    assert validations(reportd) == ["done"]
    reportd.stop()
    reportd.start()  # it hears the time from the ledger
    reportd.wait_for(lambda: len(reportd.ledger.events(kind="report.queue", outcome="refused")) == 3)
    reportd.clock.at += DAY  # where the clock has been before
    reportd.wait_for(lambda: not reportd.daemon._worker._step_told)
    assert validations(reportd) == ["done"]
    reportd.clock.at += DAY
    reportd.wait_for(lambda: validations(reportd) == ["done", "done"])


def test_a_wrong_schedule_ends_the_start_with_its_reason(reportd: Any) -> None:
    reportd.stop()
    (reportd.home.state("reports") / "schedule.toml").write_text("[entry.x]\nnotebok = 1\n")
    with pytest.raises(Exception, match="did you mean 'notebook'"):
        reportd.start()


def test_no_event_and_no_message_holds_what_the_page_holds(reportd: Any) -> None:
    run = finished(reportd)
    assert "41 patients" not in repr(reportd.ledger.events()) + repr(run)
