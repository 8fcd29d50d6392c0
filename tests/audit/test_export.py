"""The ledger taken away: proven ranges, archive partitions, entry bundles, and a verifier that stands alone."""

from __future__ import annotations

import importlib.resources
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit.checkpoint import TreeHead, VerifierKey, write_checkpoint
from enclave.audit.daemon import AuditDaemon
from enclave.audit.export import Source, archive, in_period, write_entries
from enclave.audit.inspector import verify_export
from enclave.audit.merkle import leaf_hash, range_proof, root_with_range
from enclave.audit.tiles import root_of
from enclave.audit.verify import read_vkey, verify_log
from enclave.core.clock import parse_time
from enclave.core.errors import IntegrityError, InvalidError, NotFoundError
from enclave.keys.verify import verify_ed25519
from enclave.runtime.log import Log

SCRIPT = importlib.resources.files("enclave.audit.inspector") / "verify_export.py"
DAY = timedelta(days=1)


class Clock:
    """A day passes with each event."""

    def __init__(self, at):
        self.at = at

    def now(self):
        return self.at


@pytest.fixture
def log(auditd, tmp_path):
    """A closed ledger of some 80 days in 2031, five events a day."""
    clock = Clock(datetime(2031, 1, 20, 8, tzinfo=UTC))
    auditd.stop()
    auditd.daemon = AuditDaemon(auditd.home, log=Log("auditd"), resolve=auditd._person, clock=clock)
    auditd.daemon.start()
    for number in range(400):
        if number % 5 == 0:
            clock.at += DAY
        auditd.client.record("audit.rebuild", actor=f"service:test{number % 3}", detail={"rows": number})
    auditd.stop()
    copy = tmp_path / "copy"
    shutil.copytree(auditd.home.state("audit"), copy)
    return copy


@pytest.fixture
def source(log):
    return Source(log, key=read_vkey(log / "log" / "vkey"))


def check(folder, *words, python=(sys.executable, "-I")):
    """The verifier as an inspector runs it: isolated, so that nothing of ours can be imported."""
    command = [*python, str(folder / "verify_export.py"), str(folder), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    return done.returncode, done.stdout


@pytest.mark.row("S10.5")
@pytest.mark.parametrize("table", [False, True], ids=["jsonl", "parquet"])
def test_an_export_of_a_period_is_checked_by_one_file_that_knows_nothing_of_us(source, log, tmp_path, table):
    since, until = datetime(2031, 2, 3, tzinfo=UTC), datetime(2031, 2, 10, tzinfo=UTC)
    made = source.export(in_period(source.records(), since=since, until=until), tmp_path / "out", table=table)
    assert made.end - made.first == 35
    code, said = check(made.path, "--vkey", log / "log" / "vkey", "--against", log / "log" / "checkpoint")
    assert code == 0, said
    assert f"records: {made.first} to {made.end - 1}" in said
    assert "given with --vkey" in said
    assert "is the one of this export" in said
    assert "NOT checked" in said
    code, said = check(made.path)
    assert code == 0
    assert "found IN THE EXPORT" in said


def test_every_change_of_an_export_is_refused(source, log, tmp_path):
    made = source.export(list(source.records())[100:140], tmp_path / "out", table=False)
    events, proof = made.path / "events.jsonl", made.path / "proof.json"
    lines, told = events.read_bytes().splitlines(keepends=True), json.loads(proof.read_text())
    kept = events.read_bytes(), proof.read_text()

    def refused(*, records=None, **changes):
        events.write_bytes(b"".join(lines if records is None else records))
        proof.write_text(json.dumps(told | changes))
        code, said = check(made.path, "--vkey", log / "log" / "vkey")
        events.write_bytes(kept[0])
        proof.write_text(kept[1])
        return code == 1 and "DOES NOT HOLD" in said

    assert not refused()
    assert refused(records=[*lines[:5], lines[5].replace(b"service:test", b"service:best"), *lines[6:]])
    assert refused(records=[*lines[:5], *lines[6:]])
    assert refused(records=[*lines[:5], lines[6], lines[5], *lines[7:]])
    assert refused(records=[*lines, lines[-1]])
    assert refused(records=lines[:-1])
    assert refused(records=lines[:-1], end=told["end"] - 1)
    assert refused(first=told["first"] + 1, end=told["end"] + 1)
    assert refused(hashes=told["hashes"][:-1])
    assert refused(hashes=[*told["hashes"], "00" * 32])
    assert refused(hashes=told["hashes"][::-1])
    assert refused(checkpoint=told["checkpoint"].replace("\n4", "\n5", 1))
    assert refused(first="x")
    assert refused(hashes=None)


def test_a_table_whose_columns_say_something_else_than_its_records_is_refused(source, log, tmp_path):
    made = source.export(list(source.records())[100:140], tmp_path / "out", table=True)
    path = made.path / "events.parquet"
    table = pq.read_table(path)
    for name in ("actor", "kind", "leaf_hash"):
        values = table.column(name).to_pylist()
        changed = table.set_column(table.schema.get_field_index(name), name, [[*values[:-1], "another"]])
        pq.write_table(changed, path)
        assert check(made.path, "--vkey", log / "log" / "vkey")[0] == 1, name


def test_an_export_signed_by_another_key_is_refused(source, log, tmp_path):
    made = source.export(list(source.records())[:10], tmp_path / "out", table=False)
    other = Ed25519PrivateKey.generate()
    key = VerifierKey(source.head.origin, other.public_key().public_bytes_raw())
    told = json.loads((made.path / "proof.json").read_text())
    told["checkpoint"] = write_checkpoint(source.head, key=key, sign=other.sign)
    told["vkey"] = str(key)
    (made.path / "proof.json").write_text(json.dumps(told))
    (made.path / "checkpoint").write_text(told["checkpoint"])
    assert check(made.path)[0] == 0  # whoever made it could have made the key too, and it says so
    assert check(made.path, "--vkey", log / "log" / "vkey")[0] == 1


def test_what_cannot_be_looked_at_is_not_called_whole(source, tmp_path):
    made = source.export(list(source.records())[:10], tmp_path / "out", table=False)
    (made.path / "events.jsonl").unlink()
    code, said = check(made.path)
    assert (code, "NOT CHECKED" in said) == (2, True)
    (made.path / "proof.json").unlink()
    assert check(made.path)[0] == 2


@pytest.mark.row("S10.5")
def test_whole_months_become_partitions_each_with_its_proof(source, log, tmp_path):
    made = archive(source, tmp_path / "archive", before=datetime(2031, 4, 5, tzinfo=UTC))
    names = [one.path.relative_to(tmp_path / "archive").as_posix() for one in made]
    assert names[-3:] == ["year=2031/month=01", "year=2031/month=02", "year=2031/month=03"]
    assert [one.first for one in made[1:]] == [one.end for one in made[:-1]]
    for one in made:
        code, said = check(one.path, "--vkey", log / "log" / "vkey")
        assert code == 0, said
    february = pq.read_table(made[-2].path / "events.parquet")
    assert {parse_time(at).month for at in february.column("received").to_pylist()} == {2}
    assert archive(source, tmp_path / "archive", before=datetime(2031, 4, 5, tzinfo=UTC)) == []


def test_all_partitions_are_one_table_for_duckdb(source, tmp_path):
    import duckdb

    archive(source, tmp_path / "archive", before=datetime(2031, 4, 1, tzinfo=UTC))
    sql = f"SELECT count(*), min(seq) FROM read_parquet('{tmp_path}/archive/*/*/*.parquet', hive_partitioning = true)"
    count, first = duckdb.sql(sql + " WHERE year = 2031 AND month = 2").fetchone()
    assert (count, first > 0) == (28 * 5, True)


def test_a_changed_log_is_not_exported(log, tmp_path):
    path = next((log / "segments").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"rows":200', b'"rows":900'))
    source = Source(log, key=read_vkey(log / "log" / "vkey"))
    with pytest.raises(IntegrityError):
        source.export(list(source.records()), tmp_path / "out", table=False)
    with pytest.raises(NotFoundError):
        in_period(iter(()), since=None, until=None)


def test_entry_bundles_hold_every_record_as_tlog_tiles_has_it(source, log, tmp_path):
    assert write_entries(source, tmp_path) == 2
    data = (tmp_path / "tile" / "entries" / "000").read_bytes()
    found = []
    while data:
        length = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    assert found == [record.payload for record in source.records(end=256)]
    assert (tmp_path / "tile" / "entries" / f"001.p/{source.head.size - 256}").is_file()


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_every_range_is_proven_and_no_other_records_fit(data):
    size = data.draw(st.integers(1, 80))
    leaves = [leaf_hash(b"record %d" % number) for number in range(size)]
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    root = root_of(leaves)
    proof = range_proof(start, end, size, lambda a, b: root_of(leaves[a:b]))
    part = leaves[start:end]
    assert root_with_range(part, start, size, proof) == root
    assert verify_export.fold(0, size, start, part, iter(proof)) == root
    place = data.draw(st.integers(0, len(part) - 1))
    assert root_with_range([*part[:place], leaf_hash(b"other"), *part[place + 1 :]], start, size, proof) != root
    with pytest.raises(InvalidError):
        root_with_range(part, start, size, [*proof, bytes(32)])


@settings(deadline=None, max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.data())
def test_the_verifiers_own_ed25519_agrees_with_the_library(seed, message, data):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert verify_export.ed25519(public, message, signature)
    position = data.draw(st.integers(0, 63))
    wrong = bytearray(signature)
    wrong[position] ^= 1 << data.draw(st.integers(0, 7))
    assert not verify_export.ed25519(public, message, bytes(wrong))
    assert not verify_export.ed25519(public, message + b"x", signature)
    assert verify_export.ed25519(wrong[:32], message, signature) == verify_ed25519(
        bytes(wrong[:32]), message, signature
    )


def test_the_verifier_imports_the_standard_library_only():
    import ast

    tree = ast.parse(Path(str(SCRIPT)).read_text("utf-8"))
    names = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    names |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names) | {"pyarrow"}


# --- the commands ---


@pytest.fixture
def enclave(auditd):
    def run(*words):
        command = [sys.executable, "-m", "enclave.cli.main", "audit", *map(str, words), "--home", str(auditd.home.root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_taking_the_ledger_away_is_an_event_first(auditd, enclave, tmp_path):
    auditd.client.record("audit.rebuild", actor="service:test")
    enclave("checkpoint")
    code, out, _ = enclave("export", "--output", tmp_path / "a", "--format", "jsonl", "--json", "-")
    assert code == 0
    assert json.loads(out)["first"] == 0
    assert check(tmp_path / "a", "--vkey", auditd.home.state("audit") / "log" / "vkey")[0] == 0
    assert enclave("export", "--output", tmp_path / "b")[0] == 0
    assert enclave("archive", "--output", tmp_path / "c")[0] == 0
    assert [e["detail"]["format"] for e in auditd.events(kind="audit.export")] == ["jsonl", "log", "archive"]
    assert enclave("export", "--output", tmp_path / "d", "--format", "jsonl", "--from", "soon")[0] == 12
    assert enclave("export", "--output", tmp_path / "d", "--from", "2026-01-01")[0] == 12
    assert enclave("export", "--output", tmp_path / "d", "--format", "parquet", "--to", "2001-01-01")[0] == 11
    auditd.stop()
    assert enclave("export", "--output", tmp_path / "d")[0] == 14
    assert not (tmp_path / "d").exists()
    copy = tmp_path / "b"
    assert enclave("export", "--output", tmp_path / "e", "--log", copy)[0] == 0  # a copy is nobody's any more


def test_a_changed_log_is_taken_away_as_it_is_and_said_to_be_changed(auditd, enclave, tmp_path):
    auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": 200})
    enclave("checkpoint")
    assert enclave("export", "--output", tmp_path / "whole")[0] == 0
    path = next((tmp_path / "whole" / "segments").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"rows":200', b'"rows":900'))
    code, _, err = enclave("export", "--output", tmp_path / "out", "--log", tmp_path / "whole")
    assert code == 15
    assert "edit at event" in err
    assert b'"rows":900' in next((tmp_path / "out" / "segments").iterdir()).read_bytes()


def test_an_exported_log_verifies_and_has_its_entries(auditd, enclave, tmp_path):
    for _ in range(3):
        auditd.client.record("audit.rebuild", actor="service:test")
    enclave("checkpoint")
    assert enclave("export", "--output", tmp_path / "out")[0] == 0
    assert verify_log(tmp_path / "out").ok
    assert list((tmp_path / "out" / "log" / "tile" / "entries").rglob("*"))


@pytest.mark.parametrize("name", ["time", "received", "outcome", "reason", "project", "version", "detail", "objects"])
def test_no_column_of_a_table_says_anything_that_its_records_do_not(source, log, tmp_path, name):
    made = source.export(list(source.records())[100:110], tmp_path / "out", table=True)
    path = made.path / "events.parquet"
    table = pq.read_table(path)
    assert check(made.path, "--vkey", log / "log" / "vkey")[0] == 0
    other = pa.array([7] * 10) if name == "version" else pa.array(["another"] * 10)
    at = table.schema.get_field_index(name)
    pq.write_table(table.set_column(at, name, other) if at >= 0 else table.append_column(name, other), path)
    assert check(made.path, "--vkey", log / "log" / "vkey")[0] == 1


def test_what_lies_beside_an_export_is_named_as_not_checked(source, log, tmp_path):
    made = source.export(list(source.records())[100:110], tmp_path / "out", table=False, siem=True)
    (made.path / "events.parquet").write_bytes(b"another story")
    code, said = check(made.path, "--vkey", log / "log" / "vkey")
    assert code == 0
    assert "NOT checked: events.ocsf.jsonl, events.parquet" in said
    (made.path / "checkpoint").write_text("another\n")
    assert check(made.path, "--vkey", log / "log" / "vkey")[0] == 1


def test_an_export_writes_nothing_to_the_terminal_that_it_would_act_on(source, tmp_path):
    made = source.export(list(source.records())[:10], tmp_path / "out", table=False)
    other = Ed25519PrivateKey.generate()
    name = "enclave.local/\x1b[2J\x9b8m\u202e"
    key = VerifierKey(name, other.public_key().public_bytes_raw())
    told = json.loads((made.path / "proof.json").read_text())
    head = TreeHead(name, source.head.size, source.head.root)
    told |= {"checkpoint": write_checkpoint(head, key=key, sign=other.sign), "vkey": str(key)}
    (made.path / "proof.json").write_text(json.dumps(told))
    (made.path / "checkpoint").write_text(told["checkpoint"])
    code, said = check(made.path)
    assert "enclave.local/" in said or code == 1
    assert all(letter.isprintable() for line in said.split("\n") for letter in line)


def test_no_month_that_is_not_over_is_archived_whatever_day_is_given(source, tmp_path):
    made = archive(source, tmp_path / "archive", before=datetime(2040, 1, 1, tzinfo=UTC))
    assert made[-1].path.name == "month=03"
    assert made[-1].end < source.head.size
