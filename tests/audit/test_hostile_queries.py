"""What an auditor's SQL can do to the ledger and to other auditors: nothing beyond its own limits."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from enclave.audit.turns import AT_ONCE, OF_ONE_PERSON, Turns
from enclave.core.errors import DeniedError, EnclaveError, InvalidError, UnavailableError
from enclave.keys.files import read_symmetric
from enclave.policy.model import Actor
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Query
from enclave.wire.messages.audit_store import AddBatch, AskStore

SETTINGS = "[audit]\nquery_memory_mib = 128\nquery_timeout_s = 2.0\n"
RUNAWAYS = {
    "cross_join": "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range, b.range) = 1",
    "recursion": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    "regex": "SELECT count(*) FROM range(100000000) WHERE regexp_matches(repeat('ab', 500) || range, '(a|b|ab)*c$')",
}
BOMBS = {
    "list": "SELECT len(list(repeat('x', 1000) || range)) FROM range(100000000)",
    "text": "SELECT length(string_agg(repeat('x', 100000), '')) FROM range(1000000)",
    "one_value": "SELECT length(repeat('x', 2000000000))",
    "sort": "SELECT * FROM range(300000000) ORDER BY hash(range) LIMIT 5 OFFSET 200000000",
    "groups": "SELECT count(*) FROM (SELECT repeat('x', 100) || range AS k FROM range(100000000) GROUP BY k)",
    "join": "SELECT count(*) FROM range(100000000) a JOIN range(100000000) b ON hash(a.range) = hash(b.range) + 1",
}


@pytest.fixture
def stand(auditd):
    """A ledger whose queries may take little, with two auditors."""
    auditd.stop()
    auditd.home.settings_file.write_text(SETTINGS)
    auditd.start()
    for name in ("ada", "ben"):
        auditd.people[name] = Actor(name, frozenset({"auditor"}))
    ask(auditd, "SELECT 1")
    return auditd


def ask(stand, sql, *, who="ada"):
    client = WireClient(stand.home.socket("auditd"), timeout_s=60)
    try:
        return client.call(Query(token=who, sql=sql))
    finally:
        client.close()


def beside(stand, sql):
    """Runs ``sql`` as ada in the background; returns the thread and what it raised."""
    raised = []

    def run():
        try:
            ask(stand, sql)
        except EnclaveError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.5)
    return thread, raised


@pytest.mark.row("S10.4")
@pytest.mark.parametrize("name", [*RUNAWAYS, *BOMBS])
def test_a_hostile_query_ends_at_its_limit_and_hurts_neither_appends_nor_another_auditor(stand, name):
    thread, raised = beside(stand, {**RUNAWAYS, **BOMBS}[name])
    began = time.monotonic()
    for number in range(20):
        stand.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    assert ask(stand, "SELECT count(*) FROM events WHERE actor = 'service:test'", who="ben").rows[0] == [20]
    thread.join(60)
    assert not thread.is_alive()
    assert time.monotonic() - began < 60
    assert [type(error) for error in raised] == [UnavailableError]
    assert raised[0].code in {"query_timeout", "query_memory"}
    assert ask(stand, "SELECT 1").rows[0] == [1]
    (failed,) = stand.events(kind="audit.query", outcome="failed")
    assert failed["reason"] == raised[0].code


def test_a_query_that_does_not_react_is_ended_with_its_process_and_the_next_one_is_answered(stand):
    first = stand.daemon._feed.store.pid
    os.kill(first, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        stand.daemon._feed.store.query("SELECT 1", limit=1, timeout_s=1.0)
    assert caught.value.code == "query_timeout"
    assert time.monotonic() - began < 30
    assert stand.client.record("audit.rebuild", actor="service:test").seq > 0
    assert ask(stand, "SELECT count(*) - count(DISTINCT seq) FROM events").rows[0] == [0]
    assert stand.daemon._feed.store.pid != first


def test_who_asked_little_is_answered_when_the_process_ends_under_both(stand):
    thread, _ = beside(stand, RUNAWAYS["cross_join"])
    answers = []
    other = threading.Thread(
        target=lambda: answers.append(ask(stand, "SELECT 7 FROM range(200000000)", who="ben").rows)
    )
    other.start()
    os.kill(stand.daemon._feed.store.pid, signal.SIGKILL)
    thread.join(60)
    other.join(30)
    assert len(answers) == 1
    assert answers[0][0] == [7]


@pytest.mark.parametrize("rounds", [3])
def test_each_record_is_in_the_store_once_however_often_its_process_is_killed(stand, rounds):
    for turn in range(rounds):
        for number in range(30):
            stand.client.record("audit.rebuild", actor="service:test", detail={"rows": turn * 100 + number})
            if number == 15:
                os.kill(stand.daemon._feed.store.pid, signal.SIGKILL)
        ask(stand, "SELECT 1")
    found = ask(stand, "SELECT count(*), count(DISTINCT seq), max(seq) + 1 FROM events").rows[0]
    assert found[0] == found[1] == found[2]
    assert ask(stand, "SELECT count(*) FROM events WHERE actor = 'service:test'").rows[0] == [30 * rounds]


def test_the_process_has_limits_and_shows_no_key(stand):
    pid = stand.daemon._feed.store.pid
    limits = Path(f"/proc/{pid}/limits").read_text()
    values = {line[:26].strip(): line[26:].split() for line in limits.splitlines()[1:]}
    assert int(values["Max data size"][0]) <= 2 << 30
    assert values["Max core file size"][0] == "0"
    key = base64.b64encode(read_symmetric(stand.home.key_file("audit-store")).reveal())
    for name in ("cmdline", "environ"):
        with contextlib.suppress(PermissionError):  # only root may look at the environment of what is not dumpable
            shown = Path(f"/proc/{pid}/{name}").read_bytes()
            assert key not in shown
            assert b"ENCLAVE" not in shown
    assert b"NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_bytes()


def test_it_answers_the_ledger_only(stand):
    script = (
        "import sys\nfrom pathlib import Path\nfrom enclave.wire.client import WireClient\n"
        "from enclave.wire.messages.audit_store import AskStore\n"
        "WireClient(Path(sys.argv[1])).call(AskStore(sql='SELECT 1', limit=1, timeout_s=1.0))\n"
    )
    socket = stand.home.socket("auditstore")
    other = subprocess.run(
        [sys.executable, "-c", script, str(socket)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "DeniedError" in other.stderr
    ours = WireClient(socket)
    assert ours.call(AskStore(sql="SELECT 1", limit=1, timeout_s=1.0)).rows[0] == [1]
    with pytest.raises(EnclaveError):
        ours.call(AddBatch(high_water=5))
    ours.close()


def test_it_ends_when_the_ledger_is_killed(auditd):
    auditd.stop()
    command = [sys.executable, "-m", "enclave.cli.auditd", "--home", str(auditd.home.root)]
    daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
    end = time.monotonic() + 30
    store = None
    while store is None and time.monotonic() < end:
        found = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _is_store_of(p, auditd.home.socket("auditstore"))]
        store = found[0].parent if found else None
        time.sleep(0.05)
    assert store is not None, children
    daemon.kill()
    daemon.wait()
    while _is_store_of(store / "cmdline", auditd.home.socket("auditstore")) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _is_store_of(store / "cmdline", auditd.home.socket("auditstore"))
    auditd.start()
    auditd.people["ada"] = Actor("ada", frozenset({"auditor"}))
    assert ask(auditd, "SELECT count(*) > 0 FROM events").rows[0] == [True]


def _is_store_of(cmdline, socket):
    try:
        return os.fsencode(socket) in cmdline.read_bytes()
    except OSError:
        return False


def test_no_query_reaches_a_file_a_setting_or_another_database(stand):
    for sql in ("SELECT * FROM read_text('/etc/hostname')", "SELECT getenv('PATH')", "SELECT * FROM duckdb_secrets()"):
        with pytest.raises((InvalidError, UnavailableError)):
            ask(stand, sql)
    rows = ask(stand, "SELECT name, value FROM duckdb_settings() WHERE name IN ('enable_external_access')").rows
    assert list(rows) == [["enable_external_access", "false"]]


@pytest.mark.row("S10.4")
@pytest.mark.parametrize("way", ["IMPORT DATABASE '{}'", "PRAGMA import_database('{}')"])
def test_no_statement_reads_a_file_while_it_is_looked_at(stand, tmp_path, way):
    """The engine rewrites these as it parses them, and to do so reads the files of the folder."""
    (tmp_path / "schema.sql").write_text("CANARY_WORDS;")
    (tmp_path / "load.sql").write_text("CANARY_WORDS;")
    told = []
    for folder in (tmp_path, tmp_path / "missing", "s3://bucket/folder"):
        with pytest.raises(InvalidError) as caught:
            ask(stand, way.format(folder))
        told.append(str(caught.value))
    assert "CANARY_WORDS" not in "".join(told)
    assert len(set(told)) == 1, "what is there and what is not must look alike"


DOORS = (
    "FROM enable_logging('QueryLog')",  # whoever asks next would be read along
    "FROM enable_logging(storage := 'file', storage_path := '/tmp/x')",  # ends the process when the log is written
    "FROM truncate_duckdb_logs()",
    "FROM duckdb_logs()",
    "FROM pandas_scan(NULL)",  # ends the process at once
    "FROM system.main.Pandas_Scan(NULL)",
    "FROM query('SELECT 1')",
    "FROM query_table('events')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "FROM checkpoint('ledger')",
    "FROM enable_profiling()",
    "FROM read_duckdb('ledger.duckdb')",
)
WAYS = (
    "SELECT * {}",
    "WITH x AS MATERIALIZED (SELECT * {}) SELECT * FROM x",
    "SELECT 1 ORDER BY (SELECT count(*) {})",
    "SELECT list_transform([1], x -> (SELECT count(*) {}))",
    "DESCRIBE SELECT * {}",
    "SELECT 1 WHERE EXISTS ({})",
)


@pytest.mark.row("S10.4")
def test_no_table_function_that_is_a_door_is_called_wherever_it_stands(stand):
    first = stand.daemon._feed.store.pid
    for door in DOORS:
        for way in WAYS:
            with pytest.raises(InvalidError) as caught:
                ask(stand, way.format(door))
            assert caught.value.code == "function_not_allowed", way.format(door)
    assert stand.daemon._feed.store.pid == first
    rows = ask(stand, "SELECT sum(n) FROM range(3) t(n), unnest([1, 2]) WHERE n IN (SELECT unnest(range(2)))").rows
    assert list(rows) == [[2]]


def test_a_select_that_is_nested_beyond_reason_is_refused_or_ended_and_the_next_one_is_answered(stand):
    for sql in ("SELECT " + "-".join("1" * 50_000), "SELECT " + "(SELECT " * 900 + "1" + ")" * 900):
        with pytest.raises((InvalidError, UnavailableError)):
            ask(stand, sql)
    assert ask(stand, "SELECT 1").rows[0] == [1]


def test_one_person_may_have_few_queries_at_once_and_leaves_room_for_others():
    turns = Turns()
    holding = [turns.shared("ada", timeout_s=0.1) for _ in range(OF_ONE_PERSON)]
    for turn in holding:
        turn.__enter__()
    with pytest.raises(UnavailableError) as caught, turns.shared("ada", timeout_s=0.1):
        pass
    assert caught.value.code == "query_busy"
    others = [turns.shared(f"p{n}", timeout_s=0.1) for n in range(AT_ONCE - OF_ONE_PERSON)]
    for turn in others:
        turn.__enter__()
    with pytest.raises(UnavailableError), turns.shared("late", timeout_s=0.1):
        pass
    for turn in (*holding, *others):
        turn.__exit__(None, None, None)
    with turns.shared("ada", timeout_s=0.1) as mine:
        assert not mine.beside


def test_who_asks_alone_is_alone():
    turns = Turns()
    order = []
    with turns.shared("ada", timeout_s=1) as first:

        def alone():
            with turns.alone():
                order.append("alone")

        thread = threading.Thread(target=alone)
        thread.start()
        time.sleep(0.1)
        with pytest.raises(UnavailableError), turns.shared("ben", timeout_s=0.1):
            pass
        assert not first.beside
        order.append("first")
    thread.join(5)
    assert order == ["first", "alone"]
    with turns.shared("ben", timeout_s=1):
        pass


def test_another_process_of_the_same_user_cannot_add(stand):
    with pytest.raises(DeniedError):
        _call_as_child(stand.home.socket("auditstore"))


def _call_as_child(socket):
    script = (
        "import sys\nfrom pathlib import Path\nfrom enclave.wire.client import WireClient\n"
        "from enclave.wire.messages.audit_store import CloseStore\n"
        "from enclave.core.errors import DeniedError\n"
        "try:\n    WireClient(Path(sys.argv[1])).call(CloseStore())\nexcept DeniedError:\n    sys.exit(10)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(socket)], timeout=60, check=False)
    if done.returncode == 10:
        raise DeniedError("refused")
