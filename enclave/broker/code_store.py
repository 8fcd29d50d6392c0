"""What people wrote: each person's notebooks and modules, sealed under a key of that person.

A person's folder holds ``key`` (wrapped for the broker), ``index`` (names, sizes, digests) and ``objects/``: one stream
per content, named at random. All names stand in the index, which is a stream itself. New objects are durable before the
index that names them takes the place of the last one; what no index names is taken away afterwards. So a crash at any
moment leaves the last state that was kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from enclave.core.canonical import canonical_bytes, parse_canonical
from enclave.core.errors import EnclaveError, IntegrityError, InvalidError
from enclave.core.secret import Secret
from enclave.keys.wrap import Wrapper
from enclave.runtime.durable import sync_folder, write_whole
from enclave.runtime.home import ensure_private_dir
from enclave.sealed import bundle, stream
from enclave.sealed.bundle import ABSENT, Bundle, BundledFile
from enclave.sealed.reader import Unwrapper

_CONTEXT: Final = b"enclave code\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """One state of a person's folder; ``objects`` maps SHA-256 to the object that holds it."""

    generation: int
    folders: tuple[str, ...] = ()
    files: tuple[BundledFile, ...] = ()
    objects: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A state whose objects are durable; ``CodeStore.commit`` makes it the one that is kept."""

    person: str
    state: _Kept

    @property
    def facts(self) -> dict[str, int]:
        """What an event says of it."""
        return _facts(self.state)


class CodeStore:
    """All people's, below one folder. The caller lets one thread at a time work for a person."""

    def __init__(self, root: Path, *, wrapper: Callable[[], Wrapper], unwrapper: Unwrapper) -> None:
        self._root = root
        self._wrapper = wrapper
        self._unwrapper = unwrapper

    def known(self, person: str) -> bool:
        """Whether anything was ever kept for ``person``."""
        return self._folder(person).exists()

    def open(self, person: str) -> tuple[int, dict[str, int]]:
        """All files as a bundle in sealed memory, the caller's descriptor, and what an event says of them.

        Raises ``IntegrityError`` when anything of it is missing or is not what was kept; then nothing is opened.
        """
        with _damage():
            key, kept = self._current(person)
            found = [(one, self._object(person, kept.objects[one.sha256], one, key)) for one in kept.files]
        return bundle.make_bundle(kept.folders, found), _facts(kept)

    def prepare(self, person: str, fd: int) -> Prepared:
        """Seals what is new in the bundle ``fd``.

        Raises ``InvalidError`` (code ``code_unknown_content``) when it leaves a content out that is not here.
        """
        wanted = bundle.read_bundle(fd)
        if not self.known(person):
            self._begin(person)
        with _damage():
            key, before = self._current(person)
        objects = {one.sha256: before.objects.get(one.sha256, "") for one in wanted.files}
        for one in wanted.files:
            if objects[one.sha256]:
                continue
            if one.at == ABSENT:
                raise InvalidError("code folder: wanted every new content, got only names", code="code_unknown_content")
            objects[one.sha256] = self._seal(person, bundle.content(fd, wanted, one), key)
        sync_folder(self._folder(person) / "objects")
        files = tuple(BundledFile(**{**asdict(one), "at": ABSENT}) for one in wanted.files)
        state = _Kept(generation=before.generation + 1, folders=wanted.folders, files=files, objects=objects)
        return Prepared(person=person, state=state)

    def commit(self, prepared: Prepared) -> None:
        """Makes it the kept state, durable when this returns; takes away what it does not name."""
        folder = self._folder(prepared.person)
        self._write_index(folder, prepared, self._key(prepared.person))
        named = set(prepared.state.objects.values())
        for path in (folder / "objects").iterdir():
            if path.name not in named:
                path.unlink(missing_ok=True)

    # ── inside ──────────────────────────────────────────────────────────────

    def _write_index(self, folder: Path, prepared: Prepared, key: Secret) -> None:
        person, state = prepared.person, prepared.state
        rows = [[one.path, one.size_bytes, one.mtime_ns, one.sha256] for one in state.files]
        value = {
            "generation": state.generation,
            "folders": list(state.folders),
            "files": rows,
            "objects": state.objects,
        }
        sealed = BytesIO()
        stream.write(sealed, canonical_bytes(value), key=key, associated_data=_about(person, "index"))
        write_whole(folder / "index", sealed.getvalue())

    def _folder(self, person: str) -> Path:
        return self._root / hashlib.sha256(person.encode()).hexdigest()[:32]

    def _begin(self, person: str) -> None:
        """Makes an empty folder under a new key; it is there as a whole or not at all."""
        final = self._folder(person)
        part = ensure_private_dir(self._root) / f".{final.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        ensure_private_dir(part / "objects")
        key = Secret(secrets.token_bytes(stream.KEY_BYTES))
        write_whole(part / "key", self._wrapper().wrap(key, context=_about(person, "key")))
        self._write_index(part, Prepared(person=person, state=_Kept(generation=0, objects={})), key)
        part.rename(final)
        sync_folder(self._root)

    def _current(self, person: str) -> tuple[Secret, _Kept]:
        key = self._key(person)
        return key, self._state(person, key)

    def _key(self, person: str) -> Secret:
        return self._unwrapper.unwrap((self._folder(person) / "key").read_bytes(), context=_about(person, "key"))

    def _state(self, person: str, key: Secret) -> _Kept:
        with (self._folder(person) / "index").open("rb") as file:
            data = stream.open_reader(file, key=key, associated_data=_about(person, "index")).read()
        value: dict[str, Any] = parse_canonical(data)
        files = tuple(
            BundledFile(path=path, size_bytes=size, mtime_ns=mtime, sha256=digest)
            for path, size, mtime, digest in value["files"]
        )
        return _Kept(
            generation=value["generation"], folders=tuple(value["folders"]), files=files, objects=value["objects"]
        )

    def _seal(self, person: str, data: bytes, key: Secret) -> str:
        name = secrets.token_hex(16)
        path = self._folder(person) / "objects" / name
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            stream.write(file, data, key=key, associated_data=_about(person, name))
            file.flush()
            os.fsync(file.fileno())
        return name

    def _object(self, person: str, name: str, one: BundledFile, key: Secret) -> bytes:
        path = self._folder(person) / "objects" / name
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            data = stream.open_reader(file, key=key, associated_data=_about(person, name)).read()
        if len(data) != one.size_bytes or hashlib.sha256(data).hexdigest() != one.sha256:
            raise ValueError("another content")
        return data


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Whatever is wrong with what lies on the disk is damage."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, EnclaveError):
        raise IntegrityError(
            "code folder: wanted the files that were kept, got damaged or foreign ones; nothing was opened, "
            "tell the operator, who has a backup",
            code="code_damaged",
        ) from None


def _facts(state: _Kept) -> dict[str, int]:
    return {
        "generation": state.generation,
        "files": len(state.files),
        "size_bytes": Bundle(folders=(), files=state.files).size_bytes,
    }


def _about(person: str, what: str) -> bytes:
    return _CONTEXT + person.encode() + b"\0" + what.encode("ascii")
