"""Built package sets below ``HOME/envs``: what is there, that it is what was built, and which one a kernel gets."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from enclave.core.canonical import parse_json
from enclave.core.errors import DeniedError, IntegrityError, InvalidError, NotFoundError
from enclave.core.ids import check_name
from enclave.runtime.home import Home
from enclave.sandbox.package_set import SetName
from enclave.sandbox.runtime_mounts import Runtime
from enclave.sandbox.settings import LauncherSettings
from enclave.wire.messages.schema import from_json

ENVS: Final = "envs"
TREE: Final = "tree"
RECORD: Final = "set.json"
DEFAULT: Final = "default"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of a set and the SHA-256 (hex) of the wheel that it was installed from."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltSet:
    """What ``set.json`` says. ``tree`` is a digest of all installed files, ``lock`` that of the lock; ``python`` is
    the interpreter it was built for and the machine's architecture."""

    name: str
    version: int
    title: str
    python: str
    lock: str
    tree: str
    files: int
    bytes: int
    built: str
    packages: tuple[Package, ...]
    devices: tuple[str, ...] = ()

    @property
    def set_name(self) -> SetName:
        """``NAME@VERSION``."""
        return SetName(self.name, self.version)

    @property
    def id(self) -> str:
        """As records name it: ``NAME@VERSION:`` and the start of the tree's digest."""
        return f"{self.set_name}:{self.tree[:16]}"


@dataclass(frozen=True, slots=True)
class ChosenSet:
    """What a kernel stands on: ``env`` as the launcher's children reach it."""

    id: str
    env: Path
    devices: tuple[str, ...] = ()


def built_sets(home: Home) -> tuple[BuiltSet, ...]:
    """All that were built in this home, by name and version."""
    folder = home.root / ENVS
    places = sorted(folder.glob(f"*@*/{RECORD}")) if folder.is_dir() else []
    return tuple(sorted((_read(place) for place in places), key=lambda one: one.set_name))


def set_folder(home: Home, name: SetName) -> Path:
    """Where a built set lies."""
    return home.root / ENVS / str(name)


def tree_digest(tree: Path) -> tuple[str, int, int]:
    """SHA-256 (hex) over path, size and SHA-256 of every file below ``tree``, their number, their bytes.

    Raises ``IntegrityError`` when anything there is neither a plain file nor a folder.
    """
    total, files, size = hashlib.sha256(), 0, 0
    for path in _plain_files(tree):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
        length = path.stat().st_size
        total.update(f"{path.relative_to(tree).as_posix()}\0{length}\0{digest.hexdigest()}\n".encode())
        files, size = files + 1, size + length
    return total.hexdigest(), files, size


def verify(home: Home, found: BuiltSet) -> None:
    """Reads every file of a built set again; raises ``IntegrityError`` when it is not what was built."""
    digest, _, _ = tree_digest(set_folder(home, found.set_name) / TREE)
    if digest != found.tree:
        words = f"package set {found.set_name}: wanted the files that were built, got others; build a new version"
        raise IntegrityError(words, code="package_set_changed")


@dataclass(slots=True)
class PackageSets:
    """Which set a kernel gets; each built one is read through once per launcher before its first use."""

    runtime: Runtime
    settings: LauncherSettings
    _good: dict[SetName, ChosenSet] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def choose(self, project: str, *, wanted: str) -> ChosenSet:
        """``wanted`` (``NAME@V`` or ``NAME``), else what the settings say for the project, else the default.

        A name without a version is the newest that was built. A set with devices is only given to projects that the
        settings name it for. Raises ``NotFoundError``, ``DeniedError`` or ``IntegrityError``.
        """
        of_project = self.settings.environment_of.get(project, self.settings.environment)
        asked = wanted or of_project
        found = find(built_sets(self.runtime.home), asked)
        if found is None:
            if asked == DEFAULT or asked == self._own():
                return ChosenSet(self.runtime.environment_id, self.runtime.kernel_env)
            raise NotFoundError(f"package set {asked}: wanted one that is built, got none; see `enclave env list`")
        if found.devices and of_project not in (found.name, str(found.set_name)):
            words = (
                f"package set {found.set_name}: wanted a project that it is set up for, got another; ask an operator"
            )
            raise DeniedError(words, code="package_set_not_allowed")
        with self._guard:
            return self._checked(found)

    def _checked(self, found: BuiltSet) -> ChosenSet:
        name = found.set_name
        if name not in self._good:
            if found.python != interpreter(self.runtime):
                words = f"package set {name}: wanted one for this interpreter, got one for {found.python}"
                raise InvalidError(f"{words}; build a new version", code="package_set_interpreter")
            verify(self.runtime.home, found)
            tree = set_folder(self.runtime.home, name) / TREE
            self._good[name] = ChosenSet(found.id, self.runtime.package_set(tree, str(name)), found.devices)
        return self._good[name]

    def _own(self) -> str:
        """The name and version of the installation's own set, which set-up makes and no command builds."""
        return self.runtime.environment_id.partition(":")[0]


def interpreter(runtime: Runtime) -> str:
    """What a set is built for: compiled modules fit one version of Python on one architecture."""
    return f"{Path(runtime.inner_python).name}-{platform.machine()}"


def find(sets: tuple[BuiltSet, ...], asked: str) -> BuiltSet | None:
    """The set ``NAME@V``, or the newest of ``NAME``; None when there is none."""
    if "@" in asked:
        SetName.parse(asked)
        return next((one for one in sets if str(one.set_name) == asked), None)
    check_name(asked, what="package set")
    return max((one for one in sets if one.name == asked), key=lambda one: one.version, default=None)


def _plain_files(tree: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(path)
            elif not stat.S_ISDIR(mode):
                raise IntegrityError("package set: wanted plain files and folders, got something else among them")
    return sorted(found, key=lambda path: path.relative_to(tree).as_posix())


def _read(place: Path) -> BuiltSet:
    record: Mapping[str, Any] = parse_json(place.read_bytes())
    found = from_json(BuiltSet, dict(record))
    if str(found.set_name) != place.parent.name:
        raise IntegrityError("package set: wanted a folder with the name of its set, got another")
    return found
