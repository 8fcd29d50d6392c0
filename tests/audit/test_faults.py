"""What the ledger does when the machine is not kind."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave.audit.bodies import BodyReader, with_bodies
from enclave.audit.checkpoint import VerifierKey
from enclave.audit.event import Event
from enclave.audit.ledger import Ledger
from enclave.audit.segments import Record, read_segment, segment_files
from enclave.audit.spare import written_size
from enclave.audit.verify import verify_log
from enclave.core.errors import ConflictError, UnavailableError
from enclave.keys.box import open_box
from enclave.keys.sign import open_signer
from enclave.keys.uri import file_uri
from enclave.keys.verify import verify_ed25519
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log


def event(number=0, **fields):
    told = {"id": secrets.token_hex(16), "actor": "service:test", "outcome": "ok", "kind": "audit.rebuild"}
    return Event(**(told | {"time": "2026-11-22T12:00:00.000000Z", "detail": {"rows": number}} | fields))


@pytest.fixture
def opened(auditd):
    """Opens the fixture's store without a daemon, as often as asked; all are closed at the end."""
    auditd.stop()
    signer = open_signer(file_uri(auditd.home.key_file("audit-checkpoint")))
    box = open_box(file_uri(auditd.home.key_file("audit-body")))
    made = []

    def open_ledger(folder=None):
        folder = folder or auditd.home.state("audit")
        key = VerifierKey((folder / "origin").read_text().strip(), signer.public_key)
        ledger = Ledger(
            folder, key=key, sign=signer.sign, verify=verify_ed25519, box=box, clock=SystemClock(), log=Log("test")
        )
        made.append(ledger)
        return ledger

    yield open_ledger
    for ledger in made:
        if not ledger._closed:
            ledger.close()


def stored(folder):
    return [r for p in segment_files(folder / "segments") for r in read_segment(p) if isinstance(r, Record)]


def abandon(ledger):
    """Ends a ledger as a killed process would: nothing is signed, nothing is said."""
    ledger._writer.close()
    ledger._bodies.close()
    os.close(ledger._lock_fd)
    ledger._closed = True


def test_an_event_sent_again_stands_once_and_gets_the_same_receipt(opened):
    ledger = opened()
    one = event()
    first = ledger.append(one)
    size = ledger.size
    assert ledger.append(one) == first
    assert ledger.size == size
    ledger.close()
    again = opened()
    assert again.append(one) == first
    assert again.size == size


def test_an_id_used_for_another_event_is_a_conflict(opened):
    ledger = opened()
    ledger.append(event(1, id="a" * 32))
    with pytest.raises(ConflictError):
        ledger.append(event(2, id="a" * 32))


def test_the_same_event_from_many_threads_stands_once(opened):
    ledger = opened()
    before = ledger.size
    events = [event(n) for n in range(20)]
    receipts = [set() for _ in events]

    def write():
        for number, one in enumerate(events):
            receipts[number].add(ledger.append(one).seq)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(len(seqs) == 1 for seqs in receipts)
    assert ledger.size == before + len(events)


def test_a_second_opener_of_one_store_is_refused(opened):
    opened()
    with pytest.raises(ConflictError) as caught:
        opened()
    assert caught.value.code == "ledger_locked"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(1, 400)),
        st.tuples(st.just("zero"), st.integers(1, 400)),
        st.tuples(st.just("garbage"), st.binary(min_size=1, max_size=300)),
        st.tuples(st.just("flip"), st.integers(1, 400)),
    )
)
def test_whatever_happened_to_the_tail_the_store_opens_keeps_the_good_part_and_goes_on(opened, tmp_path, damage):
    folder = tmp_path / secrets.token_hex(4)
    ledger = opened()
    ledger.checkpoint()
    signed = ledger.size
    for number in range(4):
        ledger.append(event(number))
    abandon(ledger)
    shutil.copytree(ledger._folder, folder)
    before = stored(folder)
    kind, what = damage
    path = segment_files(folder / "segments")[-1]
    data = bytearray(path.read_bytes())
    room = sum(len(r.payload) + 16 for r in before[signed:])
    if kind == "cut":
        del data[-min(what, room) :]
    elif kind == "zero":
        data[-min(what, room) :] = bytes(min(what, room))
    elif kind == "flip":
        data[-min(what, room)] ^= 0x41
    else:
        data += what
    path.write_bytes(data)
    again = opened(folder)
    assert signed <= again.size <= len(before)
    receipt = again.append(event(99))
    again.close()
    after = stored(folder)
    assert [r.payload for r in after[: receipt.seq]] == [r.payload for r in before[: receipt.seq]]
    assert [r.seq for r in after] == list(range(len(after)))
    if kind != "garbage":
        assert again.damage or again.size >= signed
    assert verify_log(folder).ok


def test_damage_below_a_checkpoint_is_told_and_stays_visible(auditd):
    for number in range(5):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    auditd.stop()
    path = segment_files(auditd.home.state("audit") / "segments")[-1]
    victim = stored(auditd.home.state("audit"))[3]
    data = bytearray(path.read_bytes())
    data[victim.offset + 40] ^= 1
    path.write_bytes(data)
    auditd.start()
    told = auditd.events(kind="audit.damage")
    assert [(e["outcome"], e["detail"]["first_bad_seq"], e["detail"]["proven"]) for e in told] == [("failed", 3, True)]
    auditd.stop()
    verdict = verify_log(auditd.home.state("audit"))
    assert [(f.kind, f.seq) for f in verdict.damage] == [("edit", 3)]


def test_events_cut_off_below_a_checkpoint_never_have_their_numbers_given_again(auditd):
    for number in range(5):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    auditd.stop()
    audit = auditd.home.state("audit")
    last = stored(audit)[-1]
    path = segment_files(audit / "segments")[-1]
    os.truncate(path, last.offset - 100)
    auditd.start()
    receipt = auditd.client.record("audit.rebuild", actor="service:test")
    auditd.stop()
    assert receipt.seq > last.seq
    verdict = verify_log(audit)
    assert verdict.first_bad_seq == last.seq - 1
    assert not verdict.ok


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_disk_that_refuses_refuses_the_event_and_works_again_without_a_restart(auditd, monkeypatch, call):
    auditd.client.record("audit.rebuild", actor="service:test")

    def refuse(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(f"enclave.audit.segments.os.{call}", refuse)
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            auditd.client.record("audit.rebuild", actor="service:test", bodies={"why": "x"})
        assert time.monotonic() - began < 10
    seq = auditd.client.record("audit.rebuild", actor="service:test", bodies={"why": "y"}).seq
    auditd.stop()
    records = auditd.records()
    ours = [number for number, record in enumerate(records) if record["event"]["actor"] == "service:test"]
    assert ours[1:] == [seq]  # the ledger may have said in between that its disk was full
    assert verify_log(auditd.home.state("audit")).ok


def test_a_really_full_disk_is_survived(auditd, tmp_path):
    """RLIMIT_FSIZE makes the kernel itself refuse, in the middle of a write."""
    auditd.stop()
    script = tmp_path / "full.py"
    script.write_text(
        textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from enclave.audit.client import AuditClient
        from enclave.audit.daemon import AuditDaemon
        from enclave.audit.spare import written_size
        from enclave.core.errors import UnavailableError
        from enclave.runtime.home import Home
        from enclave.runtime.log import Log
        home = Home(Path(sys.argv[1]))
        daemon = AuditDaemon(home, log=Log("auditd"))
        daemon.start()
        client = AuditClient(home.socket("auditd"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = sum(written_size(p) for p in (home.state("audit") / "segments").iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 2000, resource.RLIM_INFINITY))
        refused = written = 0
        for number in range(20):
            try:
                client.record("audit.rebuild", actor="service:test", detail={"rows": number})
                written += 1
            except UnavailableError:
                refused += 1
                if refused == 1:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        daemon.close()
        print(written, refused)
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script), str(auditd.home.root)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["19", "1"]
    ours = [event for event in auditd.events(kind="audit.rebuild") if event["actor"] == "service:test"]
    assert len(ours) == 19  # the ledger may say on its own that a busy machine made it build the query store again
    assert verify_log(auditd.home.state("audit")).ok


@pytest.mark.parametrize("rounds", [2, pytest.param(8, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_no_event_with_a_receipt_is_lost_when_the_daemon_is_killed(auditd, rounds):
    auditd.stop()
    acknowledged: list[tuple[int, int]] = []
    for turn in range(rounds):
        command = [sys.executable, "-m", "enclave.cli.auditd", "--home", str(auditd.home.root)]
        auditd.home.socket("auditd").unlink(missing_ok=True)  # the killed one's, which says nothing about the next
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while not auditd.home.socket("auditd").exists():
                time.sleep(0.02)
            stop = threading.Event()

            def write(number, stop=stop, turn=turn):
                step = 0
                while not stop.is_set():
                    mark = turn * 1_000_000 + number * 10_000 + step
                    try:
                        receipt = auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": mark})
                    except UnavailableError:
                        return
                    acknowledged.append((receipt.seq, mark))
                    step += 1

            threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
            for t in threads:
                t.start()
            time.sleep(0.3)
            child.send_signal(signal.SIGKILL)
            stop.set()
            for t in threads:
                t.join()
        finally:
            child.kill()
            child.wait()
    auditd.start()
    marks = {r["seq"]: r["event"]["detail"].get("rows") for r in auditd.records()}
    assert len(acknowledged) > 10 * rounds
    assert all(marks.get(seq) == mark for seq, mark in acknowledged)
    rows = [r["event"]["detail"]["rows"] for r in auditd.records() if r["event"]["kind"] == "audit.rebuild"]
    assert len(rows) == len(set(rows))
    assert auditd.events(kind="audit.damage") == []
    auditd.stop()
    assert verify_log(auditd.home.state("audit")).ok


def place_of(fd):
    """The name of the folder that an open file lies in."""
    return Path(f"/proc/self/fd/{fd}").readlink().parent.name


def test_a_record_and_its_texts_are_both_durable_before_there_is_a_receipt(opened, monkeypatch):
    ledger = opened()
    made, sync = [], os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (sync(fd), made.append(place_of(fd)))[0])
    ledger.append(event(kind="audit.query", detail={}), bodies={"sql": "select 1"})
    assert set(made) == {"segments", "bodies"}


@pytest.mark.parametrize("refusing", ["segments", "bodies"])
def test_when_the_disk_refuses_one_of_the_two_neither_is_kept(opened, monkeypatch, refusing):
    ledger = opened()
    ledger.append(event(kind="audit.query", detail={}), bodies={"sql": "the first"})
    sync, size = os.fdatasync, ledger.size

    def refuse(fd):
        if place_of(fd) == refusing:
            raise OSError(5, "refused")
        sync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        with pytest.raises(UnavailableError):
            ledger.append(event(kind="audit.query", detail={}), bodies={"sql": "the second"})
    assert ledger.size == size
    third = ledger.append(event(kind="audit.query", detail={}), bodies={"sql": "the third"})
    assert third.seq == size
    ledger.close()
    again = opened()
    texts = [body.text for body in texts_of(again)]
    assert (texts, again.damage) == (["the first", "the third"], [])


def texts_of(ledger):
    folder = ledger._folder
    ids = dict(with_bodies(stored(folder)))
    return BodyReader(folder / "bodies", box=ledger._box).read(ids)


def test_a_record_whose_texts_a_crash_took_gets_no_receipt_and_is_told(opened):
    ledger = opened()
    kept, lost = event(kind="audit.query", detail={}), event(kind="audit.query", detail={})
    ledger.append(kept, bodies={"sql": "kept"})
    there = sum(written_size(path) for path in segment_files(ledger._folder / "bodies"))
    seq = ledger.append(lost, bodies={"sql": "lost"}).seq
    abandon(ledger)
    os.truncate(segment_files(ledger._folder / "bodies")[-1], there)  # the disk had not taken it when the power went
    again = opened()
    assert [(d.segment, d.first_bad_seq) for d in again.damage] == [("bodies", seq)]
    with pytest.raises(UnavailableError) as caught:
        again.append(lost, bodies={"sql": "lost"})
    assert caught.value.code == "ledger_body_lost"
    assert again.append(kept, bodies={"sql": "kept"}).seq == seq - 1
    again.checkpoint()
    assert verify_log(again._folder).ok


def test_a_spoilt_body_takes_no_later_ones_with_it(opened):
    ledger = opened()
    for text in ("first", "second", "third"):
        ledger.append(event(kind="audit.query", detail={}), bodies={"sql": text})
    path = segment_files(ledger._folder / "bodies")[-1]
    second = list(read_segment(path, max_record=1 << 21))[1]
    ledger.close()
    with path.open("r+b") as file:
        file.seek(second.offset + 30)
        file.write(b"\0\xff" * 4)
    assert [body.text for body in texts_of(opened())] == ["first", "third"]


def test_a_body_can_be_shredded_and_every_proof_stays_whole(auditd):
    auditd.client.record(
        "cell.execute", actor="rosa", outcome="intent", detail={"code_hash": "00"}, bodies={"code": "x = 1"}
    )
    auditd.stop()
    for path in (auditd.home.state("audit") / "bodies").iterdir():
        path.unlink()
    assert verify_log(auditd.home.state("audit")).ok
    auditd.start()
    assert auditd.client.record("audit.rebuild", actor="service:test").seq > 0
