"""Records of the ledger as OCSF events: every kind has its class, nothing of the record is lost, proofs lead back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from enclave.audit.merkle import leaf_hash
from enclave.audit.ocsf import event_of, line_of
from enclave.audit.vocabulary import known_kinds
from enclave.cli.main import app

SCHEMA = json.loads((Path(__file__).parent / "ocsf_schema.json").read_text("utf-8"))
AT = "2026-11-22T12:00:00.500000Z"
FULL = {
    "actor": "rosa",
    "dataset": "set-a",
    "version": 3,
    "project": "lungs",
    "objects": ["object-1"],
    "session": "5" * 32,
    "kernel": "6" * 32,
    "cell": "7" * 32,
    "source": "192.0.2.7",
    "ticket": "CHG-1",
    "trace": "8" * 32,
    "role": "researcher",
    "id": "9" * 32,
    "time": AT,
}


def record_of(**event):
    return {"event": {"detail": {}, **event}, "received": AT, "seq": 7, "writer": {"pid": 1, "uid": 2}}


def told(record):
    event = event_of(record, leaf=b"\1" * 32, origin="enclave.local/test", product_version="1")
    found = json.loads(line_of(event))
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


@pytest.mark.row("S10.6")
@pytest.mark.parametrize("kind", sorted(known_kinds()))
def test_every_kind_and_every_outcome_is_an_event_of_the_schema(kind):
    for outcome in ("ok", "intent", "refused", "failed"):
        for event in (FULL, {name: FULL[name] for name in ("actor", "id", "time")}):
            found = told(record_of(**event, kind=kind, outcome=outcome, reason="some_code"))
            assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
            assert found["metadata"]["event_code"] == kind
            assert (found["status_id"] == 2) is (outcome in ("refused", "failed"))


def test_sign_ins_and_data_have_classes_of_their_own():
    login = told(record_of(**FULL, kind="login.ok", outcome="ok"))
    assert (login["class_uid"], login["activity_name"], login["user"]) == (3002, "Logon", {"uid": "rosa"})
    assert login["src_endpoint"]["ip"] == "192.0.2.7"
    read = told(record_of(**FULL, kind="dataset.read", outcome="ok"))
    assert (read["class_uid"], read["activity_name"], read["databucket"]["name"]) == (6005, "Read", "set-a@3")
    cell = told(record_of(**FULL, kind="cell.execute", outcome="intent"))
    assert (cell["class_uid"], cell["api"]["operation"], cell["status"]) == (6003, "cell.execute", "intent")


def test_a_time_that_is_none_is_that_of_the_ledger():
    assert told(record_of(**(FULL | {"time": "tomorrow"}), kind="login.ok", outcome="ok"))["time"] == 1795348800500


@given(st.text(max_size=40), st.text(max_size=40))
def test_an_event_is_one_line_whatever_the_names_hold(actor, source):
    record = record_of(**(FULL | {"actor": actor, "source": source}), kind="cell.execute", outcome="ok")
    line = line_of(event_of(record, leaf=b"\1" * 32, origin="o", product_version="1"))
    assert "\n" not in line
    assert json.loads(line)["actor"]["user"]["uid"] == actor


def test_an_export_holds_the_proven_records_and_the_same_events_for_a_siem(auditd, tmp_path):
    for number in range(5):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    auditd.stop()
    folder, output = auditd.home.state("audit"), tmp_path / "out"
    vkey = folder / "log" / "vkey"
    words = ["audit", "export", "--format", "ocsf", "--log", str(folder), "--vkey", str(vkey), "--output", str(output)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    records = (output / "events.jsonl").read_bytes().splitlines()
    lines = [json.loads(line) for line in (output / "events.ocsf.jsonl").read_bytes().splitlines()]
    assert [line["unmapped"]["leaf_hash"] for line in lines] == [leaf_hash(record).hex() for record in records]
    assert [line["metadata"]["sequence"] for line in lines] == list(range(len(records)))
    assert {line["metadata"]["log_name"] for line in lines} == {(folder / "origin").read_text().strip()}
    command = [sys.executable, "-I", str(output / "verify_export.py"), str(output), "--vkey", str(vkey)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
