"""Key files: one line ``enclave-<kind>-v1 <base64>``, readable by their owner only, never overwritten.

A file says what it is for: an Ed25519 key is refused where an AES key is wanted, a public half where a private
one is. The private half has the suffix ``.key`` and mode 0600, the public one ``.pub`` beside it and 0644.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from enclave.core.errors import ConflictError, DeniedError, IntegrityError, NotFoundError
from enclave.core.secret import Secret
from enclave.runtime.durable import sync_folder

Kind = Literal["aes256", "ed25519", "ed25519-public", "x25519", "x25519-public"]
KEY_BYTES = 32  # every kind above
_LINE = re.compile(rb"enclave-([a-z0-9-]+)-v1 ([A-Za-z0-9+/]+={0,2})\n?")
_MAX_BYTES = 256


def new_symmetric(path: Path) -> None:
    """Makes an AES-256 key; raises ``ConflictError`` when the file exists."""
    _write_new(path, "aes256", secrets.token_bytes(KEY_BYTES), mode=0o600)


def new_ed25519(path: Path) -> bytes:
    """Makes a signing key and its public half ``.pub``; returns the public half (32 bytes)."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    _write_pair(path, "ed25519", private.private_bytes_raw(), public)
    return public


def new_x25519(path: Path) -> bytes:
    """Makes a key that unwraps and its public half ``.pub`` that wraps; returns the public half (32 bytes)."""
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    _write_pair(path, "x25519", private.private_bytes_raw(), public)
    return public


def read_symmetric(path: Path) -> Secret:
    """The AES-256 key in ``path``; errors as ``read_secret``."""
    return read_secret(path, kind="aes256")


def read_secret(path: Path, *, kind: Kind) -> Secret:
    """The secret half in ``path`` (32 bytes).

    Raises ``NotFoundError``, ``DeniedError`` when others than its owner may read it, ``IntegrityError`` when it
    is not a key file of this kind.
    """
    return Secret(_read(path, kind, private=True))


def read_pin(path: Path) -> Secret:
    """The PIN of a token: the one line of a file that its owner alone may read, without its end.

    Raises ``NotFoundError`` and ``DeniedError`` as ``read_secret``, ``IntegrityError`` when it is not one line of text.
    """
    line = _content(path, private=True).removesuffix(b"\n")
    if not line or len(line) >= _MAX_BYTES or not line.isascii() or not line.decode("ascii").isprintable():
        raise IntegrityError(
            f"PIN file {path.name}: wanted one line of plain text, got something else", code="pin_file"
        )
    return Secret(line)


def read_public_half(path: Path, *, kind: Kind) -> bytes:
    """The public half in ``path`` (32 bytes); anybody may read it."""
    return _read(path, kind, private=False)


def write_public_half(path: Path, public: bytes, *, kind: Kind) -> None:
    """Writes ``public`` (32 bytes) into a new ``.pub`` file; raises ``ConflictError`` when it exists."""
    _write_new(path, kind, public, mode=0o644)


def _write_pair(path: Path, kind: Kind, private: bytes, public: bytes) -> None:
    beside = path.with_suffix(".pub")
    public_kind: Kind = "ed25519-public" if kind == "ed25519" else "x25519-public"
    _write_new(path, kind, private, mode=0o600)
    try:
        _write_new(beside, public_kind, public, mode=0o644)
    except BaseException:
        path.unlink()  # a private half without its public one could be used by nobody
        raise


def _write_new(path: Path, kind: Kind, value: bytes, *, mode: int) -> None:
    line = b"enclave-" + kind.encode() + b"-v1 " + base64.b64encode(value) + b"\n"
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask took away
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename, a link never replaces
    except FileExistsError:
        raise ConflictError(
            f"key file {path.name}: wanted a new file, got one that exists; a key is never overwritten",
            code="key_exists",
        ) from None
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _content(path: Path, *, private: bool) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"key file {path.name}: wanted it in {path.parent}, got none", code="key_missing") from None
    except OSError:
        raise DeniedError(
            f"key file {path.name}: wanted a file that this process may read, got none; keys belong to one process",
            code="key_unreadable",
        ) from None
    with os.fdopen(fd, "rb") as file:
        if private:
            _check_private(file.fileno(), path)
        return file.read(_MAX_BYTES)


def _read(path: Path, kind: Kind, *, private: bool) -> bytes:
    found = _LINE.fullmatch(_content(path, private=private))
    value = _decode(found.group(2)) if found else b""
    if found is None or found.group(1).decode() != kind or len(value) != KEY_BYTES:
        raise IntegrityError(
            f"key file {path.name}: wanted one line 'enclave-{kind}-v1 BASE64', got something else",
            code="key_malformed",
        )
    return value


def _check_private(fd: int, path: Path) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in (os.getuid(), 0):
        raise DeniedError(
            f"key file {path.name}: wanted mode 0600 and ourselves as owner, "
            f"got {stat.S_IMODE(found.st_mode):04o}; chmod 600 it, and think about who read it",
            code="key_exposed",
        )


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
