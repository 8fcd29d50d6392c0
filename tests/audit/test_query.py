"""What auditors may ask, and what nobody can."""

from __future__ import annotations

import shutil
import time

import pytest

from enclave.audit.merkle import leaf_hash
from enclave.audit.segments import Record, read_segment, segment_files
from enclave.audit.views import VIEW_NAMES
from enclave.core.errors import DeniedError, InvalidError, UnavailableError
from enclave.policy.model import ROLES, Actor
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Query, Rebuild, State

CELL = "0" * 31 + "1"


@pytest.fixture
def desk(auditd):
    """Asks as the auditor ``ada``; ``token`` names somebody else."""
    auditd.people["ada-token"] = Actor("ada", frozenset({"auditor"}))
    client = WireClient(auditd.home.socket("auditd"))

    def ask(sql, *, token="ada-token", limit=100):
        return client.call(Query(token=token, sql=sql, limit=limit))

    yield ask
    client.close()


def run_cell(auditd, code="x = 1", outcome="ok"):
    told = {"actor": "rosa", "project": "demo", "kernel": "a" * 32, "cell": CELL}
    auditd.client.record("cell.execute", outcome="intent", detail={"code_hash": "c0de"}, bodies={"code": code}, **told)
    auditd.client.record(
        "cell.execute", outcome=outcome, detail={"duration_ms": 12, "outputs": [{"mime": "text/plain"}]}, **told
    )


@pytest.mark.row("S10.1")
def test_an_event_is_queryable_at_once(auditd, desk):
    receipt = auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": 41})
    rows = desk("SELECT seq, actor, (detail ->> 'rows')::INT AS n, leaf_hash FROM events WHERE kind = 'audit.rebuild'")
    assert rows.columns == ("seq", "actor", "n", "leaf_hash")
    assert list(rows.rows) == [[receipt.seq, "service:test", 41, receipt.leaf_hash]]


@pytest.mark.row("S10.2")
def test_a_cell_is_one_row_with_its_code_its_status_and_its_outputs(auditd, desk):
    run_cell(auditd, code="print('one')")
    rows = desk("SELECT cell, actor, status, code, duration_ms, ended >= started, outputs FROM cell_executions")
    assert list(rows.rows) == [[CELL, "rosa", "ok", "print('one')", 12, True, '[{"mime":"text/plain"}]']]


def test_a_query_may_have_several_lines(desk):
    assert list(desk("SELECT 1 AS one, -- a comment\n\t2 AS two\n").rows[0]) == [1, 2]


def test_every_view_shows_the_acts_it_is_about_and_no_others(auditd, desk):
    run_cell(auditd)
    for kind in ("lease.end", "egress.withdraw", "login.out"):
        auditd.client.record(kind, actor="rosa")
    auditd.client.record("project.close", actor="rosa", outcome="refused", reason="role")
    for view in set(VIEW_NAMES) - {"events", "cell_executions"}:
        shown = desk(f"SELECT actor FROM {view} WHERE actor = 'rosa'").rows
        assert list(shown) == [["rosa"]], view
    assert [row[0] for row in desk("SELECT action FROM egress_history").rows] == ["withdraw"]
    assert [row[0] for row in desk("SELECT reason FROM denials").rows] == ["role"]
    assert [row[0] for row in desk("SELECT cell FROM cell_executions").rows] == [CELL]
    seen = {row[0] for row in desk("SELECT kind FROM events").rows}
    assert {"cell.execute", "lease.end", "egress.withdraw", "login.out", "project.close", "audit.query"} <= seen


@pytest.mark.row("S10.7")
def test_administrative_acts_are_those_that_change_what_others_may_with_their_tickets(auditd, desk):
    acts = ("dataset.seal", "kernel.end", "authenticator.enrol", "packages.build", "project.member_add")
    for kind in (*acts, "dataset.read", "cell.execute", "login.ok", "alert.list"):
        auditd.client.record(kind, actor="stella", ticket="CHG-1")
    rows = desk("SELECT kind, ticket FROM admin_actions WHERE actor = 'stella' ORDER BY seq").rows
    assert list(rows) == [[kind, "CHG-1"] for kind in acts]
    assert desk("SELECT count(*) FROM admin_actions WHERE kind = 'audit.query'").rows[0] == [
        0
    ]  # to look changes nothing


@pytest.mark.row("S10.4")
@pytest.mark.parametrize("role", sorted(ROLES - {"auditor"}))
def test_every_other_role_is_refused_and_the_refusal_is_in_the_ledger(auditd, desk, role):
    name = "service:test" if role == "service" else "sam"
    auditd.people["t"] = Actor(name, frozenset({role}))
    with pytest.raises(DeniedError):
        desk("SELECT 1", token="t")
    assert [e["actor"] for e in auditd.events(kind="audit.query", outcome="refused")] == [name]


def test_a_token_of_nobody_is_refused_and_the_refusal_is_in_the_ledger(auditd, desk):
    with pytest.raises(DeniedError) as caught:
        desk("SELECT 1", token="made-up")
    assert caught.value.code == "token_invalid"
    assert len(auditd.events(kind="audit.query", outcome="refused", reason="token_invalid")) == 1


def test_each_query_is_itself_an_event_with_who_and_how_many(auditd, desk):
    desk("SELECT 1")
    found = auditd.events(kind="audit.query", actor="ada")
    assert [e["outcome"] for e in found] == ["intent", "ok"]
    assert found[1]["detail"]["rows"] == 1


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO records (seq) VALUES (-1)",
        "DELETE FROM records",
        "DROP VIEW events",
        "CREATE TABLE t (a INT)",
        "SELECT 1; SELECT 2",
        "ATTACH ':memory:' AS other",
        "COPY records TO 'x.csv'",
        "SET memory_limit = '8GB'",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "INSTALL json",
        "LOAD httpfs",
        "EXPLAIN SELECT 1",
        "",
        "not sql",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM found",
        "SELECT 1) UNION ALL (SELECT 2",
        "SELECT * FROM duckdb_secrets()",
    ],
)
def test_whatever_is_not_a_select_over_the_store_is_refused(auditd, desk, sql):
    with pytest.raises((InvalidError, UnavailableError)):
        desk(sql)
    before = auditd.daemon.ledger.size
    desk("SELECT count(*) FROM records")
    assert auditd.daemon.ledger.size == before + 2


def test_rows_beyond_the_limit_are_cut_and_the_reply_says_so(desk):
    rows = desk("SELECT * FROM range(50)", limit=10)
    assert len(rows.rows) == 10
    assert rows.truncated
    assert desk("SELECT repeat('x', 100000) FROM range(50)").truncated


def test_a_query_that_runs_too_long_is_ended(auditd, desk):
    auditd.daemon._desk._timeout_s = 0.3
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        desk("SELECT count(*) FROM range(100000000) a, range(1000) b WHERE hash(a.range, b.range) = 1")
    assert caught.value.code == "query_timeout"
    assert time.monotonic() - began < 30


@pytest.mark.row("S10.4")
def test_no_file_of_the_ledger_holds_what_stands_in_bodies_in_clear(auditd, desk):
    run_cell(auditd, code="CANARY_" * 50)
    assert desk("SELECT count(*) FROM cell_executions WHERE code LIKE 'CANARY_%'").rows[0] == [1]
    auditd.client.record("audit.rebuild", actor="service:test", detail={"cause": "STORED_IN_THE_RECORD"})
    desk("SELECT 1")
    for state in ("open", "closed"):
        for path in auditd.home.state("audit").rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            assert b"CANARY_" not in data, (state, path)
            assert "store" not in path.parts or b"STORED_IN_THE_RECORD" not in data, (state, path)
        auditd.stop()


@pytest.mark.parametrize("damage", ["gone", "garbage", "other_key"])
def test_a_lost_query_store_is_built_again_from_the_segments(auditd, desk, damage):
    run_cell(auditd)
    desk("SELECT 1")
    auditd.stop()
    path = auditd.home.state("audit") / "store" / "ledger.duckdb"
    if damage == "gone":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"\0" * 5000)
    else:
        from enclave.keys.files import new_symmetric

        auditd.home.key_file("audit-store").unlink()
        new_symmetric(auditd.home.key_file("audit-store"))
    auditd.start()
    assert desk("SELECT code FROM cell_executions").rows[0] == ["x = 1"]


def test_rebuild_makes_the_same_store_and_is_an_event(auditd, desk):
    run_cell(auditd)
    before = desk("SELECT * FROM records WHERE kind = 'cell.execute' ORDER BY seq").rows
    client = WireClient(auditd.home.socket("auditd"))
    rows = client.call(Rebuild()).rows
    assert rows >= 3
    assert desk("SELECT * FROM records WHERE kind = 'cell.execute' ORDER BY seq").rows == before
    assert client.call(State()).queryable >= rows
    client.close()
    assert [e["outcome"] for e in auditd.events(kind="audit.rebuild")] == ["intent", "ok"]


def test_no_record_is_in_the_store_twice_after_restarts(auditd, desk):
    for _ in range(3):
        run_cell(auditd)
        desk("SELECT 1")
        auditd.stop()
        auditd.start()
    assert desk("SELECT count(*) - count(DISTINCT seq), count(*) - max(seq) - 1 FROM records").rows[0] == [0, 0]


def test_who_asks_with_an_older_size_of_the_log_does_not_have_the_store_built_again(auditd, desk):
    for number in range(5):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    feed, size = auditd.daemon._feed, auditd.daemon.ledger.size
    process = desk("SELECT 1") and feed.store.pid
    assert feed.catch_up(size - 3) >= size
    assert (feed.cause, feed.store.pid) == ("", process)


def test_a_store_that_knows_more_than_the_log_is_built_again_and_says_so(auditd, desk, tmp_path):
    auditd.client.record("audit.rebuild", actor="service:test")
    auditd.stop()
    log = [auditd.home.state("audit") / name for name in ("segments", "log", "bodies")]
    for folder in log:
        shutil.copytree(folder, tmp_path / "before" / folder.name)
    auditd.start()
    for _ in range(9):
        auditd.client.record("login.ok", actor="mallory")
    assert desk("SELECT count(*) FROM events WHERE actor = 'mallory'").rows[0] == [9]
    auditd.stop()
    for folder in log:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "before" / folder.name, folder)
    auditd.start()
    assert desk("SELECT count(*) FROM events WHERE actor = 'mallory'").rows[0] == [0]
    end = time.monotonic() + 60
    while not (told := auditd.events(kind="audit.rebuild", actor="service:auditd")) and time.monotonic() < end:
        time.sleep(0.05)
    assert [event["detail"]["cause"] for event in told] == ["ahead_of_the_log"]


@pytest.mark.row("S10.2")
def test_a_store_that_holds_records_which_the_ledger_lost_is_built_again(auditd, desk):
    """A spoilt tail is cut when the ledger opens; what it writes then has numbers that the store has seen before."""
    folder = auditd.home.state("audit")
    signed = auditd.client.record("audit.rebuild", actor="service:kept").seq
    desk("SELECT 1")
    checkpoint = auditd.daemon.ledger.checkpoint()
    lost = auditd.client.record("audit.rebuild", actor="service:lost").seq
    desk("SELECT 1")
    auditd.stop()
    (folder / "log" / "checkpoint").write_text(checkpoint)
    (segment,) = segment_files(folder / "segments")
    place = next(r.offset for r in read_segment(segment) if isinstance(r, Record) and r.seq == lost)
    data = bytearray(segment.read_bytes())
    data[place + 40] ^= 1
    segment.write_bytes(data)
    auditd.start()
    assert signed < auditd.daemon.ledger.size
    for number in range(20):
        auditd.client.record("audit.rebuild", actor="service:after", detail={"rows": number})
    shown = dict(desk("SELECT seq, leaf_hash FROM events ORDER BY seq", limit=1000).rows)
    written = {r.seq: leaf_hash(r.payload).hex() for r in read_segment(segment) if isinstance(r, Record)}
    assert shown == {seq: written[seq] for seq in shown}
    assert desk("SELECT count(*) FROM events WHERE actor = 'service:lost'").rows[0] == [0]
    auditd.daemon._level()
    (told,) = auditd.events(kind="audit.rebuild", actor="service:auditd")
    assert told["detail"]["cause"] == "differs_from_the_log"
