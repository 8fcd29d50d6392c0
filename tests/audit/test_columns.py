"""Records become rows: the quick way gives what reading each record for itself gives, and odd ones do no harm."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit import columns
from enclave.audit.columns import COLUMNS, DETAIL_COLUMNS, record_columns
from enclave.audit.segments import Record
from enclave.audit.vocabulary import known_kinds
from enclave.core.canonical import canonical_bytes
from enclave.policy.model import Actor
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Query

text = st.text(max_size=20)
tricky = st.sampled_from(['"detail":{', '},"id":"', '\\"detail\\":{', "\n", "\u2028", "}", '"event":{"actor":'])
words = st.one_of(text, tricky)
json_value = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), words),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(words, inner, max_size=2)),
    max_leaves=6,
)
details = st.fixed_dictionaries(
    {},
    optional={
        "code_hash": words,
        "duration_ms": st.integers(0, 2**40),
        "id": words,
        "detail": json_value,
        "x": json_value,
    },
)
events = st.fixed_dictionaries(
    {"id": st.just("0" * 32), "time": st.just("2026-11-22T12:00:00.000000Z"), "kind": words, "actor": words}
    | {"outcome": st.just("ok"), "detail": details},
    optional={"cell": words, "dataset": words, "objects": st.lists(words, max_size=2), "version": st.integers(0, 9)},
)
bodies = st.dictionaries(st.sampled_from(["code", "detail", "event"]), st.just({"bytes": 1, "hash": "aa"}), max_size=2)


def record(seq, event, bodies=None):
    value = {"event": event, "received": "2026-11-22T12:00:00.000000Z", "seq": seq, "writer": {"pid": 1, "uid": 2}}
    return Record(seq, canonical_bytes(value | ({"bodies": bodies} if bodies else {})), "s", 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(events, bodies), min_size=1, max_size=5))
def test_the_quick_way_reads_what_reading_each_record_reads(found):
    records = [record(seq, event, some) for seq, (event, some) in enumerate(found)]
    quick = columns._quick(records)
    assert quick is not None
    assert quick.to_pylist() == [columns._row(one) for one in records]
    assert [json.loads(row["detail"]) for row in quick.to_pylist()] == [event["detail"] for event, _ in found]


@pytest.mark.parametrize(
    "payload",
    [
        b"not json",
        b"{}",
        b"[1]",
        b"",
        b" ",
        b"\xff\xfe",
        b'{"event":{"actor":"a","detail":{},"id":"x"',
        b'{"event":{"actor":1,"detail":{},"id":"x"},"received":"","seq":1}',
        b'{"event":{"actor":"a","detail":{"duration_ms":"long"},"id":"x"},"received":"","seq":1}',
        b'{"event":{"actor":"a","detail":{},"id":"x"},"received":"","seq":"1"}',
        b'{"bodies":{"detail":{}},"event":{"kind":"a"},"seq":1}',
        b'{"event":{"actor":"a","detail":7,"id":"x"},"seq":1}',
    ],
)
def test_a_record_of_another_form_takes_none_of_its_neighbours_with_it(payload):
    good = {"id": "0" * 32, "time": "t", "kind": "k", "actor": "a", "outcome": "ok", "detail": {}}
    rows = record_columns([record(0, good), Record(1, payload, "s", 0), record(2, good)])
    assert rows.schema == COLUMNS
    assert [row["actor"] for row in rows.to_pylist() if row["seq"] != 1] == ["a", "a"]
    assert rows["seq"].to_pylist() in ([0, 1, 2], [0, 2])


def test_no_records_are_no_rows():
    assert record_columns([]).num_rows == 0


def test_a_key_of_detail_that_has_a_column_has_one_type_in_every_kind():
    declared = {
        key: {kind.detail[key] for kind in known_kinds().values() if key in kind.detail} for key in DETAIL_COLUMNS
    }
    wanted = {key: {"string" if str(kind) == "string" else "integer"} for key, kind in DETAIL_COLUMNS.items()}
    assert declared == wanted


HELD = [{"lease": "c" * 32, "version": "a@1"}]


def run_cell(auditd, cell, *, parts=("intent", "ok")):
    told = {"actor": "rosa", "project": "demo", "kernel": "a" * 32, "cell": cell}
    if "intent" in parts:
        bodies = {"code": f"run('{cell}')", "notebook": f"demo/{cell[0]}.ipynb"}
        auditd.client.record("cell.execute", outcome="intent", bodies=bodies, detail={"leases": []}, **told)
    if "ok" in parts:
        detail = {"duration_ms": 5, "datasets": ["a@1"]} | ({"leases": HELD} if cell[0] == "1" else {})
        auditd.client.record("cell.execute", detail=detail, objects=("t",), **told)
    if "refused" in parts:
        auditd.client.record("cell.execute", outcome="refused", reason="no_ledger", **told)


@pytest.mark.row("S10.2")
@pytest.mark.parametrize("how", ["live", "restarted", "rebuilt"])
def test_a_cell_is_one_row_wherever_its_end_comes(auditd, how):
    auditd.people["ada"] = Actor("ada", frozenset({"auditor"}))

    def ask(sql):
        client = WireClient(auditd.home.socket("auditd"))
        try:
            return list(client.call(Query(token="ada", sql=sql)).rows)
        finally:
            client.close()

    def pause():
        ask("SELECT 1")
        if how == "restarted":
            auditd.stop()
            auditd.start()

    run_cell(auditd, "1" * 32, parts=("intent",))
    run_cell(auditd, "2" * 32)
    pause()
    told = "SELECT cell, status, code, duration_ms, datasets, objects, ended IS NULL FROM cell_executions ORDER BY seq"
    one, two = "1" * 32, "2" * 32
    done = [two, "ok", f"run('{two}')", 5, '["a@1"]', ["t"], False]
    assert ask(told) == [[one, "running", f"run('{one}')", None, None, None, True], done]
    pause()
    run_cell(auditd, one, parts=("ok",))
    run_cell(auditd, "3" * 32, parts=("refused",))
    pause()
    if how == "rebuilt":
        auditd.daemon._feed.rebuild(auditd.daemon.ledger.size)
    rows = ask(told)
    assert rows[:2] == [[one, "ok", f"run('{one}')", 5, '["a@1"]', ["t"], False], done]
    assert [row[:2] for row in rows[2:]] == [["3" * 32, "refused"]]
    stated = ask("SELECT notebook, leases FROM cell_executions ORDER BY seq")
    assert [(notebook, leases and json.loads(leases)) for notebook, leases in stated] == [
        ("demo/1.ipynb", HELD),  # the end knew better
        ("demo/2.ipynb", []),
        (None, None),
    ]
