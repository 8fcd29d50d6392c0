"""Code folders: in memory while they are used, sealed on the disk, and there again after any end."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from code_desk import code_desk, everything

from enclave.core.errors import EnclaveError, IntegrityError, InvalidError, UnavailableError
from enclave.runtime.home import ensure_private_dir
from enclave.runtime.log import Log
from enclave.sandbox import code_folders
from enclave.sandbox.code_folders import CodeFolders
from enclave.sandbox.installation import find_installation
from enclave.sandbox.runtime_mounts import _as_it_is
from enclave.sandbox.sandboxed import HostUser
from enclave.wire.peer import WireServer

MARK = "MARKER-of-a-notebook-5150"
US = HostUser(None)


class Stand:
    """Code folders as an ordinary user has them, with the broker's own desk behind a socket."""

    def __init__(self, auditd: Any) -> None:
        self.home = auditd.home
        self.ledger = auditd
        ensure_private_dir(self.home.run_dir, mode=0o711)
        self.runtime = _as_it_is(find_installation(), self.home)
        self.start_broker()
        self.folders = self.new_folders()

    def start_broker(self) -> None:
        desk = code_desk(self.home)
        self.broker = WireServer(
            self.home.socket("brokerd"), desk.handlers(), log=Log("broker"), allowed_uids=None, max_descriptors=1
        )
        self.broker.start()

    def new_folders(self, *, size_mb: int = 8) -> CodeFolders:
        socket_path = self.home.socket("brokerd")
        return CodeFolders(self.runtime, broker=socket_path, size_mb=size_mb, log=Log("launcher"))

    def hold(self, person: str = "rosa", holder: str = "server") -> Path:
        return self.folders.hold(person, holder, owner=US)

    def on_disk(self) -> bytes:
        """All names and bytes below the home and its run folder."""
        return everything(self.home)


def within(condition: Callable[[], Any], *, seconds: float = 20) -> None:
    """Waits for ``condition``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def memory(auditd: Any) -> Iterator[Stand]:
    found = Stand(auditd)
    yield found
    found.folders.close()
    found.broker.close()
    found.runtime.forget_all_code()


@pytest.mark.row("S4.5")
def test_what_was_kept_is_there_again_and_nothing_of_it_stands_on_the_disk(memory: Stand) -> None:
    place = memory.hold()
    (place / "study-of-a-secret").mkdir()
    (place / "study-of-a-secret" / "a.ipynb").write_text(MARK)
    memory.folders.keep("rosa")
    assert MARK.encode() not in memory.on_disk()
    assert b"study-of-a-secret" not in memory.on_disk()
    memory.folders.release("rosa", "server")
    assert not place.exists()
    assert MARK.encode() not in memory.on_disk()
    again = memory.hold()
    assert (again / "study-of-a-secret" / "a.ipynb").read_text() == MARK
    assert MARK not in str(memory.ledger.events())


def test_a_launcher_that_was_killed_loses_nothing_that_was_kept(memory: Stand) -> None:
    (memory.hold() / "a.ipynb").write_text(MARK)
    memory.folders.keep("rosa")
    memory.folders._stop.set()  # as if it had been killed: nothing is sealed any more, nothing taken away
    memory.runtime.forget_all_code()
    memory.folders = memory.new_folders()
    assert (memory.hold() / "a.ipynb").read_text() == MARK


def test_the_folder_of_another_person_is_another_folder(memory: Stand) -> None:
    (memory.hold("rosa") / "a.ipynb").write_text(MARK)
    memory.folders.keep("rosa")
    assert list(memory.hold("rita").iterdir()) == []


def test_what_a_server_writes_unasked_is_sealed_soon(memory: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_folders, "LOOK_S", 0.1)
    memory.folders.close()
    memory.folders = memory.new_folders()
    (memory.hold() / "a.py").write_text(MARK)
    kept = memory.ledger.events
    within(lambda: [one for one in kept(kind="code.keep", outcome="ok") if one["detail"]["files"] == 1])
    assert kept(kind="code.keep", outcome="ok")[-1]["actor"] == "rosa"


def test_a_folder_that_could_not_be_sealed_stays_in_memory_until_it_is(
    memory: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_folders, "LOOK_S", 0.1)
    memory.folders.close()
    memory.folders = memory.new_folders()
    place = memory.hold()
    memory.broker.close()
    (place / "a.py").write_text(MARK)
    with pytest.raises(UnavailableError):
        memory.folders.keep("rosa")
    memory.folders.release("rosa", "server")
    assert (place / "a.py").exists()
    memory.start_broker()
    within(lambda: not place.exists())
    assert (memory.hold() / "a.py").read_text() == MARK


def test_the_last_user_takes_the_memory_away_and_not_the_first(memory: Stand) -> None:
    place = memory.hold(holder="server")
    assert memory.hold(holder="kernel") == place
    memory.folders.release("rosa", "server")
    memory.folders.release("rosa", "server")
    assert place.exists()
    memory.folders.release("rosa", "kernel")
    assert not place.exists()


def test_links_pipes_sockets_and_names_that_are_no_text_are_not_followed_and_not_kept(
    memory: Stand, tmp_path: Path
) -> None:
    place = memory.hold()
    secret = tmp_path / "secret"
    secret.write_text(MARK)
    (place / "a.py").write_text("1")
    (place / "link.py").symlink_to(secret)
    (place / "folder").symlink_to(tmp_path)
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place / "s"))
    (place / os.fsdecode(b"\xff.py")).write_text("2")
    memory.folders.keep("rosa")
    memory.folders.release("rosa", "server")
    again = memory.hold()
    assert [path.name for path in again.iterdir()] == ["a.py"]


def test_a_folder_renamed_under_the_reader_leads_nowhere_else(memory: Stand, tmp_path: Path) -> None:
    """A server that swaps a folder for a link all the time: what is kept never comes from outside."""
    place = memory.hold()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.py").write_text(MARK)
    (place / "inside").mkdir()
    (place / "inside" / "x.py").write_text("ours")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (place / "inside").rename(place / "aside")
            (place / "inside").symlink_to(outside)
            (place / "inside").unlink()
            (place / "aside").rename(place / "inside")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(40):
            (place / "n.py").write_text(str(number))
            memory.folders.keep("rosa")
            _, kept = memory.folders._folders["rosa"].kept
            assert len({digest for path, digest in kept if path.endswith("x.py")}) <= 1
            assert not [path for path, _ in kept if path.endswith("x.py") and not path.startswith(("inside", "aside"))]
    finally:
        stop.set()
        thread.join()
    memory.folders.keep("rosa")
    memory.folders.release("rosa", "server")
    assert MARK not in "".join(path.read_text() for path in memory.hold().rglob("*.py"))


@pytest.mark.parametrize("what", ["bytes", "files", "depth"])
def test_too_much_is_not_kept_and_what_was_kept_before_stays(memory: Stand, what: str) -> None:
    place = memory.hold()
    (place / "a.py").write_text(MARK)
    memory.folders.keep("rosa")
    if what == "bytes":
        (place / "b.py").write_bytes(b"x" * (9 << 20))
    elif what == "files":
        for number in range(5_001):
            (place / f"{number}.py").touch()
    else:
        (place / "/".join("d" * 40)).mkdir(parents=True)
    with pytest.raises(InvalidError) as fault:
        memory.folders.keep("rosa")
    assert fault.value.code == "code_too_large"
    assert "Delete" in fault.value.message
    memory.folders._stop.set()
    memory.runtime.forget_all_code()
    memory.folders = memory.new_folders()
    assert [path.name for path in memory.hold().iterdir()] == ["a.py"]


def test_a_store_that_was_tampered_with_is_refused_and_leaves_nothing_in_memory(memory: Stand) -> None:
    place = memory.hold()
    (place / "a.py").write_text(MARK)
    memory.folders.release("rosa", "server")
    (index,) = memory.home.state("broker").glob("code/*/index")
    data = bytearray(index.read_bytes())
    data[-1] ^= 1
    index.write_bytes(bytes(data))
    with pytest.raises(IntegrityError) as fault:
        memory.hold()
    assert "tell the operator" in fault.value.message
    assert not place.exists()
    (failed,) = memory.ledger.events(kind="code.open", outcome="failed")
    assert (failed["actor"], failed["reason"]) == ("rosa", "code_damaged")


def test_what_an_earlier_release_kept_in_clear_is_sealed_and_taken_off_the_disk(memory: Stand) -> None:
    plain = memory.home.root / "people" / "rosa" / "code" / "demo"
    plain.mkdir(parents=True)
    (plain / "a.ipynb").write_text(MARK)
    assert (memory.hold() / "demo" / "a.ipynb").read_text() == MARK
    assert MARK.encode() not in memory.on_disk()
    memory.folders.release("rosa", "server")
    assert (memory.hold() / "demo" / "a.ipynb").read_text() == MARK


def test_a_new_folder_begins_with_what_the_operator_laid_out(memory: Stand) -> None:
    skeleton = memory.home.root / "skeleton" / "demo"
    skeleton.mkdir(parents=True)
    (skeleton / "first.ipynb").write_text("{}")
    place = memory.hold()
    assert (place / "demo" / "first.ipynb").read_text() == "{}"
    (place / "demo" / "first.ipynb").unlink()
    memory.folders.keep("rosa")
    memory.folders.release("rosa", "server")
    assert not (memory.hold() / "demo" / "first.ipynb").exists()


def test_memory_that_was_cleared_by_somebody_else_empties_nothing(memory: Stand) -> None:
    """As systemd-logind does at the end of a user's last session, or a second launcher would."""
    place = memory.hold()
    (place / "a.py").write_text(MARK)
    memory.folders.keep("rosa")
    (place / "a.py").unlink()
    memory.folders._keep_unasked("rosa", memory.folders._folders["rosa"])
    place.rmdir()
    with pytest.raises(UnavailableError):
        memory.folders.keep("rosa")
    memory.folders.close()
    memory.folders = memory.new_folders()
    assert (memory.hold() / "a.py").read_text() == MARK


def test_what_a_browser_deletes_is_gone_even_when_it_is_the_last(memory: Stand) -> None:
    place = memory.hold()
    (place / "a.py").write_text(MARK)
    memory.folders.keep("rosa")
    (place / "a.py").unlink()
    memory.folders.keep("rosa")
    memory.folders.release("rosa", "server")
    assert list(memory.hold().iterdir()) == []


def test_a_second_launcher_touches_nothing_of_the_first(memory: Stand) -> None:
    from enclave.sandbox.daemon import LauncherDaemon
    from enclave.sandbox.settings import LauncherSettings

    place = memory.hold()
    (place / "a.py").write_text(MARK)
    first = WireServer(memory.home.socket("launcherd"), {}, log=Log("launcher"), allowed_uids=None)
    first.start()
    with pytest.raises(UnavailableError):
        LauncherDaemon(memory.runtime, LauncherSettings(), resolve=lambda _: None, log=Log("second"))  # type: ignore[arg-type,return-value]  # asks nobody
    assert (place / "a.py").read_text() == MARK
    first.close()


def test_without_a_broker_no_folder_is_given_out(memory: Stand) -> None:
    memory.broker.close()
    with pytest.raises(EnclaveError):
        memory.hold()
