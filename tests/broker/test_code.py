"""People's notebooks on the disk: sealed, whole after any crash, and refused when anybody changed them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclave.audit.client import AuditClient
from enclave.broker.code_desk import MAX_BUNDLE_BYTES
from enclave.broker.code_store import CodeStore
from enclave.core.errors import DeniedError, IntegrityError, InvalidError
from enclave.keys.files import new_x25519
from enclave.keys.uri import file_uri
from enclave.keys.wrap import open_wrapper
from enclave.sealed import bundle
from enclave.sealed.bundle import BundledFile, content, make_bundle, read_bundle
from enclave.sealed.reader import open_unwrapper
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import KeepCode, OpenCode

MARK = b"MARKER-of-a-notebook-7731"


def bundled(files: dict[str, bytes], *, without: frozenset[str] = frozenset(), folders: tuple[str, ...] = ()) -> int:
    """A bundle of these files; the contents of ``without`` are left out."""
    return make_bundle(
        folders,
        [
            (
                BundledFile(path=path, size_bytes=len(data), mtime_ns=1_700_000_000_000_000_000, sha256=_sha(data)),
                None if path in without else data,
            )
            for path, data in files.items()
        ],
    )


def _sha(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def unbundled(fd: int) -> dict[str, bytes]:
    """The files in a bundle; closes it."""
    found = read_bundle(fd)
    files = {one.path: content(fd, found, one) for one in found.files}
    os.close(fd)
    return files


@pytest.fixture
def store(tmp_path: Path) -> CodeStore:
    new_x25519(tmp_path / "kek.key")
    return CodeStore(
        tmp_path / "code",
        wrapper=lambda: open_wrapper(file_uri(tmp_path / "kek.pub")),
        unwrapper=open_unwrapper(file_uri(tmp_path / "kek.key")),
    )


def keep(store: CodeStore, person: str, files: dict[str, bytes], **options: Any) -> int:
    fd = bundled(files, **options)
    try:
        prepared = store.prepare(person, fd)
        store.commit(prepared)
    finally:
        os.close(fd)
    return prepared.facts["generation"]


def everything(root: Path) -> bytes:
    """All names and bytes below a folder."""
    return b"\0".join(
        os.fsencode(path) + (path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
        for path in sorted(root.rglob("*"))
    )


def test_what_was_kept_comes_back_and_neither_names_nor_contents_stand_on_the_disk(
    store: CodeStore, tmp_path: Path
) -> None:
    files = {"a/secret-name.ipynb": MARK, "b.py": b"", "c.md": os.urandom(3 << 20)}
    assert keep(store, "rosa", files, folders=("a", "empty")) == 1
    fd, facts = store.open("rosa")
    assert read_bundle(fd).folders == ("a", "empty")
    assert unbundled(fd) == files
    assert facts == {"generation": 1, "files": 3, "size_bytes": sum(map(len, files.values()))}
    assert MARK not in everything(tmp_path)
    assert b"secret-name" not in everything(tmp_path)


def test_only_what_is_new_is_sealed_and_what_is_gone_is_taken_away(store: CodeStore, tmp_path: Path) -> None:
    keep(store, "rosa", {"a.py": b"1", "b.py": b"2"})
    before = {path.name for path in tmp_path.glob("code/*/objects/*")}
    keep(store, "rosa", {"renamed.py": b"1", "c.py": b"3"}, without=frozenset({"renamed.py"}))
    after = {path.name for path in tmp_path.glob("code/*/objects/*")}
    assert (len(before), len(after), len(before & after)) == (2, 2, 1)
    assert unbundled(store.open("rosa")[0]) == {"renamed.py": b"1", "c.py": b"3"}


def test_a_content_that_is_not_here_is_asked_for(store: CodeStore) -> None:
    with pytest.raises(InvalidError) as fault:
        keep(store, "rosa", {"a.py": b"1"}, without=frozenset({"a.py"}))
    assert fault.value.code == "code_unknown_content"
    assert unbundled(store.open("rosa")[0]) == {}


@pytest.mark.parametrize("moment", ["objects written", "index half written", "before the sweep"])
def test_a_crash_leaves_the_last_state_that_was_kept(store: CodeStore, tmp_path: Path, moment: str) -> None:
    keep(store, "rosa", {"a.py": b"1"})
    (folder,) = tmp_path.glob("code/*")
    if moment == "objects written":
        fd = bundled({"a.py": b"2", "b.py": b"3"})
        store.prepare("rosa", fd)
        os.close(fd)
    elif moment == "index half written":
        (folder / ".index.0000.part").write_bytes(b"half")
    else:
        (folder / "objects" / ("0" * 32)).write_bytes(b"left behind")
    assert unbundled(store.open("rosa")[0]) == {"a.py": b"1"}
    keep(store, "rosa", {"a.py": b"4"})
    assert unbundled(store.open("rosa")[0]) == {"a.py": b"4"}
    assert len(list((folder / "objects").iterdir())) == 1


def test_a_crash_while_a_persons_folder_is_made_locks_nobody_out(
    store: CodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        with pytest.raises(OSError):
            keep(store, "rosa", {"a.py": b"1"})
    assert not store.known("rosa")
    assert keep(store, "rosa", {"a.py": b"1"}) == 1


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def _swap(first: Path, second: Path) -> None:
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a bit of an object": lambda folder: _flip(next((folder / "objects").iterdir()), -1),
    "a bit of the index": lambda folder: _flip(folder / "index", 60),
    "a bit of the key": lambda folder: _flip(folder / "key", 40),
    "an object gone": lambda folder: next((folder / "objects").iterdir()).unlink(),
    "the index gone": lambda folder: (folder / "index").unlink(),
    "the key gone": lambda folder: (folder / "key").unlink(),
    "two objects swapped": lambda folder: _swap(*sorted((folder / "objects").iterdir())),
    "an object cut": lambda folder: os.truncate(next((folder / "objects").iterdir()), 50),
    "a link": lambda folder: _link(next((folder / "objects").iterdir())),
}


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_was_changed_is_not_opened_and_not_built_on(store: CodeStore, tmp_path: Path, damage: str) -> None:
    keep(store, "rosa", {"a.py": MARK, "b.py": b"other content"})
    (folder,) = tmp_path.glob("code/*")
    DAMAGE[damage](folder)
    with pytest.raises(IntegrityError) as fault:
        store.open("rosa")
    assert fault.value.code == "code_damaged"
    assert MARK.decode() not in fault.value.message


def test_a_folder_put_in_place_of_another_persons_does_not_open(store: CodeStore, tmp_path: Path) -> None:
    keep(store, "rosa", {"a.py": MARK})
    (rosas,) = tmp_path.glob("code/*")
    keep(store, "rita", {"a.py": b"mine"})
    (ritas,) = set(tmp_path.glob("code/*")) - {rosas}
    shutil.rmtree(ritas)
    shutil.copytree(rosas, ritas)
    with pytest.raises(IntegrityError):
        store.open("rita")


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a//b", "", ".", "a/../b", "x" * 2000, 7, "a\0b"])
def test_a_bundle_names_nothing_outside(path: Any) -> None:
    with pytest.raises(InvalidError):
        bundle.check_path(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", b"\0\0\0\5nope!", b"\xff\xff\xff\xff", b'\0\0\0\x1c{"files":[["a",1,0,"",0]]}'],
)
def test_bytes_that_are_no_bundle_are_refused(data: bytes) -> None:
    fd = os.memfd_create("test")
    os.write(fd, data)
    with pytest.raises(InvalidError):
        read_bundle(fd)
    os.close(fd)


def test_a_content_that_is_not_what_its_name_says_is_refused(store: CodeStore) -> None:
    one = BundledFile(path="a.py", size_bytes=1, mtime_ns=0, sha256=_sha(b"2"))
    fd = make_bundle((), [(one, b"1")])
    with pytest.raises(InvalidError):
        store.prepare("rosa", fd)
    os.close(fd)


# ── the daemon ──────────────────────────────────────────────────────────────


def test_the_broker_keeps_and_opens_for_the_launcher_and_each_time_is_an_event(broker: Any) -> None:
    client = WireClient(broker.audit.home.socket("brokerd"))
    assert client.call(OpenCode(person="rosa")).generation == 0
    fd = bundled({"a.ipynb": MARK})
    reply, _ = client.call_with_descriptors(KeepCode(person="rosa"), descriptors=(fd,))
    os.close(fd)
    assert reply.generation == 1
    _, (found,) = client.call_with_descriptors(OpenCode(person="rosa"), max_descriptors=1)
    assert unbundled(found) == {"a.ipynb": MARK}
    events = [*broker.events(kind="code.keep"), *broker.events(kind="code.open")]
    assert [(one["actor"], one["outcome"]) for one in events] == [("rosa", "intent"), ("rosa", "ok"), ("rosa", "ok")]
    assert MARK.decode() not in str(events)
    client.close()


def test_damage_is_refused_in_words_and_in_the_ledger(broker: Any) -> None:
    client = WireClient(broker.audit.home.socket("brokerd"))
    fd = bundled({"a.ipynb": MARK})
    client.call_with_descriptors(KeepCode(person="rosa"), descriptors=(fd,))
    (index,) = broker.audit.home.state("broker").glob("code/*/index")
    _flip(index, -1)
    with pytest.raises(IntegrityError) as fault:
        client.call(OpenCode(person="rosa"))
    assert "tell the operator" in fault.value.message
    with pytest.raises(IntegrityError):
        client.call_with_descriptors(KeepCode(person="rosa"), descriptors=(fd,))
    os.close(fd)
    failed = [one for kind in ("code.open", "code.keep") for one in broker.events(kind=kind, outcome="failed")]
    assert [one["reason"] for one in failed] == ["code_damaged"] * 2
    client.close()


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xff\xff\xff\xff" + MARK, b"\0\0\0\x02{}" + MARK, None])
def test_what_is_no_bundle_is_refused_and_the_refusal_is_an_event(broker: Any, data: bytes | None) -> None:
    client = WireClient(broker.audit.home.socket("brokerd"))
    fd = bundled({"a.ipynb": MARK})
    client.call_with_descriptors(KeepCode(person="rosa"), descriptors=(fd,))
    os.close(fd)
    fd = os.memfd_create("test")
    os.write(fd, data or b"")
    with pytest.raises(InvalidError) as fault:
        client.call_with_descriptors(KeepCode(person="rosa"), descriptors=() if data is None else (fd,))
    os.close(fd)
    (refused,) = broker.events(kind="code.keep", outcome="refused")
    assert (refused["actor"], refused["reason"]) == ("rosa", "not_a_bundle")
    assert MARK.decode() not in str(fault.value) + str(refused)
    _, (found,) = client.call_with_descriptors(OpenCode(person="rosa"), max_descriptors=1)
    assert unbundled(found) == {"a.ipynb": MARK}
    client.close()


def test_a_bundle_beyond_any_size_is_refused_unread(broker: Any) -> None:
    client = WireClient(broker.audit.home.socket("brokerd"))
    fd = os.memfd_create("test")
    os.truncate(fd, MAX_BUNDLE_BYTES + 1)
    with pytest.raises(InvalidError):
        client.call_with_descriptors(KeepCode(person="rosa"), descriptors=(fd,))
    os.close(fd)
    (refused,) = broker.events(kind="code.keep")
    assert (refused["outcome"], refused["reason"]) == ("refused", "not_a_bundle")
    client.close()


def test_nothing_is_kept_without_a_receipt(broker: Any) -> None:
    client = WireClient(broker.audit.home.socket("brokerd"), timeout_s=10)
    fd = bundled({"a.ipynb": MARK})
    client.call_with_descriptors(KeepCode(person="rosa"), descriptors=(fd,))
    os.close(fd)
    broker.audit.stop()
    fd = bundled({"a.ipynb": b"later"})
    with pytest.raises(Exception) as fault:
        client.call_with_descriptors(KeepCode(person="rosa"), descriptors=(fd,))
    os.close(fd)
    assert getattr(fault.value, "code", "") == "ledger_unavailable"
    broker.audit.start()
    _, (found,) = client.call_with_descriptors(OpenCode(person="rosa"), max_descriptors=1)
    assert unbundled(found) == {"a.ipynb": MARK}
    client.close()


def test_a_tap_or_a_gate_gets_no_code_folder(broker: Any) -> None:
    from enclave.broker.code_desk import CodeDesk
    from enclave.wire.peer import Call, Peer

    desk = CodeDesk(None, audit=AuditClient(broker.audit.home.socket("auditd")), door_uid=210_000)  # type: ignore[arg-type]  # never asked
    for act, message in ((desk.open, OpenCode(person="rosa")), (desk.keep, KeepCode(person="rosa"))):
        with pytest.raises(DeniedError):
            act(message, Call(Peer(1, 210_000)))
    refused = [one for kind in ("code.open", "code.keep") for one in broker.events(kind=kind, outcome="refused")]
    assert [one["reason"] for one in refused] == ["not_the_launcher"] * 2
