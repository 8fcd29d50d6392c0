"""Sealing and opening versions: all or nothing, numbered for good, and nothing readable without the broker's key."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import mmap
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.canonical import canonical_bytes
from enclave.core.errors import IntegrityError, InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import VersionName
from enclave.keys.files import new_x25519
from enclave.keys.uri import file_uri
from enclave.sealed import stream
from enclave.sealed.manifest import Manifest, ObjectEntry, parse_manifest
from enclave.sealed.memory import fresh_readonly, sealed_memory
from enclave.sealed.reader import open_unwrapper, open_version, verify_version
from enclave.sealed.writer import PlainObject

Stand = Any  # tests/sealed/conftest.py: SealedStand
Make = Callable[..., PlainObject]
NAME = VersionName("demo-ct", 1)
SEALED_AT = "2026-11-22T12:00:00.000000Z"
CANARY = b"Doe^Jane-19520304-canary"


def series(name: str = "1.2.3", size: int = 24) -> PlainObject:
    header = {"dtype": "int16", "shape": [size // 2], "modality": "CT", "note": CANARY.decode()}
    return PlainObject(name=f"series/{name}", kind="series", header=header, chunks=(CANARY * size)[:size])


def test_a_sealed_version_reads_back_as_it_was(sealed: Stand, table: Make) -> None:
    done = sealed.seal(series(size=3 << 20), table())
    version = sealed.open()
    assert (done.dataset, done.version, done.objects, done.bytes) == ("demo-ct", 1, 2, (3 << 20) + 10)
    assert done.content_root == version.content_root
    fd = version.to_memory("series/1.2.3")
    assert os.pread(fd, 4 << 20, 0) == (CANARY * (3 << 20))[: 3 << 20]
    os.close(fd)
    assert version.entry("tables/patients").header == {"rows": 3}


@pytest.mark.parametrize("size", [(4 << 20) - 2, 4 << 20, (9 << 20) + 6])
def test_a_large_object_is_checked_as_a_small_one_is(sealed: Stand, size: int) -> None:
    sealed.seal(series(size=size))
    got: list[bytes] = []
    sealed.open().pieces("series/1.2.3", lambda piece: got.append(bytes(piece)))
    assert b"".join(got) == (CANARY * size)[:size]
    other = bytearray(b"".join(got))
    other[-1] ^= 1
    version = sealed.open()
    with sealed.store.object_file(NAME, 0).open("wb") as file:
        context = canonical_bytes({"dataset": "demo-ct", "version": 1, "object": "series/1.2.3"})
        stream.write(file, bytes(other), key=version._key, associated_data=context)
    with pytest.raises(IntegrityError):
        version.to_memory("series/1.2.3")


def test_the_content_root_is_the_merkle_tree_hash_of_the_entries(sealed: Stand, table: Make) -> None:
    """RFC 6962, section 2.1, written down again by its recursive definition."""

    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return hashlib.sha256(b"\x00" + leaves[0]).digest()
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        return hashlib.sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()

    for count in (1, 2, 3, 5, 8):
        done = sealed.seal(*(table(f"t{i}", bytes([i])) for i in range(count)))
        entries = sealed.open(done.version).manifest.entries
        plain = [b"ARROW1" + bytes([i]) for i in range(count)]
        assert [entry.sha256 for entry in entries] == [hashlib.sha256(item).hexdigest() for item in plain]
        leaves = [
            json.dumps(
                {
                    "header": {"rows": 3},
                    "kind": "table",
                    "name": f"tables/t{i}",
                    "sha256": hashlib.sha256(plain[i]).hexdigest(),
                    "size_bytes": len(plain[i]),
                },
                separators=(",", ":"),
            ).encode()
            for i in range(count)
        ]
        assert done.content_root == tree(leaves).hex()


def test_the_root_does_not_depend_on_the_order_or_the_keys(sealed: Stand, table: Make) -> None:
    first = sealed.seal(series(), table("a"), table("b"))
    second = sealed.seal(table("b"), series(), table("a"))
    assert first.content_root == second.content_root
    assert (first.version, second.version) == (1, 2)


@pytest.mark.row("S4.1")
def test_nothing_of_the_data_stands_on_disk_in_clear(sealed: Stand, table: Make) -> None:
    sealed.seal(series(size=200), table(rows=CANARY))
    files = [path for path in sealed.store.root.rglob("*") if path.is_file()]
    assert len(files) >= 5
    for path in files:
        data = path.read_bytes()
        assert CANARY not in data
        assert b"series/1.2.3" not in data
        assert b"modality" not in data
        assert CANARY.decode() not in str(path)


@pytest.mark.row("S4.4")
def test_another_key_encryption_key_opens_nothing(sealed: Stand, table: Make, tmp_path: Path) -> None:
    sealed.seal(table())
    new_x25519(tmp_path / "other.key")
    with pytest.raises(IntegrityError):
        open_version(sealed.store, NAME, unwrapper=open_unwrapper(file_uri(tmp_path / "other.key")))


def test_the_key_of_one_version_does_not_open_another(sealed: Stand, table: Make) -> None:
    sealed.seal(table())
    sealed.seal(table())
    path = sealed.store.root / "keys.json"
    value = json.loads(path.read_text())
    value["keys"]["demo-ct@1"], value["keys"]["demo-ct@2"] = value["keys"]["demo-ct@2"], value["keys"]["demo-ct@1"]
    path.write_bytes(canonical_bytes(value))
    with pytest.raises(IntegrityError):
        sealed.open(1)


def test_without_its_key_a_version_is_gone_for_good(sealed: Stand, table: Make) -> None:
    sealed.seal(table())
    (sealed.store.root / "keys.json").write_bytes(canonical_bytes({"format": 1, "keys": {}}))
    with pytest.raises(NotFoundError) as caught:
        sealed.open(1)
    assert caught.value.code == "version_key_missing"


def test_a_number_is_never_used_again(sealed: Stand, table: Make) -> None:
    sealed.seal(table())
    sealed.seal(table())
    shutil.rmtree(sealed.store.version_dir(VersionName("demo-ct", 2)))
    assert sealed.seal(table()).version == 3
    assert sealed.seal(table(), dataset="other").version == 1


BAD_OBJECTS = {
    "a table that is not Arrow": PlainObject(name="tables/a", kind="table", header={}, chunks=b"PAR1...."),
    "an empty table": PlainObject(name="tables/a", kind="table", header={}, chunks=b""),
    "too few bytes": PlainObject(name="series/a", kind="series", header={"dtype": "int16", "shape": [9]}, chunks=b"12"),
    "no shape": PlainObject(name="series/a", kind="series", header={"dtype": "int16"}, chunks=b"12"),
    "an object dtype": PlainObject(
        name="series/a", kind="series", header={"dtype": "O", "shape": [1]}, chunks=b"12345678"
    ),
    "big endian": PlainObject(name="series/a", kind="series", header={"dtype": ">i2", "shape": [1]}, chunks=b"12"),
    "a negative side": PlainObject(
        name="series/a", kind="series", header={"dtype": "int8", "shape": [-1, -2]}, chunks=b"12"
    ),
    "a document that is no text": PlainObject(name="documents/x", kind="document", header={}, chunks=b"a\xff"),
    "a document that ends within a letter": PlainObject(
        name="documents/x", kind="document", header={}, chunks=lambda: iter((b"a", b"\xc3"))
    ),
    "a name outside": PlainObject(
        name="series/../../x", kind="series", header={"dtype": "int8", "shape": [0]}, chunks=b""
    ),
    "a name of another kind": PlainObject(
        name="tables/x", kind="series", header={"dtype": "int8", "shape": [0]}, chunks=b""
    ),
    "an unknown kind": PlainObject(name="notes/x", kind="note", header={}, chunks=b""),
    "a header that is not JSON": PlainObject(name="review/x", kind="review", header={"x": b"bytes"}, chunks=b""),
    "not a number": PlainObject(name="review/x", kind="review", header={"x": float("nan")}, chunks=b""),
}


@pytest.mark.parametrize("case", BAD_OBJECTS)
def test_an_object_that_is_not_what_it_says_seals_nothing(sealed: Stand, table: Make, case: str) -> None:
    with pytest.raises(InvalidError):
        sealed.seal(table(), BAD_OBJECTS[case])
    assert_nothing_is_there(sealed)


def test_no_object_and_the_same_object_twice_are_refused(sealed: Stand, table: Make) -> None:
    for objects in ((), (table(), table())):
        with pytest.raises(InvalidError):
            sealed.seal(*objects)
    assert_nothing_is_there(sealed)


def assert_nothing_is_there(sealed: Stand) -> None:
    assert sealed.store.versions() == []
    staging = sealed.store.root / ".staging"
    assert not staging.exists() or list(staging.iterdir()) == []
    with pytest.raises(NotFoundError):
        sealed.open(1)


def test_a_full_disk_at_any_write_seals_nothing_and_says_so(
    sealed: Stand, table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fsync is a place where the disk can be full; after each failure the store is as it was."""
    real = os.fsync
    fails = 0
    while True:
        left = fails

        def full(fd: int) -> None:
            nonlocal left
            if left == 0:
                raise OSError(errno.ENOSPC, "no space")
            left -= 1
            real(fd)

        monkeypatch.setattr(os, "fsync", full)
        try:
            done = sealed.seal(table(), series())
        except UnavailableError as error:
            assert error.code == "disk_full"
            monkeypatch.setattr(os, "fsync", real)
            visible = [info.version for info in sealed.store.versions()]
            for version in visible:  # the rename was done, only its durability was not confirmed
                assert verify_version(sealed.store, VersionName("demo-ct", version), unwrapper=sealed.unwrapper) == []
            fails += 1
        else:
            break
    assert fails >= 6
    assert verify_version(sealed.store, VersionName("demo-ct", done.version), unwrapper=sealed.unwrapper) == []


def test_a_writer_that_is_killed_leaves_nothing_and_the_next_one_cleans_up(sealed: Stand, table: Make) -> None:
    started = multiprocessing.get_context("fork").Event()

    def endless() -> Iterator[bytes]:
        yield b"ARROW1"
        started.set()
        while True:
            yield bytes(1 << 16)
            signal.pause()

    slow = PlainObject(name="tables/slow", kind="table", header={}, chunks=endless)
    child = multiprocessing.get_context("fork").Process(target=sealed.seal, args=(slow,))
    child.start()
    assert started.wait(20)
    assert [item.name.split("@")[0] for item in (sealed.store.root / ".staging").iterdir()] == ["demo-ct"]
    assert sealed.store.versions() == []
    child.kill()
    child.join()
    assert sealed.seal(table()).version == 1
    assert list((sealed.store.root / ".staging").iterdir()) == []


def test_two_writers_of_one_dataset_get_two_numbers(sealed: Stand, table: Make) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=sealed.seal, args=(table(f"t{i}"), series())) for i in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [info.version for info in sealed.store.versions()] == [1, 2, 3, 4]
    for version in range(1, 5):
        assert verify_version(sealed.store, VersionName("demo-ct", version), unwrapper=sealed.unwrapper) == []


@pytest.mark.row("S6.3")
def test_verify_finds_each_damaged_object_and_no_other(sealed: Stand, table: Make) -> None:
    sealed.seal(series("1"), series("2", 48), table())
    damage(sealed.store.object_file(NAME, 1))
    sealed.store.object_file(NAME, 2).unlink()
    bad = verify_version(sealed.store, NAME, unwrapper=sealed.unwrapper)
    assert [(item.object, item.reason) for item in bad] == [
        ("series/2", "stream_damaged"),
        ("tables/patients", "object_missing"),
    ]


@pytest.mark.row("S6.3")
@pytest.mark.parametrize("part", ["manifest", "version.json", "objects/000000", "objects/000001"])
def test_a_byte_changed_in_any_file_is_found(sealed: Stand, table: Make, part: str) -> None:
    sealed.seal(series(), table())
    path = sealed.store.version_dir(NAME) / part
    original = path.read_bytes()
    for position in range(0, len(original), 7):
        path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        try:
            assert verify_version(sealed.store, NAME, unwrapper=sealed.unwrapper)
        except IntegrityError:
            continue


def test_objects_of_one_version_cannot_change_places(sealed: Stand) -> None:
    sealed.seal(series("1"), series("2"))
    first, second = (sealed.store.object_file(NAME, index) for index in (0, 1))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    assert len(verify_version(sealed.store, NAME, unwrapper=sealed.unwrapper)) == 2


def test_an_object_of_another_version_does_not_fit(sealed: Stand) -> None:
    sealed.seal(series("1"))
    sealed.seal(series("1"))
    other = sealed.store.object_file(VersionName("demo-ct", 2), 0)
    sealed.store.object_file(NAME, 0).write_bytes(other.read_bytes())
    assert len(verify_version(sealed.store, NAME, unwrapper=sealed.unwrapper)) == 1


def test_a_version_under_another_name_is_refused(sealed: Stand, table: Make) -> None:
    sealed.seal(table())
    shutil.copytree(sealed.store.version_dir(NAME), sealed.store.root / "other" / "1")
    with pytest.raises(IntegrityError):
        sealed.store.info(VersionName("other", 1))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.row("S4.5")
def test_what_is_handed_out_is_memory_that_nobody_can_change(sealed: Stand) -> None:
    sealed.seal(series(size=100))
    fd = sealed.open().to_memory("series/1.2.3")
    fresh = fresh_readonly(fd)
    try:
        assert str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("/memfd:")
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        assert seals & (fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL) == 0b1111
        for one in (fd, fresh):
            with pytest.raises(OSError):
                os.pwrite(one, b"x", 0)
            with pytest.raises(OSError):
                os.ftruncate(one, 1)
            with pytest.raises(OSError):
                mmap.mmap(one, 100, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        writable = os.open(f"/proc/self/fd/{fresh}", os.O_RDWR)  # opening it anew does not help either
        with pytest.raises(OSError):
            os.pwrite(writable, b"x", 0)
        os.close(writable)
        os.lseek(fd, 50, os.SEEK_SET)
        assert os.lseek(fresh, 0, os.SEEK_CUR) == 0
    finally:
        os.close(fd)
        os.close(fresh)


def test_memory_that_could_not_be_filled_is_given_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(IntegrityError):
            sealed_memory(10, fill=lambda _put: (_ for _ in ()).throw(IntegrityError("x")))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_damaged_object_hands_out_no_memory(sealed: Stand) -> None:
    sealed.seal(series(size=3 << 20))
    damage(sealed.store.object_file(NAME, 0))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(IntegrityError):
        sealed.open().to_memory("series/1.2.3")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_manifest_that_lies_about_an_object_is_noticed(sealed: Stand, table: Make) -> None:
    """Whoever holds the version key (intake while sealing) cannot make another plaintext pass for the certified one."""
    sealed.seal(table())
    version = sealed.open()
    with sealed.store.object_file(NAME, 0).open("wb") as file:
        context = canonical_bytes({"dataset": "demo-ct", "version": 1, "object": "tables/patients"})
        stream.write(file, b"ARROW1rowz", key=version._key, associated_data=context)
    with pytest.raises(IntegrityError) as caught:
        version.pieces("tables/patients", lambda _: None)
    assert caught.value.code == "object_altered"


@given(data=st.binary(max_size=400))
def test_what_is_not_a_manifest_is_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_manifest(data)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["format", "dataset", "version", "objects"]), inner)
        ),
    )
)
def test_any_other_json_is_not_a_manifest_either(value: object) -> None:
    with pytest.raises(IntegrityError):
        parse_manifest(canonical_bytes(value))


def test_a_manifest_reads_back_as_it_was_written() -> None:
    entries = tuple(
        ObjectEntry(name=f"series/{i}", kind="series", size_bytes=i, sha256=f"{i:064x}", header={"shape": [i]})
        for i in range(5)
    )
    manifest = Manifest(NAME, entries, SEALED_AT)
    assert parse_manifest(manifest.to_bytes()) == manifest
    for broken in (entries[::-1], (*entries, entries[-1]), ()):
        with pytest.raises(IntegrityError):
            parse_manifest(Manifest(NAME, broken, SEALED_AT).to_bytes())


def test_the_store_lists_what_is_there_without_any_key(sealed: Stand, table: Make) -> None:
    first = sealed.seal(table(), series())
    sealed.seal(table(), dataset="other")
    infos = sealed.store.versions()
    assert [(info.dataset, info.version) for info in infos] == [("demo-ct", 1), ("other", 1)]
    assert (infos[0].content_root, infos[0].objects, infos[0].bytes) == (first.content_root, 2, first.bytes)
    assert sealed.store.versions("other") == infos[1:]
