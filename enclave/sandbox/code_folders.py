"""People's code folders: in memory while somebody uses them, sealed by the broker as soon as something changes.

The launcher holds no key: it hands files to the broker, which seals them, and gets them back. A folder is filled when
the first server or kernel of a person needs it and goes when the last one has ended and all is sealed. The gate has it
sealed before it tells a browser that something was saved; what a server writes unasked is sealed within seconds.
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from enclave.core.errors import EnclaveError, InvalidError, UnavailableError
from enclave.runtime.log import Log
from enclave.sandbox.code_tree import Seen, Tree, fill, make_folder, read_tree, write_file
from enclave.sandbox.places import person_folder
from enclave.sandbox.runtime_mounts import Runtime
from enclave.sandbox.sandboxed import HostUser
from enclave.sealed.bundle import make_bundle
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import CodeReply, KeepCode, OpenCode

LOOK_S: Final = 5.0
BROKER_S: Final = 20.0
_UNSEALED: Final = "not sealed yet"  # holds a folder that could not be sealed when its last user ended


@dataclass(slots=True)
class _Folder:
    """One person's. ``place`` None: not in memory now."""

    place: Path | None = None
    holders: set[str] = field(default_factory=set)
    seen: dict[str, Seen] = field(default_factory=dict)
    kept: Any = None
    guard: threading.RLock = field(default_factory=threading.RLock)


class CodeFolders:
    """All of this launcher's. ``size_mb`` bounds each of them."""

    def __init__(self, runtime: Runtime, *, broker: Path, size_mb: int, log: Log) -> None:
        self._runtime = runtime
        self._broker = broker
        self._size_mb = size_mb
        self._log = log
        self._folders: dict[str, _Folder] = {}
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="code-folders", daemon=True)
        self._thread.start()

    def hold(self, person: str, holder: str, *, owner: HostUser) -> Path:
        """The folder as children reach it, there until ``holder`` lets go.

        Raises ``UnavailableError`` without the broker and ``IntegrityError`` when what was kept is damaged.
        """
        folder = self._of(person)
        with folder.guard:
            if folder.place is None:
                folder.place = self._filled(folder, person, owner)
            folder.holders.add(holder)
            return folder.place

    def keep(self, person: str) -> None:
        """Returns when what is in the folder now is sealed and durable."""
        folder = self._of(person)
        with folder.guard:
            if folder.place is not None:
                self._seal(folder, person, folder.place)

    def release(self, person: str, holder: str) -> None:
        """Nobody writes or reads there for ``holder`` any more; the last one's end takes the memory away."""
        folder = self._of(person)
        with folder.guard:
            if holder not in folder.holders:
                return
            folder.holders.discard(holder)
            if folder.holders or folder.place is None:
                return
            try:
                self._keep_unasked(person, folder)
            except EnclaveError as error:
                self._log.warning("code folder not sealed", code=error.code)
                folder.holders.add(_UNSEALED)
                return
            self._forget(folder, person)

    def close(self) -> None:
        """Seals what changed, as far as the broker answers, and gives the memory back."""
        self._stop.set()
        self._thread.join(BROKER_S)
        for person, folder in self._all():
            with folder.guard:
                if folder.place is None:
                    continue
                try:
                    self._keep_unasked(person, folder)
                except EnclaveError as error:
                    self._log.warning("code folder not sealed, its last changes are lost", code=error.code)
                self._forget(folder, person)
        self._runtime.forget_all_code()

    # ── inside ──────────────────────────────────────────────────────────────

    def _of(self, person: str) -> _Folder:
        with self._guard:
            return self._folders.setdefault(person, _Folder())

    def _all(self) -> list[tuple[str, _Folder]]:
        with self._guard:
            return list(self._folders.items())

    def _look(self) -> None:
        """Seals what was written without a gate's asking, and what could not be sealed before."""
        while not self._stop.wait(LOOK_S):
            for person, folder in self._all():
                try:
                    self._keep_unasked(person, folder)
                except EnclaveError as error:
                    self._log.warning("code folder not sealed", code=error.code)
                except Exception as error:  # noqa: BLE001 - one folder must not keep the others from being sealed
                    self._log.error("code folder not sealed", error)
                else:
                    if _UNSEALED in folder.holders:
                        self.release(person, _UNSEALED)

    def _keep_unasked(self, person: str, folder: _Folder) -> None:
        """As ``keep``, but not when everything is gone: nobody does that by hand, and memory may have been cleared."""
        with folder.guard:
            if folder.place is None:
                return
            tree = self._tree(folder.place, before=folder.seen)
            if not tree.files and folder.kept is not None and folder.kept[1]:
                self._log.warning("code folder is empty, what was kept stays")
                return
            self._seal(folder, person, folder.place)

    def _filled(self, folder: _Folder, person: str, owner: HostUser) -> Path:
        reply, found = self._ask(OpenCode(person=person))
        try:
            place = self._runtime.code_memory(person_folder(person), uid=owner.effective, size_mb=self._size_mb)
            try:
                if found:
                    fill(place, found[0], owner)
                    tree = self._tree(place, before={})
                    folder.seen, folder.kept = tree.seen, tree.summary
                else:
                    self._first(folder, person, place, owner)
                if reply.generation or found:
                    self._remove_plain(person)
            except BaseException:
                self._forget(folder, person)
                raise
        finally:
            for fd in found:
                os.close(fd)
        return place

    def _first(self, folder: _Folder, person: str, place: Path, owner: HostUser) -> None:
        """What an earlier release left in clear, else what the operator laid into ``HOME/skeleton``."""
        plain = self._plain(person)
        source = plain if plain.is_dir() and not plain.is_symlink() else self._runtime.home.root / "skeleton"
        if source.is_dir():
            tree = read_tree(source, before={}, limit_bytes=self._size_mb << 20)
            for name in sorted(tree.folders):
                make_folder(place / name, owner)
            for one in tree.files:
                write_file(place / one.path, tree.contents[one.sha256], owner)
        folder.seen, folder.kept = {}, Tree().summary
        self._seal(folder, person, place)
        self._remove_plain(person)

    def _seal(self, folder: _Folder, person: str, place: Path) -> None:
        tree = self._tree(place, before=folder.seen)
        if tree.summary != folder.kept:
            try:
                self._send(person, tree)
            except InvalidError as error:
                if error.code != "code_unknown_content":
                    raise
                tree = self._tree(place, before={})
                self._send(person, tree)
        folder.seen, folder.kept = tree.seen, tree.summary

    def _tree(self, place: Path, *, before: dict[str, Seen]) -> Tree:
        try:
            return read_tree(place, before=before, limit_bytes=self._size_mb << 20)
        except OSError:
            raise UnavailableError("code folder: wanted to read it, got an error of the system; try again") from None

    def _send(self, person: str, tree: Tree) -> None:
        fd = make_bundle(tree.folders, [(one, tree.contents.get(one.sha256)) for one in tree.files])
        try:
            self._ask(KeepCode(person=person), fd)
        finally:
            os.close(fd)

    def _ask(self, message: Any, *descriptors: int) -> tuple[CodeReply, list[int]]:
        client = WireClient(self._broker, timeout_s=BROKER_S)
        try:
            return client.call_with_descriptors(message, descriptors=descriptors, max_descriptors=1)
        finally:
            client.close()

    def _forget(self, folder: _Folder, person: str) -> None:
        self._runtime.forget_code(person_folder(person))
        folder.place, folder.kept = None, None
        folder.seen, folder.holders = {}, set()

    def _plain(self, person: str) -> Path:
        return self._runtime.home.root / "people" / person_folder(person) / "code"

    def _remove_plain(self, person: str) -> None:
        """An earlier release kept the folder in clear; it was sealed by now."""
        shutil.rmtree(self._plain(person).parent, ignore_errors=True)
