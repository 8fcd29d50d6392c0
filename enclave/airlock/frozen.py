"""The frozen copies: each under the SHA-256 of its bytes, encrypted, written once, never changed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from enclave.core.errors import IntegrityError, UnavailableError
from enclave.keys.box import Box
from enclave.runtime.durable import write_whole
from enclave.runtime.home import ensure_private_dir

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FrozenFiles:
    """Keeps bytes by their digest below one folder."""

    def __init__(self, root: Path, box: Box) -> None:
        self._root = ensure_private_dir(root)
        self._box = box

    def freeze(self, content: bytes) -> str:
        """Keeps ``content`` durably and returns its SHA-256 in hex; the same bytes are kept once."""
        digest = hashlib.sha256(content).hexdigest()
        target = self._path(digest)
        if not target.exists():
            try:
                write_whole(target, self._box.seal(content, context=_context(digest)))
            except OSError as error:
                raise UnavailableError(
                    f"frozen file: wanted room to keep it, got {error.strerror}; an operator must free some disk",
                    code="airlock_storage",
                ) from None
        return digest

    def read(self, digest: str) -> bytes:
        """The bytes of ``digest``; raises ``IntegrityError`` when they are not there or not what they were."""
        try:
            sealed = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise IntegrityError("frozen file: wanted its copy, got none", code="frozen_missing") from None
        content = self._box.open(sealed, context=_context(digest))
        if hashlib.sha256(content).hexdigest() != digest:
            raise IntegrityError("frozen file: wanted the bytes that were frozen, got others", code="frozen_altered")
        return content

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise IntegrityError("frozen file: wanted a SHA-256, got something else", code="frozen_missing")
        return self._root / digest


def _context(digest: str) -> bytes:
    return b"airlock frozen " + digest.encode("ascii")
