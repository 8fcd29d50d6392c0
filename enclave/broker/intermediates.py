"""What kernels keep between their lives: one file per name and project, sealed, with where it came from and until when.

A file begins with its record (canonical JSON: length, then bytes); the rest is a stream under a key of its own, which
is wrapped for the broker. The record is the stream's associated data, so one that was changed opens nothing. File names
are digests: a name that somebody chose stands nowhere in clear.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.clock import parse_time
from enclave.core.errors import EnclaveError, IntegrityError, InvalidError, NotFoundError
from enclave.core.secret import Secret
from enclave.keys.wrap import Wrapper
from enclave.runtime.durable import sync_folder
from enclave.runtime.home import ensure_private_dir
from enclave.sealed import stream
from enclave.sealed.memory import Put, sealed_memory
from enclave.sealed.reader import Unwrapper

PIECE_BYTES: Final = 1 << 20
_LENGTH: Final = struct.Struct(">I")
_MAX_RECORD: Final = 1 << 20
_SUFFIX: Final = ".sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one intermediate; ``lineage`` names the dataset versions that it may come from."""

    id: str
    project: str
    creator: str
    kind: str
    header: str
    lineage: tuple[str, ...]
    expires: str
    size_bytes: int


def intermediate_id(project: str, name: str) -> str:
    """How a name is called in files and events: 32 hex digits."""
    return hashlib.sha256(f"{project}\0{name}".encode()).hexdigest()[:32]


class Intermediates:
    """All of them below one folder."""

    def __init__(self, root: Path, *, wrapper: Callable[[], Wrapper], unwrapper: Unwrapper) -> None:
        self._root = root
        self._wrapper = wrapper
        self._unwrapper = unwrapper

    def keep(self, record: Record, fd: int) -> None:
        """Seals what ``fd`` holds under ``record``, in place of what had that id; durable when it returns."""
        folder = ensure_private_dir(ensure_private_dir(self._root) / record.project)
        key = Secret(secrets.token_bytes(stream.KEY_BYTES))
        wrapped = self._wrapper().wrap(key, context=_context(record.id))
        head = canonical_bytes({"record": {**asdict(record), "lineage": list(record.lineage)}, "key": wrapped.hex()})
        part = folder / f".{record.id}.{secrets.token_hex(4)}.part"
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(_LENGTH.pack(len(head)) + head)
                stream.write(file, _pieces(fd, record.size_bytes), key=key, associated_data=head)
                file.flush()
                os.fsync(file.fileno())
            part.replace(folder / f"{record.id}{_SUFFIX}")
            sync_folder(folder)
        finally:
            part.unlink(missing_ok=True)

    def record(self, project: str, wanted: str) -> Record:
        """What is known of one; raises ``NotFoundError``, or ``IntegrityError`` for a damaged file."""
        with self._opened(project, wanted) as file:
            return _head(file)[0]

    def to_memory(self, project: str, wanted: str) -> int:
        """Its bytes in sealed memory; the descriptor is the caller's. Raises as ``record``."""
        with self._opened(project, wanted) as file:
            record, wrapped, head = _head(file)
            key = self._unwrapper.unwrap(wrapped, context=_context(record.id))

            def fill(put: Put) -> None:
                with stream.open_reader(file, key=key, associated_data=head) as plain:
                    while piece := plain.read(PIECE_BYTES):
                        put(memoryview(piece))

            return sealed_memory(record.size_bytes, fill=fill)

    def records(self, project: str) -> Iterator[Record]:
        """All of a project that can be read."""
        for path in sorted((self._root / project).glob(f"*{_SUFFIX}")):
            try:
                yield self.record(project, path.name.removesuffix(_SUFFIX))
            except EnclaveError:
                continue

    def forget_expired(self, project: str, *, at: datetime) -> int:
        """Removes what is over, its wrapped key with it; says how many there were."""
        gone = [one.id for one in self.records(project) if parse_time(one.expires) <= at]
        for wanted in gone:
            (self._root / project / f"{wanted}{_SUFFIX}").unlink(missing_ok=True)
        return len(gone)

    def _opened(self, project: str, wanted: str) -> BinaryIO:
        path = self._root / project / f"{wanted}{_SUFFIX}"
        try:
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except OSError:
            raise NotFoundError(
                "intermediate: wanted one that was kept in this project, got another name; it may have expired",
                code="intermediate_unknown",
            ) from None


def _head(file: BinaryIO) -> tuple[Record, bytes, bytes]:
    try:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        head = file.read(min(length, _MAX_RECORD))
        value = parse_json(head)
        fields = value["record"]
        return Record(**{**fields, "lineage": tuple(fields["lineage"])}), bytes.fromhex(value["key"]), head
    except (struct.error, KeyError, TypeError, ValueError, InvalidError):
        raise IntegrityError(
            "intermediate: wanted the record that was written, got something else; make it again",
            code="intermediate_damaged",
        ) from None


def _pieces(fd: int, size: int) -> Iterator[bytes]:
    for at in range(0, size, PIECE_BYTES):
        yield os.pread(fd, min(PIECE_BYTES, size - at), at)


def _context(wanted: str) -> bytes:
    return b"enclave intermediate\0" + wanted.encode("ascii")
