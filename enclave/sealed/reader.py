"""Opening sealed versions. Only the broker imports this: it is the one process that can unwrap.

Every byte handed on was authenticated by its stream, and the whole object is compared with the SHA-256 that the
content root covers, before anybody gets it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Self

from enclave.core.errors import EnclaveError, IntegrityError, NotFoundError
from enclave.core.ids import VersionName
from enclave.core.secret import Secret
from enclave.keys.unwrap import Unwrapper, open_unwrapper
from enclave.sealed import stream
from enclave.sealed.manifest import Manifest, ObjectEntry, parse_manifest
from enclave.sealed.memory import Put, sealed_memory
from enclave.sealed.store import SealedStore, info_of, manifest_context, object_context, version_context

__all__ = ["BadObject", "OpenVersion", "Unwrapper", "open_unwrapper", "open_version", "verify_version"]

_LARGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class BadObject:
    """One object that is not what was sealed; ``reason`` is a code. ``object`` may be ``manifest``."""

    object: str
    reason: str


class OpenVersion:
    """A version whose manifest was decrypted and matches its content root. Thread-safe."""

    def __init__(self, store: SealedStore, manifest: Manifest, key: Secret) -> None:
        self.manifest = manifest
        self.content_root = manifest.content_root
        self._store = store
        self._key = key
        self._index = {entry.name: (index, entry) for index, entry in enumerate(manifest.entries)}

    def entry(self, name: str) -> ObjectEntry:
        """What the manifest says of ``name``; raises ``NotFoundError``."""
        return self._find(name)[1]

    def to_memory(self, name: str) -> int:
        """The object in a sealed memfd, verified; the descriptor is the caller's. Errors as ``pieces``."""
        size = self.entry(name).size_bytes
        return sealed_memory(size, fill=lambda put: self.pieces(name, put))

    def pieces(self, name: str, put: Put) -> None:
        """Hands the object's plaintext to ``put`` piece by piece; what was put counts only if this returns.

        Raises ``NotFoundError`` when the manifest has no such object, ``IntegrityError`` when its bytes on disk
        are missing or are not those that were sealed.
        """
        index, entry = self._find(name)
        context = object_context(self.manifest.name, name)
        with self._opened(index) as fd, _Digest(entry.size_bytes) as digest:
            sink = functools.partial(digest.update_beside, put=put)
            size = stream.decrypt_file(fd, key=self._key, associated_data=context, sink=sink)
        if size != entry.size_bytes or digest.hexdigest() != entry.sha256:
            raise IntegrityError(
                f"object of {self.manifest.name}: wanted the plaintext of the manifest, got another; "
                "nothing was handed out, tell the operator",
                code="object_altered",
            )

    def _find(self, name: str) -> tuple[int, ObjectEntry]:
        found = self._index.get(name)
        if found is None:
            raise NotFoundError(
                f"dataset version {self.manifest.name}: wanted one of its {len(self._index)} objects, got another name",
                code="object_unknown",
            )
        return found

    @contextlib.contextmanager
    def _opened(self, index: int) -> Iterator[int]:
        path = self._store.object_file(self.manifest.name, index)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            raise IntegrityError(
                f"dataset version {self.manifest.name}: wanted all of its objects on disk, got one that is missing",
                code="object_missing",
            ) from None
        try:
            yield fd
        finally:
            os.close(fd)


class _Digest:
    """SHA-256 of an object. For a large one it runs beside the writing of each piece, which takes about as long."""

    def __init__(self, size_bytes: int) -> None:
        self._hash = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1) if size_bytes >= _LARGE_BYTES else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def update_beside(self, piece: memoryview, *, put: Put) -> None:
        if self._pool is None:
            self._hash.update(piece)
            put(piece)
            return
        hashing = self._pool.submit(self._hash.update, piece)
        try:
            put(piece)
        finally:
            hashing.result()  # the piece's buffer is used again after this

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def open_version(store: SealedStore, name: VersionName, *, unwrapper: Unwrapper) -> OpenVersion:
    """Unwraps the version's key and opens its manifest.

    Raises ``NotFoundError`` when there is no such version or its key was shredded, ``IntegrityError`` when the
    manifest is not the one whose root the version names.
    """
    info = store.info(name)
    key = unwrapper.unwrap(store.wrapped_key(name), context=version_context(name))
    try:
        sealed = store.manifest_file(name).read_bytes()
    except OSError:
        raise IntegrityError(
            f"dataset version {name}: wanted its manifest, got none", code="manifest_missing"
        ) from None
    with stream.open_reader(BytesIO(sealed), key=key, associated_data=manifest_context(name)) as reader:
        manifest = parse_manifest(reader.read())
    if manifest.name != name or info_of(manifest) != info:
        raise IntegrityError(
            f"dataset version {name}: wanted the manifest of its content root, got another one", code="root_mismatch"
        )
    return OpenVersion(store, manifest, key)


def verify_version(
    store: SealedStore, name: VersionName, *, unwrapper: Unwrapper, progress: Callable[[int], None] | None = None
) -> list[BadObject]:
    """Reads every byte of a version again; returns what is not as it was sealed (nothing: all is well).

    ``progress`` is told how many objects were done. Raises ``NotFoundError`` when there is no such version.
    """
    store.info(name)
    try:
        version = open_version(store, name, unwrapper=unwrapper)
    except IntegrityError as error:
        return [BadObject("manifest", error.code)]
    bad = []
    for done, entry in enumerate(version.manifest.entries, 1):
        try:
            version.pieces(entry.name, lambda _: None)
        except EnclaveError as error:
            bad.append(BadObject(entry.name, error.code))
        if progress is not None:
            progress(done)
    return bad
