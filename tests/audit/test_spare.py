"""Space taken beforehand: never taken for records, never hides that some are gone, never kept in a closed file."""

from __future__ import annotations

import errno
import os
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.audit.checkpoint import VerifierKey
from enclave.audit.event import Event
from enclave.audit.ledger import Ledger
from enclave.audit.segments import FILE_HEAD, Record, SegmentReader, SegmentWriter, frame, read_segment, segment_files
from enclave.audit.spare import SPARE_BYTES, cut_spare, spare_at, written_in, written_size
from enclave.audit.verify import verify_log
from enclave.keys.box import open_box
from enclave.keys.files import new_ed25519, new_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.uri import file_uri
from enclave.keys.verify import verify_ed25519
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log


@pytest.fixture
def opened(tmp_path):
    """Opens one store again and again, as after a kill: nothing of the last opening is closed in order."""
    store = tmp_path / "audit"
    store.mkdir(mode=0o700)
    new_ed25519(tmp_path / "sign.key")
    new_symmetric(tmp_path / "body.key")
    signer = open_signer(file_uri(tmp_path / "sign.key"))
    box = open_box(file_uri(tmp_path / "body.key"))
    key = VerifierKey("enclave.local/0123456789abcdef", signer.public_key)
    made = []

    def kill():
        for ledger in made:
            os.close(ledger._lock_fd)
        made.clear()

    def open_ledger():
        kill()
        told = {"sign": signer.sign, "verify": verify_ed25519, "box": box, "clock": SystemClock(), "log": Log("test")}
        ledger = Ledger(store, key=key, reserve_bytes=1, **told)
        (store / "log" / "vkey").write_text(f"{key}\n")
        made.append(ledger)
        return ledger

    yield open_ledger
    kill()


def write(ledger, count):
    for number in range(count):
        told = {"id": secrets.token_hex(16), "actor": "service:test", "outcome": "ok", "kind": "audit.rebuild"}
        ledger.append(Event(time="2026-12-01T12:00:00.000000Z", detail={"rows": number}, **told), bodies={"why": "x"})


def newest(ledger, name="segments"):
    return segment_files(ledger._folder / name)[-1]


@given(st.binary(max_size=200), st.integers(0, SPARE_BYTES))
def test_what_was_written_is_told_from_spare_however_far_either_goes(records, spare):
    """A record ends in a brace, which the words have not."""
    written = records + b"}"
    data = written + spare_at(len(written))[:spare]
    assert written_in(data) == len(written)
    assert written_in(written) == len(written)


def test_a_file_is_measured_and_cut_like_its_bytes(tmp_path):
    path = tmp_path / "000000000000.seg"
    for size in (1, 15, 16, 17, SPARE_BYTES - 1, SPARE_BYTES + 40):
        path.write_bytes(b"}" * size + spare_at(size))
        assert written_size(path) == size
        cut_spare(path)
        assert path.read_bytes() == b"}" * size


def test_commits_change_no_length_until_the_spare_space_is_used(tmp_path):
    writer = SegmentWriter(tmp_path)
    sizes = []
    for seq in range(400):
        writer.write(frame(seq, b'{"x":"%b"}' % (b"x" * 500)), first_seq=0)
        sizes.append(segment_files(tmp_path)[0].stat().st_size)
    assert len(set(sizes)) == 4
    assert [record.seq for record in SegmentReader(tmp_path).read(upto=400, count=999)] == list(range(400))
    writer.close()
    records = [item for item in read_segment(segment_files(tmp_path)[0]) if isinstance(item, Record)]
    assert segment_files(tmp_path)[0].stat().st_size == records[-1].offset + 16 + len(records[-1].payload)


@pytest.mark.parametrize("ask", [True, False])
def test_a_segment_is_cut_to_its_records_before_the_next_one_begins(tmp_path, ask):
    writer = SegmentWriter(tmp_path, rotate_bytes=1 << 20 if ask else 1)
    for seq in range(3):
        writer.write(frame(seq, b"{}"), first_seq=seq)
        if ask:
            writer.rotate()
    *older, last = segment_files(tmp_path)
    assert [path.stat().st_size for path in older] == [FILE_HEAD.size + 18] * 2
    assert last.stat().st_size > SPARE_BYTES


def test_on_a_full_disk_the_records_alone_are_written_and_no_more_space_is_asked_for(tmp_path, monkeypatch):
    limit, asked = FILE_HEAD.size + 1000, []
    pwrite = os.pwrite

    def little_room(fd, data, offset):
        asked.append(len(data))
        if offset >= limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, bytes(data)[: limit - offset], offset)

    monkeypatch.setattr("enclave.audit.segments.os.pwrite", little_room)
    writer = SegmentWriter(tmp_path)
    writer.write(frame(0, b"{}"), first_seq=0)
    assert (writer.sparing, segment_files(tmp_path)[0].stat().st_size) == (True, FILE_HEAD.size + 18)
    asked.clear()
    writer.write(frame(1, b"{}"), first_seq=1)
    assert asked == [18]
    with pytest.raises(OSError, match="No space"):
        writer.write(frame(2, b"x" * 2000), first_seq=2)
    assert segment_files(tmp_path)[0].stat().st_size == FILE_HEAD.size + 36


def test_a_killed_ledger_leaves_spare_space_and_no_damage(opened):
    ledger = opened()
    write(ledger, 3)
    for name in ("segments", "bodies"):
        assert newest(ledger, name).stat().st_size > SPARE_BYTES
    again = opened()
    assert (again.size, again.damage) == (3, [])
    write(again, 2)
    again.checkpoint()
    assert verify_log(again._folder).ok
    assert again.size == 5


def test_a_disk_with_little_room_gets_no_spare_space(opened, monkeypatch):
    monkeypatch.setattr("enclave.audit.ledger.PLENTY_BYTES", 1 << 80)
    ledger = opened()
    write(ledger, 3)
    path = newest(ledger)
    assert written_size(path) == path.stat().st_size
    monkeypatch.setattr("enclave.audit.ledger.PLENTY_BYTES", 0)
    ledger.refill()
    write(ledger, 1)
    assert path.stat().st_size > SPARE_BYTES


def test_signed_records_overwritten_with_the_words_are_a_truncation(opened):
    ledger = opened()
    write(ledger, 6)
    ledger.checkpoint()
    path = newest(ledger)
    third = [item for item in read_segment(path) if isinstance(item, Record)][3]
    data = path.read_bytes()
    path.write_bytes(
        data[: third.offset] + (b"not written yet\n" * len(data))[third.offset % 16 :][: len(data) - third.offset]
    )
    verdict = verify_log(ledger._folder)
    assert [(found.kind, found.seq) for found in verdict.damage] == [("truncation", seq) for seq in (3, 4, 5)]
    assert [(one.first_bad_seq, one.proven) for one in opened().damage] == [(3, True)]


def test_spare_space_behind_a_segment_that_is_not_the_newest_is_found(opened):
    ledger = opened()
    write(ledger, 2)
    ledger._writer.rotate()
    write(ledger, 2)
    ledger.checkpoint()
    assert verify_log(ledger._folder).ok
    first = segment_files(ledger._folder / "segments")[0]
    first.write_bytes(first.read_bytes() + spare_at(first.stat().st_size))
    verdict = verify_log(ledger._folder)
    assert [(found.kind, found.segment) for found in verdict.damage] == [("edit", first.name)]
