"""`enclave audit` as people type it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main

from enclave.audit.checkpoint import VerifierKey, verify_checkpoint
from enclave.audit.merkle import holds_consistency, holds_inclusion
from enclave.audit.spare import written_in
from enclave.cli.audit import app
from enclave.cli.audit_examples import EXAMPLES
from enclave.cli.session import Session, write_session
from enclave.keys.verify import verify_ed25519
from enclave.policy.model import Actor


@pytest.fixture
def enclave(auditd):
    """Runs the command on the fixture's home; returns exit code, standard output and standard error."""

    def run(*words):
        command = [sys.executable, "-m", "enclave.cli.main", "audit", *map(str, words), "--home", str(auditd.home.root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def write(auditd, count):
    for number in range(count):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})


@pytest.mark.row("S10.3")
def test_verify_says_0_for_a_whole_log_and_15_after_one_byte_is_changed(auditd, enclave, tmp_path):
    write(auditd, 20)
    (tmp_path / "saved").write_text(enclave("checkpoint")[1])
    code, out, _ = enclave("verify", "--json", "-", "--against", tmp_path / "saved")
    assert code == 0
    verdict = json.loads(out)
    assert verdict == {"ok": True, "size": 21, "root": verdict["root"], "first_bad_seq": None, "damage": []}
    copy = tmp_path / "copy"
    shutil.copytree(auditd.home.state("audit"), copy)
    path = next((copy / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[written_in(bytes(data)) // 2] ^= 1
    path.write_bytes(data)
    code, out, err = enclave("verify", "--log", copy, "--json", "-")
    verdict = json.loads(out)
    assert code == 15
    assert "ledger" in err
    assert not verdict["ok"]
    assert verdict["damage"][0]["kind"] == "edit"
    assert verdict["first_bad_seq"] == verdict["damage"][0]["seq"]


def test_a_proof_holds_for_whoever_has_only_the_verifier_key(auditd, enclave):
    write(auditd, 300)
    older = json.loads(enclave("checkpoint", "--json", "-")[1])
    write(auditd, 40)
    enclave("checkpoint")
    key = VerifierKey.parse(enclave("vkey")[1])
    code, out, _ = enclave("prove", 17, "--from", older["size"])
    assert code == 0
    proof = json.loads(out)
    head = verify_checkpoint(proof["checkpoint"], key=key, verify=verify_ed25519)
    path = [bytes.fromhex(step) for step in proof["inclusion"]]
    assert holds_inclusion(bytes.fromhex(proof["leaf_hash"]), 17, head.size, head.root, path)
    steps = [bytes.fromhex(step) for step in proof["consistency"]]
    assert holds_consistency(older["size"], bytes.fromhex(older["root"]), head.size, head.root, steps)


def test_a_proof_is_checked_without_the_log_and_no_changed_one_passes(auditd, enclave, tmp_path):
    write(auditd, 300)
    enclave("checkpoint")
    (tmp_path / "vkey").write_text(enclave("vkey")[1])
    text = tmp_path / "event.tlog-proof"
    code, out, _ = enclave("prove", 17, "--from", 200, "--tlog-proof", text)
    assert code == 0
    proof = json.loads(out)
    path = tmp_path / "proof.json"

    def check(**changes):
        path.write_text(json.dumps(proof | changes))
        command = [sys.executable, "-m", "enclave.cli.main", "audit", "check-proof", path, "--vkey", tmp_path / "vkey"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).returncode

    assert check() == 0
    assert check(record=proof["record"].replace("service:test", "service:evil")) == 15
    assert check(seq=18) == 15
    assert check(inclusion=proof["inclusion"][::-1]) == 15
    assert check(old_root="00" * 32) == 15
    assert check(size=299) == 15
    assert check(checkpoint=proof["checkpoint"].replace("\n301\n", "\n302\n")) == 15
    assert check(leaf_hash="xyz") == 12
    assert check(more=1) == 12
    lines = text.read_text().splitlines()
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 17"]
    assert len(lines) == 2 + len(proof["inclusion"]) + 1 + len(proof["checkpoint"].splitlines())


def test_nothing_is_proven_that_the_log_does_not_hold(auditd, enclave):
    write(auditd, 3)
    enclave("checkpoint")
    assert enclave("prove", 400)[0] == 12
    assert enclave("prove", 0, "--from", 400)[0] == 12
    auditd.stop()
    path = next((auditd.home.state("audit") / "segments").iterdir())
    path.write_bytes(path.read_bytes().replace(b"service:test", b"service:evil"))
    assert enclave("prove", 1)[0] == 15


def test_an_export_verifies_on_its_own_and_holds_no_bodies_and_no_keys(auditd, enclave, tmp_path):
    auditd.client.record(
        "cell.execute", actor="rosa", outcome="intent", detail={"code_hash": "00"}, bodies={"code": "CANARY"}
    )
    enclave("checkpoint")
    code, _, _ = enclave("export", "--output", tmp_path / "out")
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["log", "origin", "segments"]
    assert enclave("verify", "--log", tmp_path / "out", "--vkey", tmp_path / "out" / "log" / "vkey")[0] == 0
    assert enclave("export", "--output", tmp_path / "out")[0] == 13


def test_a_query_without_a_sign_in_is_denied(auditd, enclave):
    assert enclave("query", "SELECT 1")[0] == 10


def test_an_auditor_who_signed_in_asks_and_follows(auditd, enclave, monkeypatch, tmp_path):
    monkeypatch.setenv("ENCLAVE_SESSION", str(tmp_path / "session.json"))
    write_session(auditd.home, Session(token="t", person="ada", expires=int(time.time()) + 60))
    auditd.people["t"] = Actor("ada", frozenset({"auditor"}))
    write(auditd, 3)
    code, out, _ = enclave(
        "query", "SELECT kind, count(*) AS n FROM events GROUP BY kind ORDER BY n DESC", "--json", "-"
    )
    assert code == 0
    assert json.loads(out)["rows"][0] == {"kind": "audit.rebuild", "n": 3}
    code, out, _ = enclave("tail", "-n", 3)
    assert code == 0
    assert "audit.query" in out
    assert enclave("query", "DROP VIEW events")[0] == 12
    auditd.people["t"] = Actor("rosa", frozenset({"researcher"}))
    assert enclave("query", "SELECT 1")[0] == 10
    auditd.stop()
    assert enclave("query", "SELECT 1")[0] == 14


def test_rebuild_works_beside_a_running_ledger_and_without_one(auditd, enclave):
    write(auditd, 10)
    assert json.loads(enclave("rebuild", "--json", "-")[1])["rows"] >= 11
    auditd.stop()
    assert json.loads(enclave("rebuild", "--json", "-")[1])["rows"] >= 12


def test_without_a_home_the_message_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "enclave.cli.main", "audit", "verify", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 11
    assert "enclave init" in done.stderr


def test_the_daemon_says_why_it_does_not_start(tmp_path, auditd):
    command = [sys.executable, "-m", "enclave.cli.auditd", "--home"]
    missing = subprocess.run(
        [*command, str(tmp_path / "none")], capture_output=True, text=True, timeout=60, check=False
    )
    assert missing.returncode == 11
    (tmp_path / "broken").mkdir()
    shutil.copytree(auditd.home.root / "keys", tmp_path / "broken" / "keys")
    for name in ("enclave.toml", "format"):
        shutil.copyfile(auditd.home.root / name, tmp_path / "broken" / name)
    (tmp_path / "broken" / "audit").write_text("a file where a folder belongs")
    broken = subprocess.run(
        [*command, str(tmp_path / "broken")], capture_output=True, text=True, timeout=60, check=False
    )
    assert broken.returncode == 14
    assert "EEXIST" in broken.stderr
    second = subprocess.run([*command, str(auditd.home.root)], capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 13
    assert "another process" in second.stderr
    assert Path(auditd.home.socket("auditd")).exists()


def every_command(command, path=()):
    inner = getattr(command, "commands", {})
    if not inner:
        yield " ".join(path), command
    for name, one in inner.items():
        yield from every_command(one, (*path, name))


COMMANDS = dict(every_command(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_of_every_command_ends_with_an_example_that_it_takes(path):
    words = shlex.split(COMMANDS[path].epilog.removeprefix("Example:").partition(" > ")[0])
    given = ["enclave", "audit", *path.split()]
    assert words[: len(given)] == given
    COMMANDS[path].make_context(path, words[len(given) :])
    assert set(EXAMPLES) == set(COMMANDS)
