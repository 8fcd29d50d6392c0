"""The control catalogue, and the pack that an inspector gets of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from enclave.audit.controls import KINDS, WORKFLOWS, known_controls, parse_controls
from enclave.audit.evidence_page import html_of
from enclave.audit.verify import verify_log
from enclave.cli.session import Session, write_session
from enclave.core.errors import InvalidError, NotFoundError
from enclave.policy.model import Actor

TESTS = Path(__file__).parents[2]
GOOD = """
[one]
kind = "technical"
safeguard = "S"
section = "164.312(a)(2)(i), (d)"
workflow = ["view"]
rows = ["S10.1"]
mechanism = "M."
events = ["login.ok"]
tests = ["x.py::test_x"]
"""


@pytest.fixture
def evidence(auditd, watchd, monkeypatch, tmp_path) -> Any:
    """Runs `enclave audit evidence` as a person; returns exit code and standard error."""
    monkeypatch.setenv("ENCLAVE_SESSION", str(tmp_path / "session.json"))
    people = {"ada": "auditor", "rosa": "researcher"}
    auditd.people |= {f"{name}-token": Actor(name, frozenset({role})) for name, role in people.items()}

    def run(*words: Any, who: str = "ada") -> tuple[int, str]:
        write_session(auditd.home, Session(token=f"{who}-token", person=who, expires=int(time.time()) + 600))
        command = [sys.executable, "-m", "enclave.cli.main", "audit", "evidence", *map(str, words)]
        command += ["--home", str(auditd.home.root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    return run


@pytest.mark.row("S2.1")
def test_the_catalogue_has_every_kind_of_safeguard_for_every_workflow_and_names_tests_that_exist() -> None:
    controls = known_controls()
    assert {control.kind for control in controls} == set(KINDS)
    for workflow in WORKFLOWS:
        assert any(control.by == "product" and workflow in control.workflow for control in controls), workflow
    for control in controls:
        for test in control.tests:
            path, _, function = test.partition("::")
            assert f"def {function}(" in (TESTS / path).read_text("utf-8"), test


@pytest.mark.row("S2.1")
def test_the_pack_counts_what_happened_in_the_period_for_every_control(auditd, evidence, tmp_path) -> None:
    auditd.client.record("login.ok", actor="rosa", source="10.1.2.3")
    for _ in range(2):
        auditd.client.record("login.refused", actor="rosa", outcome="refused", reason="mfa_missing")
    out = tmp_path / "pack"
    code, err = evidence("--output", out)
    assert code == 0, err
    pack = json.loads((out / "evidence.json").read_text("utf-8"))
    assert [one["id"] for one in pack["controls"]] == [control.id for control in known_controls()]
    (found,) = [one for one in pack["controls"] if one["id"] == "log-in-monitoring"]
    assert found["events"] == {"login.ok": {"ok": 1}, "login.refused": {"refused": 2}, "login.out": {}}
    assert verify_log(auditd.home.state("audit"), against=(pack["checkpoint"],)).ok
    for line in (out / "SHA256SUMS").read_text("ascii").splitlines():
        digest, name = line.split()
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    page = (out / "evidence.html").read_text("utf-8")
    assert "<code>login.refused</code> 2 refused" in page
    assert "<script" not in page
    assert evidence("--output", tmp_path / "old", "--from", "2001-01-01", "--to", "2001-02-01")[0] == 0
    old = json.loads((tmp_path / "old" / "evidence.json").read_text("utf-8"))
    assert not any(any(one["events"].values()) for one in old["controls"])


def test_an_act_without_a_ticket_is_said_and_ends_with_three(auditd, evidence, tmp_path) -> None:
    auditd.client.record("project.create", actor="stella", role="data_steward", project="demo")
    code, err = evidence("--output", tmp_path / "pack")
    assert code == 3
    assert "1 administrative act without a ticket" in err


def test_a_pack_whose_checkpoint_is_an_older_one_says_so_and_ends_with_three(
    auditd, evidence, tmp_path, monkeypatch
) -> None:
    def silent_key(_message: bytes) -> bytes:
        raise NotFoundError("token: wanted the token that the URI names, got none that fits", code="token_missing")

    auditd.daemon.ledger.checkpoint()
    monkeypatch.setattr(auditd.daemon.ledger, "_sign", silent_key)
    auditd.client.record("login.ok", actor="rosa", source="10.1.2.3")
    code, err = evidence("--output", tmp_path / "pack")
    assert code == 3
    assert "The checkpoint leaves out" in err
    pack = json.loads((tmp_path / "pack" / "evidence.json").read_text("utf-8"))
    assert pack["events_unsigned"] > 0
    assert f"\n{pack['size']}\n" in pack["checkpoint"]
    assert "newer events, which could not be signed" in (tmp_path / "pack" / "evidence.html").read_text("utf-8")


def test_who_is_no_auditor_gets_no_pack(evidence, tmp_path) -> None:
    assert evidence("--output", tmp_path / "pack", who="rosa")[0] == 10
    assert not (tmp_path / "pack").exists()


def test_nothing_is_overwritten_and_a_period_begins_before_it_ends(evidence, tmp_path) -> None:
    assert evidence("--output", tmp_path)[0] == 13
    assert evidence("--output", tmp_path / "pack", "--from", "2026-02-01", "--to", "2026-01-01")[0] == 12
    assert evidence("--output", tmp_path / "pack", "--from", "soon")[0] == 12


def test_what_stands_in_the_pack_is_escaped_on_the_page() -> None:
    control = {name: [] for name in ("workflow", "rows", "tests")} | {"events": {}, "kind": "technical"}
    control |= dict.fromkeys(("safeguard", "section", "mechanism", "held_by"), "<script>x</script>")
    pack: dict[str, Any] = dict.fromkeys(("from", "to", "written", "checkpoint"), "<script>x</script>")
    pack |= {"size": 1, "events_unsigned": 2, "controls": [control], "weeks_unsigned": ["<b>"]}
    page = html_of(pack | {"acts_without_ticket": 0})
    assert "leaves out 2 newer events" in page
    assert "<script>" not in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "technical"', 'kind = "nice"'),
        ("164.312(a)(2)(i)", "165.312"),
        ("(d)", "soon"),
        ('["view"]', "[]"),
        ('["view"]', '["look"]'),
        ('["S10.1"]', '["S17.1"]'),
        ('["S10.1"]', "[]"),
        ('["login.ok"]', '["no.such_kind"]'),
        ('["login.ok"]', "[]"),
        ('["x.py::test_x"]', "[]"),
        ('mechanism = "M."\n', ""),
        ('safeguard = "S"', 'safeguard = "S"\nmore = 1'),
        ("[one]", "[one"),
        ('mechanism = "M."', 'mechanism = "M."\nby = "somebody"'),
    ],
)
def test_a_malformed_control_is_refused(old: str, new: str) -> None:
    assert parse_controls(GOOD)[0].id == "one"
    with pytest.raises(InvalidError):
        parse_controls(GOOD.replace(old, new))
