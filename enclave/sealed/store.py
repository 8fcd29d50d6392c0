"""Where sealed versions lie, and what of them may be known without a key.

    ROOT/keys.json                       wrapped version keys: destroying an entry destroys the version
    ROOT/DATASET/VERSION/version.json    content root and counts, in clear
    ROOT/DATASET/VERSION/manifest        encrypted (headers are data)
    ROOT/DATASET/VERSION/objects/000000  encrypted, in the order of the manifest
    ROOT/.staging/…                      versions being written; nothing there is ever read

A version is there when its folder has its final name: everything in it was synced before.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enclave.core.canonical import canonical_bytes, parse_canonical, parse_json
from enclave.core.errors import EnclaveError, IntegrityError, InvalidError, NotFoundError
from enclave.core.ids import VersionName, check_name
from enclave.runtime.durable import write_whole
from enclave.sealed.manifest import Manifest

DIR_MODE = 0o750  # ciphertext only; in production the broker reads it through its group
FILE_MODE = 0o640
_INFO_KEYS = {"format", "dataset", "version", "content_root", "objects", "bytes", "sealed_at"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """What a version says in clear. ``bytes`` counts plaintext; true only as far as the manifest confirms it."""

    dataset: str
    version: int
    content_root: str
    objects: int
    bytes: int
    sealed_at: str


def info_of(manifest: Manifest) -> VersionInfo:
    """What ``version.json`` must say beside this manifest."""
    return VersionInfo(
        dataset=manifest.name.dataset,
        version=manifest.name.version,
        content_root=manifest.content_root,
        objects=len(manifest.entries),
        bytes=manifest.size_bytes,
        sealed_at=manifest.sealed_at,
    )


class SealedStore:
    """Paths and small files of one sealed store; knows no key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def version_dir(self, name: VersionName) -> Path:
        """The folder of one version, whether it exists or not."""
        return self.root / check_name(name.dataset, what="dataset") / str(name.version)

    def manifest_file(self, name: VersionName) -> Path:
        """The encrypted manifest."""
        return self.version_dir(name) / "manifest"

    def object_file(self, name: VersionName, index: int) -> Path:
        """The encrypted object at ``index`` of the manifest."""
        return self.version_dir(name) / "objects" / f"{index:06d}"

    def versions(self, dataset: str | None = None) -> list[VersionInfo]:
        """All versions, by dataset and number; one that cannot be read raises ``IntegrityError``."""
        if dataset is not None:
            check_name(dataset, what="dataset")
        names = [
            VersionName(folder.parent.name, int(folder.name))
            for folder in (self.root.glob(f"{dataset or '*'}/*"))
            if folder.name.isdecimal() and not folder.parent.name.startswith(".")
        ]
        return [self.info(name) for name in sorted(names)]

    def info(self, name: VersionName) -> VersionInfo:
        """The clear facts of one version; raises ``NotFoundError`` or ``IntegrityError``."""
        try:
            data = (self.version_dir(name) / "version.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"dataset version {name}: wanted it in the sealed store, got none") from None
        try:
            return _parse_info(data, name)
        except (EnclaveError, TypeError, KeyError):
            raise IntegrityError(f"dataset version {name}: wanted its version.json, got something else") from None

    def wrapped_key(self, name: VersionName) -> bytes:
        """The wrapped version key; raises ``NotFoundError`` when there is none (any more)."""
        text = self._read_keys().get(str(name))
        if text is None:
            raise NotFoundError(
                f"dataset version {name}: wanted its key, got none; it was shredded or never finished",
                code="version_key_missing",
            )
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise IntegrityError(f"dataset version {name}: wanted base64 in keys.json, got something else") from None

    def put_wrapped_key(self, name: VersionName, wrapped: bytes) -> None:
        """Adds the key of a version that is about to appear; durable when it returns. Never replaces one."""
        with self.locked(".keys"):
            keys = self._read_keys()
            if str(name) in keys:
                raise IntegrityError(f"dataset version {name}: wanted a new version, got a key that exists already")
            keys[str(name)] = base64.b64encode(wrapped).decode("ascii")
            write_whole(self.root / "keys.json", canonical_bytes({"format": 1, "keys": keys}), mode=FILE_MODE)

    def next_version(self, dataset: str) -> int:
        """One more than any number ever used: a number whose version was lost or shredded never comes back."""
        folder = self.root / check_name(dataset, what="dataset")
        used = [int(item.name) for item in folder.glob("*") if item.name.isdecimal()]
        used += [name.version for name in map(VersionName.parse, self._read_keys()) if name.dataset == dataset]
        return max(used, default=0) + 1

    @contextlib.contextmanager
    def staging(self, dataset: str) -> Iterator[Path]:
        """An empty folder for a version being written, gone afterwards; the caller holds the dataset's lock."""
        base = self.root / ".staging"
        base.mkdir(mode=DIR_MODE, parents=True, exist_ok=True)
        for left in base.glob(f"{dataset}@*"):  # of a writer that was killed: we hold its lock
            shutil.rmtree(left, ignore_errors=True)
        folder = base / f"{dataset}@{secrets.token_hex(8)}"
        folder.mkdir(mode=DIR_MODE)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Holds the lock file of ``what`` against every other process; ends with the process too."""
        self.root.mkdir(mode=DIR_MODE, parents=True, exist_ok=True)
        fd = os.open(self.root / f".lock-{what.lstrip('.')}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _read_keys(self) -> dict[str, Any]:
        try:
            value = parse_json((self.root / "keys.json").read_bytes())
        except FileNotFoundError:
            return {}
        except InvalidError:
            value = None
        if not isinstance(value, dict) or value.get("format") != 1 or not isinstance(value.get("keys"), dict):
            raise IntegrityError("sealed store: wanted wrapped keys in keys.json, got something else; restore it")
        return dict(value["keys"])


def version_context(name: VersionName) -> bytes:
    """What a version key is wrapped for."""
    return canonical_bytes({"purpose": "version key", "dataset": name.dataset, "version": name.version})


def object_context(name: VersionName, object_name: str) -> bytes:
    """The associated data of one object: no stream can stand in for another."""
    return canonical_bytes({"dataset": name.dataset, "version": name.version, "object": object_name})


def manifest_context(name: VersionName) -> bytes:
    """The associated data of the manifest; object names hold a slash, so it is none of theirs."""
    return object_context(name, "manifest")


def write_synced(path: Path, data: bytes) -> None:
    """A new file, on disk when this returns."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _parse_info(data: bytes, name: VersionName) -> VersionInfo:
    value = parse_canonical(data)
    if set(value) != _INFO_KEYS or value.pop("format") != 1:
        raise InvalidError("version.json: wanted format 1, got another")
    info = VersionInfo(**value)
    if (info.dataset, info.version) != (name.dataset, name.version):
        raise InvalidError("version.json: wanted the version of its folder, got another")
    return info
