"""`enclave audit alerts|drill|review|lineage|tail` as people type them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from enclave.audit.alerts.rules import known_rules
from enclave.cli.session import Session, write_session
from enclave.policy.model import Actor


@pytest.fixture
def enclave(auditd, watchd, monkeypatch, tmp_path) -> Any:
    """Runs the command as the auditor ada; returns exit code, standard output and standard error."""
    monkeypatch.setenv("ENCLAVE_SESSION", str(tmp_path / "session.json"))
    write_session(auditd.home, Session(token="ada-token", person="ada", expires=int(time.time()) + 600))
    auditd.people["ada-token"] = Actor("ada", frozenset({"auditor"}))

    def run(*words: Any) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "enclave.cli.main", "audit", *map(str, words), "--home", str(auditd.home.root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_alerts_are_listed_shown_taken_up_and_closed(auditd, watchd, enclave):
    auditd.client.record("project.create", actor="stella", project="demo")
    alert = watchd.alert("admin_without_ticket")
    code, out, _ = enclave("alerts", "list", "--json", "-")
    assert code == 0
    assert [one["id"] for one in json.loads(out)["alerts"]] == [alert.id]
    assert alert.id[:12] in enclave("alerts", "list")[1]
    assert "ticket" in enclave("alerts", "show", alert.id[:8])[2]
    assert enclave("alerts", "acknowledge", alert.id[:8])[0] == 0
    code, out, _ = enclave(
        "alerts", "resolve", alert.id, "--verdict", "expected", "--reason", "Ticket OPS-1.", "--json", "-"
    )
    assert code == 0
    assert json.loads(out)["state"] == "resolved"
    assert json.loads(enclave("alerts", "list", "--json", "-")[1])["alerts"] == []
    assert enclave("alerts", "acknowledge", alert.id)[0] == 13
    assert enclave("alerts", "acknowledge", "0" * 32)[0] == 12


@pytest.mark.row("S10.8")
def test_a_drill_shows_what_fired_after_how_long_and_who_got_it(enclave):
    code, out, err = enclave("drill", "--json", "-")
    assert code == 0, err
    found = json.loads(out)
    assert {rule["rule"] for rule in found["rules"] if rule["fired"]} == set(known_rules())
    assert all(rule["channels"][0]["channel"] == "file" for rule in found["rules"])
    code, out, err = enclave("drill", "--rule", "break_glass")
    assert code == 0
    assert "break_glass\tyes\t" in out
    assert enclave("drill", "--rule", "no_such")[0] == 11


def test_unsigned_weeks_are_told_and_a_signature_needs_a_finished_week(auditd, enclave):
    code, out, _ = enclave("review", "list", "--json", "-")
    assert code == 0
    assert json.loads(out)["unsigned"] == []
    code, _, err = enclave("review", "sign", "2020-W01", "--note", "Looked.")
    assert code == 11, err
    assert enclave("review", "sign", "soon", "--note", "Looked.")[0] == 12


@pytest.mark.row("S10.2")
def test_the_lineage_of_a_file_is_a_list_a_document_and_a_page(auditd, enclave, tmp_path):
    from enclave.audit.lineage_rows import subject_of

    file = tmp_path / "figure.png"
    file.write_bytes(b"a figure")
    told = {"actor": "rosa", "project": "demo", "kernel": "ab" * 16, "cell": "cd" * 16}
    submitted = {"request": "ef" * 16, "sha256": [subject_of(str(file))], "round": 1}
    auditd.client.record("egress.submit", **told, detail=submitted, bodies={"purpose": "A talk."})
    code, out, _ = enclave("lineage", file, "--json", "-", "--html", tmp_path / "page.html")
    assert code == 0
    kinds = [node["kind"] for node in json.loads(out)["nodes"]]
    assert kinds == ["kernel", "cell", "request", "file"]
    assert "A talk." in (tmp_path / "page.html").read_text()
    assert "handed in" in enclave("lineage", file)[1]
    (tmp_path / "other").write_bytes(b"nobody knows it")
    assert enclave("lineage", tmp_path / "other")[0] == 11
    assert enclave("lineage", "nonsense")[0] == 12


def test_tail_narrows_by_kind_and_actor(auditd, enclave):
    auditd.client.record("login.ok", actor="rosa")
    auditd.client.record("login.ok", actor="rolf")
    code, out, _ = enclave("tail", "--kind", "login.%", "--actor", "rosa")
    assert code == 0
    assert [line.split("\t")[3] for line in out.splitlines()] == ["actor", "rosa"]
    assert enclave("tail", "--kind", "x' OR 1=1 --")[0] == 12


@pytest.mark.row("S10.7")
def test_administrative_acts_are_listed_with_their_tickets_and_those_without_are_told(auditd, enclave):
    auditd.client.record("project.create", actor="stella", project="demo", ticket="OPS-1")
    code, out, _ = enclave("tickets", "--json", "-")
    assert code == 0
    assert [row["ticket"] for row in json.loads(out)["rows"]] == ["OPS-1"]
    auditd.client.record("project.close", actor="stella", project="demo")
    code, out, err = enclave("tickets", "--missing", "--json", "-")
    assert (code, [row["kind"] for row in json.loads(out)["rows"]]) == (3, ["project.close"])
    assert "1 administrative acts have no ticket" in err
    assert enclave("rebuild", "--ticket", "OPS-2")[0] == 0
    assert [e["ticket"] for e in auditd.events(kind="audit.rebuild", actor="operator")] == ["OPS-2", "OPS-2"]
    assert enclave("rebuild", "--ticket", "not a ticket")[0] == 12
