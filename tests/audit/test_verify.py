"""Whatever is done to a log afterwards is found and named."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from enclave.audit import segment_sums as segment_sums_module
from enclave.audit.checkpoint import TreeHead, VerifierKey, write_checkpoint
from enclave.audit.segment_sums import sum_segment
from enclave.audit.segments import FILE_HEAD, Record, frame, read_segment, segment_files
from enclave.audit.verify import verify_log
from enclave.keys.sign import open_signer


@pytest.fixture
def log(auditd, tmp_path):
    """A closed log of 300 events, copied away from its home."""
    for number in range(300):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    auditd.stop()
    copy = tmp_path / "copy"
    shutil.copytree(auditd.home.state("audit"), copy)
    return copy


def segment(log: Path) -> Path:
    return segment_files(log / "segments")[0]


def records(log: Path) -> list[Record]:
    return [item for item in read_segment(segment(log)) if isinstance(item, Record)]


def rewrite(log: Path, found: list[Record], *, renumber: bool = False) -> None:
    """Writes the segment afresh with right lengths and checksums, as somebody with skill would."""
    head = segment(log).read_bytes()[: FILE_HEAD.size]
    frames = [frame(i if renumber else r.seq, r.payload) for i, r in enumerate(found)]
    segment(log).write_bytes(head + b"".join(frames))


def kinds(log: Path, **options) -> set[str]:
    verdict = verify_log(log, **options)
    assert verdict.ok == (not verdict.damage)
    return {finding.kind for finding in verdict.damage}


@pytest.mark.row("S10.3")
def test_an_untouched_log_verifies(log):
    verdict = verify_log(log)
    assert verdict.ok
    assert verdict.size == 302
    assert verdict.first_bad_seq is None


@pytest.mark.row("S10.3")
def test_any_single_changed_byte_of_a_segment_is_found(log):
    original = segment(log).read_bytes()
    whole = records(log)
    chosen = [*random.Random(7).sample(range(len(original)), 60), 0, 9, 15, 16, len(original) - 1]
    for position in chosen:
        data = bytearray(original)
        data[position] ^= 0x20
        segment(log).write_bytes(data)
        verdict = verify_log(log)
        assert not verdict.ok, position
        assert verdict.first_bad_seq == max((r.seq for r in whole if r.offset <= position), default=0)
    segment(log).write_bytes(original)
    assert verify_log(log).ok


def test_an_edited_record_is_named_even_with_a_right_checksum(log):
    found = records(log)
    found[120] = replace(found[120], payload=found[120].payload.replace(b"service:test", b"service:best"))
    rewrite(log, found)
    verdict = verify_log(log)
    assert [(f.kind, f.seq) for f in verdict.damage] == [("edit", 120)]
    assert verdict.first_bad_seq == 120


@pytest.mark.parametrize("renumber", [False, True])
def test_a_deleted_record_is_named(log, renumber):
    found = records(log)
    del found[50]
    rewrite(log, found, renumber=renumber)
    verdict = verify_log(log)
    assert [(f.kind, f.seq) for f in verdict.damage] == [("deletion", 50)]


@pytest.mark.parametrize("renumber", [False, True])
def test_an_inserted_record_is_named(log, renumber):
    found = records(log)
    made_up = replace(found[80], payload=found[80].payload.replace(b"service:test", b"service:evil"))
    rewrite(log, [*found[:80], made_up, *found[80:]], renumber=renumber)
    verdict = verify_log(log)
    assert [(f.kind, f.seq) for f in verdict.damage] == [("insertion", 80)]


def test_a_record_copied_to_another_place_is_an_insertion(log):
    found = records(log)
    rewrite(log, [*found, found[10]])
    assert [(f.kind, f.seq) for f in verify_log(log).damage] == [("insertion", 10)]


def test_two_swapped_records_are_a_reorder(log):
    found = records(log)
    found[30], found[31] = found[31], found[30]
    rewrite(log, found)
    verdict = verify_log(log)
    assert {f.kind for f in verdict.damage} == {"reorder"}
    assert verdict.first_bad_seq in (30, 31)


@pytest.mark.parametrize("cut", ["clean", "torn"])
def test_a_truncated_log_is_named(log, cut):
    found = records(log)
    data = segment(log).read_bytes()
    segment(log).write_bytes(data[: found[200].offset + (0 if cut == "clean" else 30)])
    verdict = verify_log(log)
    assert {f.kind for f in verdict.damage} == {"truncation"}
    assert verdict.first_bad_seq == 200


def test_a_checkpoint_that_the_key_did_not_sign_is_forged(log):
    path = log / "log" / "checkpoint"
    path.write_text(path.read_text().replace("\n302\n", "\n301\n"))
    assert "forged_checkpoint" in kinds(log)


def test_a_checkpoint_of_another_key_is_forged(log, auditd):
    from enclave.keys.files import new_ed25519

    new_ed25519(log / "other.key")
    signer = open_signer(f"file:{log / 'other.key'}")
    origin = (log / "origin").read_text().strip()
    text = write_checkpoint(
        TreeHead(origin, 302, bytes(32)), key=VerifierKey(origin, signer.public_key), sign=signer.sign
    )
    (log / "log" / "checkpoint").write_text(text)
    assert "forged_checkpoint" in kinds(log)


def test_a_saved_checkpoint_finds_a_log_that_was_written_anew(log, auditd, tmp_path):
    """Even one who holds the log's key cannot make an older checkpoint fit."""
    saved = (log / "log" / "checkpoint").read_text()
    audit = auditd.home.state("audit")
    shutil.rmtree(audit / "segments")
    shutil.rmtree(audit / "log")
    auditd.start()
    for number in range(320):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    auditd.stop()
    assert kinds(audit) == set()
    assert kinds(audit, against=[saved]) == {"split_view"}


def test_a_saved_checkpoint_finds_a_log_that_was_rolled_back(log, auditd):
    saved = (log / "log" / "checkpoint").read_text()
    assert kinds(log, against=[saved]) == set()
    audit = auditd.home.state("audit")
    auditd.start()
    auditd.client.record("audit.rebuild", actor="service:test")
    auditd.stop()
    newer = (audit / "log" / "checkpoint").read_text()
    assert kinds(audit, against=[saved]) == set()
    assert kinds(log, against=[newer]) == {"truncation"}


def test_with_the_tiles_gone_too_an_edit_is_still_found(log):
    found = records(log)
    found[270] = replace(found[270], payload=found[270].payload.replace(b"service:test", b"service:best"))
    rewrite(log, found)
    shutil.rmtree(log / "log" / "tile")
    verdict = verify_log(log)
    assert not verdict.ok
    assert verdict.first_bad_seq is not None
    assert verdict.first_bad_seq <= 270


@pytest.mark.parametrize("harm", ["none", "byte", "cut", "swap"])
def test_two_processes_see_what_one_sees(auditd, monkeypatch, harm):
    for number in range(40):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
        if number % 10 == 9:
            auditd.daemon.ledger._writer.rotate()
    auditd.stop()
    folder = auditd.home.state("audit")
    paths = segment_files(folder / "segments")
    assert len(paths) >= 4
    data = paths[1].read_bytes()
    harmed = {"none": data, "byte": data[:-9] + b"!" + data[-8:], "cut": data[:-5], "swap": paths[2].read_bytes()}
    paths[1].write_bytes(harmed[harm])
    alone = verify_log(folder)
    sums = [sum_segment(path, upto=40) for path in paths]
    monkeypatch.setattr(segment_sums_module, "WORTH_BYTES", 0)
    with segment_sums_module.segment_sums(paths, upto=40) as both:
        assert list(both) == sums
    assert verify_log(folder) == alone
    assert alone.ok is (harm == "none")


def test_when_the_other_process_is_ended_this_one_does_its_part(auditd, monkeypatch):
    for _ in range(3):
        auditd.client.record("audit.rebuild", actor="service:test")
        auditd.daemon.ledger._writer.rotate()
    auditd.stop()
    paths = segment_files(auditd.home.state("audit") / "segments")
    monkeypatch.setattr(segment_sums_module, "WORTH_BYTES", 0)
    monkeypatch.setattr(segment_sums_module.sys, "executable", "/bin/false")
    with segment_sums_module.segment_sums(paths, upto=3) as both:
        assert list(both) == [sum_segment(path, upto=3) for path in paths]
