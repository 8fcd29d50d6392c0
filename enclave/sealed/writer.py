"""Sealing: plain objects go in, one immutable version comes out, all of it or nothing.

Needs only the public half of the key-encryption key: whoever seals cannot open what was sealed.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import math
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from enclave.core.canonical import JsonValue, canonical_bytes
from enclave.core.clock import format_time
from enclave.core.errors import InvalidError, UnavailableError
from enclave.core.ids import VersionName, check_name
from enclave.core.secret import Secret
from enclave.keys.wrap import Wrapper
from enclave.runtime.durable import sync_folder
from enclave.sealed import stream
from enclave.sealed.manifest import Manifest, ObjectEntry, check_object_name
from enclave.sealed.store import (
    DIR_MODE,
    FILE_MODE,
    SealedStore,
    VersionInfo,
    info_of,
    manifest_context,
    object_context,
    version_context,
    write_synced,
)

ARROW_MAGIC = b"ARROW1"
_SPELLINGS = {  # bytes per element -> how a header may spell it: NumPy's names and type strings, little endian
    1: "bool int8 uint8 |b1 |i1 |u1",
    2: "int16 uint16 float16 <i2 <u2 <f2",
    4: "int32 uint32 float32 <i4 <u4 <f4",
    8: "int64 uint64 float64 <i8 <u8 <f8",
}
_DTYPES = {spelling: size for size, spellings in _SPELLINGS.items() for spelling in spellings.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainObject:
    """One object to seal.

    ``kind`` ``table``: the bytes of an Arrow IPC file, uncompressed. ``series``: an array's bytes in C order, with
    ``dtype`` and ``shape`` in ``header``. ``document``: text in UTF-8. ``review``: anything that only reviewers get to
    see. ``chunks`` as a function is called once and may be slow: nothing but one chunk is held in memory.
    """

    name: str
    kind: str
    header: JsonValue
    chunks: Callable[[], Iterable[bytes]] | bytes


@dataclass(frozen=True, slots=True)
class SealedVersion:
    """What was sealed: ``objects`` is their number, ``bytes`` their plaintext size together."""

    dataset: str
    version: int
    content_root: str
    objects: int
    bytes: int


def seal_version(
    store: SealedStore, *, dataset: str, objects: Iterable[PlainObject], wrapper: Wrapper, at: datetime
) -> SealedVersion:
    """Seals ``objects`` as the next version of ``dataset``; visible, complete and durable when this returns.

    Raises ``InvalidError`` for an object that is not what its kind promises, ``UnavailableError`` when the disk is
    full; in both cases, and when the process is killed, nothing of the version can be seen.
    """
    ordered = _check_objects(check_name(dataset, what="dataset"), objects)
    key = Secret(secrets.token_bytes(stream.KEY_BYTES))
    try:
        with store.locked(f"dataset-{dataset}"), store.staging(dataset) as folder:
            name = VersionName(dataset, store.next_version(dataset))
            manifest = Manifest(name, tuple(_seal_objects(folder, name, ordered, key)), format_time(at))
            info = _write_facts(folder, manifest, key)
            store.put_wrapped_key(name, wrapper.wrap(key, context=version_context(name)))
            final = store.version_dir(name)
            final.parent.mkdir(mode=DIR_MODE, exist_ok=True)
            folder.rename(final)
            sync_folder(final.parent)
            sync_folder(store.root)
    except OSError as error:
        raise _out_of_space(error) from None
    return SealedVersion(dataset, name.version, info.content_root, info.objects, info.bytes)


def _check_objects(dataset: str, objects: Iterable[PlainObject]) -> list[PlainObject]:
    ordered = sorted(objects, key=lambda item: item.name)
    if not ordered:
        raise InvalidError(f"dataset {dataset}: wanted at least one object to seal, got none")
    for item in ordered:
        check_object_name(item.name, kind=item.kind)
        canonical_bytes(item.header)
    if len({item.name for item in ordered}) != len(ordered):
        raise InvalidError(f"dataset {dataset}: wanted each object name once, got one twice")
    return ordered


def _seal_objects(folder: Path, name: VersionName, objects: list[PlainObject], key: Secret) -> Iterator[ObjectEntry]:
    inside = folder / "objects"
    inside.mkdir(mode=DIR_MODE)
    for index, item in enumerate(objects):
        tally = _Tally(item)
        fd = os.open(inside / f"{index:06d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(fd, "wb", buffering=0) as file:
            stream.write(file, tally.chunks(), key=key, associated_data=object_context(name, item.name))
            os.fsync(file.fileno())
        yield tally.entry()
    sync_folder(inside)


def _write_facts(folder: Path, manifest: Manifest, key: Secret) -> VersionInfo:
    with (folder / "manifest").open("xb", buffering=0) as file:
        os.fchmod(file.fileno(), FILE_MODE)
        stream.write(file, manifest.to_bytes(), key=key, associated_data=manifest_context(manifest.name))
        os.fsync(file.fileno())
    info = info_of(manifest)
    write_synced(folder / "version.json", canonical_bytes({"format": 1, **asdict(info)}))
    sync_folder(folder)
    return info


class _Tally:
    """Hashes, counts and checks one object's bytes while they go by."""

    def __init__(self, item: PlainObject) -> None:
        self._item = item
        self._hash = hashlib.sha256()
        self._size = 0
        self._head = b""
        self._text = codecs.getincrementaldecoder("utf-8")() if item.kind == "document" else None

    def chunks(self) -> Iterator[bytes]:
        source = self._item.chunks
        for chunk in (source,) if isinstance(source, bytes) else source():
            self._hash.update(chunk)
            if len(self._head) < len(ARROW_MAGIC):
                self._head += bytes(chunk[: len(ARROW_MAGIC)])
            self._size += len(chunk)
            self._check_text(chunk)
            yield chunk
        self._check_text(b"", final=True)
        self._check()

    def entry(self) -> ObjectEntry:
        item = self._item
        return ObjectEntry(
            name=item.name, kind=item.kind, size_bytes=self._size, sha256=self._hash.hexdigest(), header=item.header
        )

    def _check_text(self, chunk: bytes, *, final: bool = False) -> None:
        try:
            if self._text is not None:
                self._text.decode(chunk, final)
        except UnicodeDecodeError:
            raise InvalidError("document object: wanted text in UTF-8, got other bytes") from None

    def _check(self) -> None:
        if self._item.kind == "table" and not self._head.startswith(ARROW_MAGIC):
            raise InvalidError("table object: wanted the bytes of an Arrow IPC file, got others")
        if self._item.kind == "series" and self._size != array_size_bytes(self._item.header):
            raise InvalidError("series object: wanted as many bytes as dtype and shape say, got another number")


def array_size_bytes(header: JsonValue) -> int:
    """How many bytes an array of this header has; raises ``InvalidError`` for an unknown dtype or shape."""
    dtype = header.get("dtype") if isinstance(header, dict) else None
    shape = header.get("shape") if isinstance(header, dict) else None
    if dtype not in _DTYPES or not isinstance(shape, list | tuple):
        raise InvalidError("series header: wanted dtype (such as int16) and shape, got something else")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise InvalidError("series header: wanted whole numbers in shape, got something else")
    return math.prod(shape) * _DTYPES[dtype]


def _out_of_space(error: OSError) -> UnavailableError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UnavailableError(
            "sealed store: wanted room for the version, got a full disk; nothing was sealed, make room and try again",
            code="disk_full",
        )
    return UnavailableError(
        f"sealed store: wanted to write it, got {errno.errorcode.get(error.errno or 0, 'an error')}; nothing is sealed",
        code="store_unwritable",
    )
