"""Every way in which the end of a store can be spoilt: it opens, keeps what is good, tells of the rest, and goes on."""

from __future__ import annotations

import errno
import os
import random
import secrets
import shutil
from collections.abc import Callable, Iterator

import pytest
from own_disk import run_on_own_disk

from enclave.audit.checkpoint import VerifierKey
from enclave.audit.event import Event
from enclave.audit.ledger import Ledger
from enclave.audit.segments import (
    FILE_HEAD,
    MAGIC,
    RECORD_HEAD,
    Record,
    frame,
    read_segment,
    segment_files,
    segment_name,
)
from enclave.audit.spare import written_in
from enclave.audit.verify import verify_log
from enclave.keys.box import open_box
from enclave.keys.files import new_ed25519, new_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.uri import file_uri
from enclave.keys.verify import verify_ed25519
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log

HEAD = RECORD_HEAD.size
LOOSE = 4  # records after the last checkpoint
Spoil = Callable[[bytearray, list[Record]], int]  # changes the segment, returns how many loose records are still good


def _cut(at: int) -> Spoil:
    def spoil(data: bytearray, loose: list[Record]) -> int:
        del data[loose[-1].offset + at :]
        return LOOSE - 1

    return spoil


def _zero(at: int) -> Spoil:
    def spoil(data: bytearray, loose: list[Record]) -> int:
        start = loose[-1].offset + at
        data[start:] = bytes(len(data) - start)
        return LOOSE - 1

    return spoil


def _flip(number: int, at: int, bit: int) -> Spoil:
    def spoil(data: bytearray, loose: list[Record]) -> int:
        data[loose[number].offset + at] ^= 1 << bit
        return number

    return spoil


def _append(make: Callable[[list[Record]], bytes]) -> Spoil:
    def spoil(data: bytearray, loose: list[Record]) -> int:
        data += make(loose)
        return LOOSE

    return spoil


def _within(make: Callable[[int], bytes]) -> Spoil:
    """Into the spare space, right behind the last record."""

    def spoil(data: bytearray, loose: list[Record]) -> int:
        start = written_in(bytes(data))
        new = make(len(data) - start)
        data[start : start + len(new)] = new
        return LOOSE

    return spoil


def _reorder(data: bytearray, loose: list[Record]) -> int:
    data[loose[2].offset :] = frame(loose[3].seq, loose[3].payload) + frame(loose[2].seq, loose[2].payload)
    return 2


def _leave_out(data: bytearray, loose: list[Record]) -> int:
    del data[loose[2].offset : loose[3].offset]
    return 2


def _overwrite_middle(data: bytearray, loose: list[Record]) -> int:
    data[loose[1].offset + 5 : loose[2].offset + 9] = b"\xaa" * (loose[2].offset + 4 - loose[1].offset)
    return 1


def _kinds() -> Iterator[tuple[str, Spoil]]:
    chance = random.Random(7)
    yield from ((f"torn_{at}", _cut(at)) for at in (*range(1, HEAD + 1), 17, 40, 100, 150, 200))
    yield from ((f"zeroed_from_{at}", _zero(at)) for at in (*range(HEAD), HEAD, 17, 60, 120, 180))
    for at in (*range(HEAD), 16, 17, 50, 99, 150, 199):
        yield f"flipped_{at}", _flip(LOOSE - 1, at, chance.randrange(8))
    yield from ((f"flipped_early_{at}", _flip(chance.randrange(LOOSE), at, 3)) for at in range(0, 100, 7))
    for size in (1, 3, 7, 15, 16, 17, 31, 64, 1000, 70_000):
        yield f"garbage_{size}", _append(lambda _, size=size: chance.randbytes(size))
        yield f"ones_{size}", _append(lambda _, size=size: b"\xff" * size)
        yield f"zeros_{size}", _append(lambda _, size=size: bytes(size))
    for size in (1, 16, 1000):
        yield f"garbage_within_{size}", _within(lambda _, size=size: chance.randbytes(size))
        yield f"zeros_within_{size}", _within(lambda _, size=size: bytes(size))
    yield "all_spare_zeroed", _within(bytes)
    yield "half_a_record_within", _within(lambda _: RECORD_HEAD.pack(500, 7, 10) + b"x" * 100)
    yield "spare_cut_in_two", _within(lambda room: b"\0" * (room // 2))
    yield "last_twice", _append(lambda loose: frame(loose[-1].seq, loose[-1].payload))
    yield "first_again", _append(lambda loose: frame(loose[0].seq, loose[0].payload))
    yield "far_number", _append(lambda loose: frame(loose[-1].seq + 5, loose[-1].payload))
    yield "huge_number", _append(lambda loose: frame(2**63, loose[-1].payload))
    yield "no_length", _append(lambda loose: RECORD_HEAD.pack(0, 0, loose[-1].seq + 1))
    yield "too_long", _append(lambda loose: RECORD_HEAD.pack(1 << 31, 0, loose[-1].seq + 1) + b"x" * 500)
    yield "head_only", _append(lambda loose: frame(loose[-1].seq + 1, b"x" * 300)[:HEAD])
    yield "file_head_within", _append(lambda loose: FILE_HEAD.pack(MAGIC, loose[-1].seq + 1))
    yield "reordered", _reorder
    yield "left_out", _leave_out
    yield "middle_overwritten", _overwrite_middle


KINDS = dict(_kinds())
NEXT_FILES = {
    **{f"head_of_{size}": (MAGIC + bytes(8))[:size] for size in range(FILE_HEAD.size)},
    "other_magic": b"SOMETHNG" + bytes(8),
    "zeroed": bytes(4096),
    "head_and_half_a_record": None,
}


def test_there_are_more_than_a_hundred_kinds():
    assert len(KINDS) + len(NEXT_FILES) > 100


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """A store with some signed records and four loose ones after them, and how to open a copy of it."""
    root = tmp_path_factory.mktemp("tails")
    store = root / "audit"
    store.mkdir(mode=0o700)
    new_ed25519(root / "sign.key")
    new_symmetric(root / "body.key")
    signer = open_signer(file_uri(root / "sign.key"))
    box = open_box(file_uri(root / "body.key"))
    key = VerifierKey("enclave.local/0123456789abcdef", signer.public_key)

    def opened(folder):
        made = {"sign": signer.sign, "verify": verify_ed25519, "box": box, "clock": SystemClock(), "log": Log("test")}
        return Ledger(folder, key=key, reserve_bytes=1, **made)

    ledger = opened(store)
    (store / "log" / "vkey").write_text(f"{key}\n")
    for number in range(6):
        ledger.append(event(number))
    ledger.checkpoint()
    for number in range(LOOSE):
        ledger.append(event(100 + number))
    os.close(ledger._lock_fd)
    return store, opened


def event(number):
    told = {"id": secrets.token_hex(16), "actor": "service:test", "outcome": "ok", "kind": "audit.rebuild"}
    return Event(time="2026-11-22T12:00:00.000000Z", detail={"rows": number}, **told)


def stored(folder):
    return [r for p in segment_files(folder / "segments") for r in read_segment(p) if isinstance(r, Record)]


def check(folder, opened, before, good):
    """It opens with exactly the good records, takes more, says what was lost, and verifies."""
    ledger = opened(folder)
    assert ledger.size == good
    assert [(d.first_bad_seq, d.proven) for d in ledger.damage] in ([(good, False)], [])
    receipt = ledger.append(event(999))
    assert receipt.seq == good
    ledger.close()
    after = stored(folder)
    assert [r.payload for r in after[:good]] == [r.payload for r in before[:good]]
    assert [r.seq for r in after] == list(range(good + 1))
    assert verify_log(folder).ok
    again = opened(folder)
    assert (again.size, again.damage) == (good + 1, [])
    again.close()
    return ledger.damage


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_spoilt_tail_costs_what_is_spoilt_and_nothing_else(spoilt, tmp_path, kind):
    store, opened = spoilt
    folder = shutil.copytree(store, tmp_path / "copy")
    before = stored(folder)
    path = segment_files(folder / "segments")[-1]
    data = bytearray(path.read_bytes())
    good = KINDS[kind](data, before[-LOOSE:])
    path.write_bytes(data)
    damage = check(folder, opened, before, len(before) - LOOSE + good)
    assert damage
    kept = [item.read_bytes() for item in (folder / "damaged").iterdir()]
    assert sum(map(len, kept)) == damage[0].lost_bytes


@pytest.mark.parametrize("kind", sorted(NEXT_FILES))
def test_a_spoilt_next_file_costs_nothing(spoilt, tmp_path, kind):
    store, opened = spoilt
    folder = shutil.copytree(store, tmp_path / "copy")
    before = stored(folder)
    seq = len(before)
    content = NEXT_FILES[kind]
    if content is None:
        content = FILE_HEAD.pack(MAGIC, seq) + frame(seq, b"x" * 300)[:100]
    (folder / "segments" / segment_name(seq)).write_bytes(content)
    check(folder, opened, before, seq)


READ_ONLY = """
    client.record("audit.rebuild", actor="service:test", detail={"rows": 1})
    daemon.ledger._writer.close()
    daemon.ledger._bodies.close()
    time.sleep(1.5)
    daemon._feed.close()
    deadline = time.monotonic() + 60
    while libc.mount(None, os.fsencode(store), None, 0x21, None):  # read-only again, once no file is open
        daemon._feed.close()
        os.close(daemon.ledger._lock_fd) if daemon.ledger._lock_fd >= 0 else None
        daemon.ledger._lock_fd = -1
        if time.monotonic() > deadline:
            sys.exit(77)
    began = time.monotonic()
    try:
        client.record("audit.rebuild", actor="service:test", detail={"rows": 2})
        sys.exit(3)
    except UnavailableError as error:
        print(error.code, time.monotonic() - began < 10)
    libc.mount(None, os.fsencode(store), None, 0x20, None)
    daemon.ledger._lock_fd = os.open(store / "lock", os.O_RDWR)
    print(client.record("audit.rebuild", actor="service:test", detail={"rows": 3}).seq > 1)
    daemon.close()
    from enclave.audit.verify import verify_log
    print(verify_log(store).ok)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="a disk that turns read-only needs a mount namespace of root")
def test_a_disk_that_turns_read_only_refuses_events_and_works_again(auditd, tmp_path):
    auditd.stop()
    printed = run_on_own_disk(auditd.home, READ_ONLY, mebibytes=64, folder=tmp_path)
    assert printed.split() == ["ledger_unavailable", "True", "True", "True"]


@pytest.mark.parametrize("loose", [True, False])
def test_bytes_between_records_cost_none_of_them_and_are_told(spoilt, tmp_path, loose):
    store, opened = spoilt
    folder = shutil.copytree(store, tmp_path / "copy")
    before = stored(folder)
    place = before[-2 if loose else 2]
    path = segment_files(folder / "segments")[-1]
    data = bytearray(path.read_bytes())
    del data[written_in(bytes(data)) :]
    data[place.offset : place.offset] = b"\xaa" * 50
    path.write_bytes(data)
    ledger = opened(folder)
    assert ledger.size == len(before)
    assert [(d.offset, d.lost_bytes, d.first_bad_seq, d.proven) for d in ledger.damage] == [
        (place.offset, 50, place.seq, not loose)
    ]
    ledger.close()
    assert [r.payload for r in stored(folder)] == [r.payload for r in before]


def test_what_was_cut_off_at_one_place_twice_is_kept_twice(spoilt, tmp_path):
    store, opened = spoilt
    folder = shutil.copytree(store, tmp_path / "copy")
    path = segment_files(folder / "segments")[-1]
    place = written_in(path.read_bytes())
    for content in (b"first" * 20, b"second" * 20):
        path.write_bytes(path.read_bytes()[:place] + content)
        ledger = opened(folder)
        ledger.append(event(1))  # takes the place of what was cut off, and is spoilt before it is signed
        os.close(ledger._lock_fd)
    kept = [item.read_bytes() for item in (folder / "damaged").iterdir()]
    assert sorted(kept) == [b"first" * 20, b"second" * 20]


def test_a_full_disk_keeps_no_ledger_with_a_spoilt_tail_from_opening(spoilt, tmp_path, monkeypatch):
    store, opened = spoilt
    folder = shutil.copytree(store, tmp_path / "copy")
    (folder / "reserve").write_bytes(bytes(4096))
    copy = shutil.copyfileobj

    def full(source, target):
        if (folder / "reserve").stat().st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", full)
    path = segment_files(folder / "segments")[-1]
    path.write_bytes(path.read_bytes() + b"spoilt!" * 20)
    ledger = opened(folder)
    assert ledger.damage
    assert [b"spoilt!" * 20 in item.read_bytes() for item in (folder / "damaged").iterdir()] == [True]
    ledger.close()
