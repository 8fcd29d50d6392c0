"""Whatever somebody does to a ledger's files, ``verify`` finds and names it: random changes of a real log."""

from __future__ import annotations

import json
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave.audit.checkpoint import TreeHead, VerifierKey, write_checkpoint
from enclave.audit.event import Event
from enclave.audit.ledger import Ledger
from enclave.audit.merkle import leaf_hash
from enclave.audit.segments import FILE_HEAD, MAGIC, Record, frame, read_segment, segment_files, segment_name
from enclave.audit.tiles import TileFolder, root_of, split_hashes, tile_path
from enclave.audit.verify import verify_log
from enclave.keys.box import open_box
from enclave.keys.files import new_ed25519, new_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.verify import verify_ed25519
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log

SIZE = 700
AT = datetime(2026, 11, 22, tzinfo=UTC).isoformat()
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The signer of the log, its name and its body box."""
    folder = tmp_path_factory.mktemp("keys")
    new_ed25519(folder / "sign.key")
    new_symmetric(folder / "body.key")
    signer = open_signer(f"file:{folder / 'sign.key'}")
    return signer, VerifierKey("enclave.local/tampering", signer.public_key), open_box(f"file:{folder / 'body.key'}")


@pytest.fixture(scope="module")
def original(tmp_path_factory, keys):
    """A ledger of 700 events, closed, with checkpoints on its way."""
    signer, key, box = keys
    folder = tmp_path_factory.mktemp("original") / "audit"
    ledger = Ledger(
        folder, key=key, sign=signer.sign, verify=verify_ed25519, box=box, clock=SystemClock(), log=Log("test")
    )
    for number in range(SIZE):
        event = Event(id=secrets.token_hex(16), time=AT, kind="audit.rebuild", actor=f"person{number}", outcome="ok")
        ledger.append(event)
        if number % 100 == 99:
            ledger.checkpoint(durable=False)
    ledger.close()
    (folder / "log" / "vkey").write_text(f"{key}\n")
    return folder


class Records(list):
    """A list that a failing test does not print."""

    def __repr__(self):
        return f"{len(self)} records"


@pytest.fixture(scope="module")
def signed(original):
    """What was signed, record by record."""
    return Records(stored(original))


@pytest.fixture
def log(original, tmp_path):
    """A copy to work on; ``fresh`` gives it back as it was."""
    fresh(original, tmp_path / "copy")
    return tmp_path / "copy"


def fresh(original: Path, copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(original, copy)


def stored(log: Path) -> list[bytes]:
    return [r.payload for p in segment_files(log / "segments") for r in read_segment(p) if isinstance(r, Record)]


def rewrite(log: Path, found: list[tuple[int, bytes]], *, renumber: bool, per_segment: int) -> None:
    """Writes the segments afresh, as somebody would who knows the format: lengths, checksums, heads and names fit."""
    for path in segment_files(log / "segments"):
        path.unlink()
    numbered = [(i if renumber else seq, payload) for i, (seq, payload) in enumerate(found)]
    for at in range(0, len(numbered), per_segment):
        part = numbered[at : at + per_segment]
        data = FILE_HEAD.pack(MAGIC, part[0][0]) + b"".join(frame(seq, payload) for seq, payload in part)
        (log / "segments" / segment_name(part[0][0])).write_bytes(data)


def changed(payload: bytes, by: int = 1) -> bytes:
    return payload.replace(b"person", b"perso%d" % by)


PLACES = st.integers(0, SIZE - 2)
SEGMENTS = st.sampled_from([50, 333, SIZE * 2])


@FEW
@given(place=PLACES, per_segment=SEGMENTS)
def test_an_edit_is_found_and_named(log, signed, place, per_segment):
    found = list(enumerate(signed))
    found[place] = (place, changed(signed[place]))
    rewrite(log, found, renumber=False, per_segment=per_segment)
    assert [(f.kind, f.seq) for f in verify_log(log).damage] == [("edit", place)]


@FEW
@given(place=PLACES, count=st.integers(1, 40), renumber=st.booleans())
def test_a_deletion_is_found_and_named(log, signed, place, count, renumber):
    last = min(place + count, SIZE - 1)  # the very last record stays: without it this is a truncation
    found = [item for item in enumerate(signed) if not place <= item[0] < last]
    rewrite(log, found, renumber=renumber, per_segment=SIZE)
    assert [(f.kind, f.seq) for f in verify_log(log).damage] == [("deletion", n) for n in range(place, last)]


@FEW
@given(place=PLACES, count=st.integers(1, 5), renumber=st.booleans())
def test_an_insertion_is_found_and_named(log, signed, place, count, renumber):
    found = list(enumerate(signed))
    found[place:place] = [(place, changed(signed[place], by)) for by in range(count)]
    rewrite(log, found, renumber=renumber, per_segment=SIZE * 2)
    assert [(f.kind, f.seq) for f in verify_log(log).damage] == [("insertion", place)] * count


@FEW
@given(place=PLACES, to=PLACES, renumber=st.booleans())
def test_a_moved_record_is_a_reorder(log, signed, place, to, renumber):
    found = list(enumerate(signed))
    found.insert(to, found.pop(place))
    rewrite(log, found, renumber=renumber, per_segment=SIZE)
    verdict = verify_log(log)
    if place == to:
        assert verdict.ok
    else:
        assert {f.kind for f in verdict.damage} == {"reorder"}
        assert min(place, to) <= verdict.first_bad_seq <= max(place, to)


@FEW
@given(size=st.integers(0, SIZE - 1), per_segment=SEGMENTS)
def test_a_truncation_is_found_and_named(log, signed, size, per_segment):
    rewrite(log, list(enumerate(signed))[:size], renumber=False, per_segment=per_segment)
    verdict = verify_log(log)
    assert {f.kind for f in verdict.damage} == {"truncation"}
    assert verdict.first_bad_seq == size


@st.composite
def works(draw):
    """Up to four changes after each other, of any kind."""
    return draw(st.lists(st.tuples(st.sampled_from("edxmrt"), PLACES, PLACES), min_size=1, max_size=4))


def worked(found: list[tuple[int, bytes]], changes: list[tuple[str, int, int]]) -> list[tuple[int, bytes]]:
    """The records after these changes: edit, delete, insert (x), move, reverse, truncate."""
    for number, (what, at, to) in enumerate(changes):
        at, to = min(at, len(found) - 1), min(to, len(found) - 1)  # noqa: PLW2901 - the list gets shorter
        if what == "e":
            found[at] = (found[at][0], changed(found[at][1], number))
        elif what == "d" and len(found) > 2:
            del found[at]
        elif what == "x":
            found.insert(at, (found[at][0], changed(found[at][1], number)))
        elif what == "m":
            found.insert(to, found.pop(at))
        elif what == "r":
            found[at:to] = found[at:to][::-1]
        elif what == "t" and at > 1:
            del found[max(at, SIZE // 2) :]
    return found


@settings(parent=FEW, max_examples=120)
@given(changes=works(), renumber=st.booleans(), per_segment=SEGMENTS)
def test_any_mix_of_changes_is_found_and_every_lost_record_is_named(log, signed, changes, renumber, per_segment):
    found = worked(list(enumerate(signed)), changes)
    names = [number if renumber else seq for number, (seq, _) in enumerate(found)][::per_segment]
    if len(set(names)) < len(names) or names != sorted(names):
        per_segment = SIZE * 2  # two files cannot have one name, and files are read in the order of theirs
    rewrite(log, found, renumber=renumber, per_segment=per_segment)
    payloads = [payload for _, payload in found]
    verdict = verify_log(log)
    unchanged = payloads[:SIZE] == signed
    assert verdict.ok == unchanged
    kinds = {f.kind for f in verdict.damage}
    lost = {seq for seq, payload in enumerate(signed) if payload not in set(payloads)}
    assert lost <= {f.seq for f in verdict.damage if f.kind in ("edit", "deletion", "truncation")}
    if not lost:
        assert not kinds & {"edit", "deletion", "truncation"}
    if sorted(payloads) == sorted(signed) and not unchanged:
        assert kinds == {"reorder"}


@FEW
@given(data=st.data())
def test_any_changed_byte_of_the_checkpoint_is_forgery_or_changes_nothing(original, log, data):
    path = log / "log" / "checkpoint"
    text = bytearray((original / "log" / "checkpoint").read_bytes())
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(text)
    verdict = verify_log(log)
    if verdict.ok:  # unused bits at the end of a base64 text: the same signature, spelled otherwise
        assert verdict == verify_log(original)
    else:
        assert "forged_checkpoint" in {f.kind for f in verdict.damage}


@FEW
@given(data=st.data())
def test_any_changed_byte_of_a_tile_of_records_is_found_where_it_is(log, data):
    index = data.draw(st.integers(0, SIZE // 256))
    path = log / "log" / tile_path(0, index, width=min(256, SIZE - index * 256))
    kept = path.read_bytes()
    position = data.draw(st.integers(0, len(kept) - 1))
    path.write_bytes(kept[:position] + bytes([kept[position] ^ 0x10]) + kept[position + 1 :])
    verdict = verify_log(log)
    path.write_bytes(kept)
    assert [(f.kind, f.seq) for f in verdict.damage] == [("edit", index * 256 + position // 32)]


@FEW
@given(place=PLACES)
def test_a_record_edited_together_with_its_tile_is_found_near_its_place(log, original, signed, place):
    fresh(original, log)
    found = list(enumerate(signed))
    found[place] = (place, changed(signed[place]))
    rewrite(log, found, renumber=False, per_segment=SIZE)
    index, offset = divmod(place, 256)
    hashes = split_hashes(TileFolder(log / "log").read(0, index, width=min(256, SIZE - index * 256)))
    hashes[offset] = leaf_hash(found[place][1])
    path = log / "log" / tile_path(0, index, width=len(hashes))
    assert path.is_file()
    path.write_bytes(b"".join(hashes))
    verdict = verify_log(log)
    assert not verdict.ok
    assert verdict.first_bad_seq <= place
    assert place - verdict.first_bad_seq <= 512


def resign(log: Path, keys, payloads: list[bytes], *, tiles: bool = True) -> None:
    """What one does who holds the log's key: other records, tiles and checkpoint that fit each other."""
    signer, key, _ = keys
    rewrite(log, list(enumerate(payloads)), renumber=True, per_segment=SIZE)
    leaves = [leaf_hash(payload) for payload in payloads]
    shutil.rmtree(log / "log" / "tile")
    if tiles:
        for index in range(0, len(leaves), 256):
            part = leaves[index : index + 256]
            path = log / "log" / tile_path(0, index // 256, width=len(part))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(part))
    head = TreeHead(key.name, len(leaves), root_of(leaves))
    (log / "log" / "checkpoint").write_text(write_checkpoint(head, key=key, sign=signer.sign))


@FEW
@given(place=PLACES, with_history=st.booleans(), tiles=st.booleans())
def test_a_log_resigned_by_its_own_key_is_a_split_view(log, original, signed, keys, place, with_history, tiles):
    fresh(original, log)
    saved = (original / "log" / "checkpoint").read_text()
    resign(log, keys, [*signed[:place], changed(signed[place]), *signed[place + 1 :]], tiles=tiles)
    if not with_history:
        (log / "log" / "history.jsonl").unlink()
    alone = verify_log(log)
    assert {f.kind for f in verify_log(log, against=[saved]).damage} == {"split_view"}
    if with_history and place < 500:  # an older checkpoint covers the place: nobody else is needed to notice
        assert {f.kind for f in alone.damage} == {"split_view"}
    elif not with_history:
        assert alone.ok  # what a copy elsewhere is for


@FEW
@given(size=st.integers(1, SIZE - 1))
def test_a_log_rolled_back_by_its_own_key_is_a_truncation(log, original, signed, keys, size):
    fresh(original, log)
    saved = (original / "log" / "checkpoint").read_text()
    resign(log, keys, signed[:size])
    assert {f.kind for f in verify_log(log, against=[saved]).damage} == {"truncation"}
    alone = verify_log(log)
    assert alone.ok == (size >= 600)  # the history holds a checkpoint of 600 records
    assert {f.kind for f in alone.damage} <= {"truncation"}


def test_a_saved_checkpoint_that_another_key_signed_is_forged(log, keys, tmp_path):
    _, key, _ = keys
    new_ed25519(tmp_path / "other.key")
    other = open_signer(f"file:{tmp_path / 'other.key'}")
    text = write_checkpoint(TreeHead(key.name, 10, bytes(32)), key=key, sign=other.sign)
    (finding,) = verify_log(log, against=[text]).damage
    assert (finding.kind, finding.segment) == ("forged_checkpoint", "against")


@pytest.mark.parametrize("what", ["rename", "swap", "drop", "double"])
def test_whole_segments_that_were_moved_are_found(log, signed, what):
    rewrite(log, list(enumerate(signed)), renumber=False, per_segment=100)
    assert verify_log(log).ok
    first, second, *_ = segment_files(log / "segments")
    if what == "rename":
        first.rename(first.with_name(segment_name(1)))
    elif what == "swap":
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
    elif what == "drop":
        second.unlink()
    else:
        shutil.copy(first, first.with_name(segment_name(50)))
    expected = {"rename": "edit", "swap": "reorder", "drop": "deletion", "double": "insertion"}[what]
    assert expected in {f.kind for f in verify_log(log).damage}


def test_a_torn_line_of_the_history_is_no_damage(log):
    with (log / "log" / "history.jsonl").open("ab") as file:
        file.write(b'{"checkpoint":"enclave.loc')
    assert verify_log(log).ok


def test_records_after_the_checkpoint_are_no_damage(log, signed):
    rewrite(log, [*enumerate(signed), (SIZE, changed(signed[-1]))], renumber=False, per_segment=50)
    verdict = verify_log(log)
    assert verdict.ok
    assert verdict.size == SIZE


def _without_a_tile(log: Path) -> None:
    (log / "log" / tile_path(0, 0)).unlink()


def _without_a_checkpoint(log: Path) -> None:
    (log / "log" / "checkpoint").unlink()


def _with_a_forged_checkpoint(log: Path) -> None:
    path = log / "log" / "checkpoint"
    path.write_text(path.read_text().replace(f"\n{SIZE}\n", f"\n{SIZE - 1}\n"))


def _without_all_that_was_signed(log: Path) -> None:
    shutil.rmtree(log / "log")


def _with_an_older_checkpoint(log: Path) -> None:
    first = (log / "log" / "history.jsonl").read_bytes().splitlines()[0]
    (log / "log" / "checkpoint").write_text(json.loads(first)["checkpoint"])
    shutil.rmtree(log / "log" / "tile")


HIDDEN = {
    "older": _with_an_older_checkpoint,
    "tile": _without_a_tile,
    "checkpoint": _without_a_checkpoint,
    "forged": _with_a_forged_checkpoint,
    "all": _without_all_that_was_signed,
}


@pytest.mark.row("S10.3")
@pytest.mark.parametrize("how", sorted(HIDDEN))
@pytest.mark.parametrize("change", ["edit", "cut", "nothing"])
def test_a_restart_signs_over_no_change_in_silence(log, keys, signed, how, change):
    """Who changes a record, takes away what tells of it and starts the ledger has no whole log."""
    payloads = list(signed)
    if change == "edit":
        payloads[5] = payloads[5].replace(b'"person5"', b'"persom5"')
    elif change == "cut":
        del payloads[300:]
    rewrite(log, list(enumerate(payloads)), renumber=False, per_segment=SIZE)
    HIDDEN[how](log)
    signer, key, box = keys
    ledger = Ledger(log, key=key, sign=signer.sign, verify=verify_ed25519, box=box, clock=SystemClock(), log=Log("t"))
    damage = ledger.damage
    ledger.close()
    (log / "log" / "vkey").write_text(f"{key}\n")
    harmless = change == "nothing" and how in ("tile", "older")
    assert bool(damage) is not harmless
    if how != "all":
        assert verify_log(log).ok is (change == "nothing")
    if change != "nothing" and how != "all":
        assert any(one.proven and one.first_bad_seq <= (5 if change == "edit" else 300) for one in damage)
