"""Finished pages on disk, each encrypted under the reports key and bound to its run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from enclave.core.errors import IntegrityError, NotFoundError
from enclave.core.ids import check_token_id
from enclave.keys.box import Box
from enclave.runtime.durable import write_whole


class PageStore:
    """One file per run below ``folder``; a file appears under its name only when it is complete."""

    def __init__(self, folder: Path, box: Box) -> None:
        self._folder = folder
        self._box = box

    def write(self, run_id: str, page: bytes) -> str:
        """Seals ``page`` and returns its SHA-256 in hex; durable when it returns."""
        write_whole(self._path(run_id), self._box.seal(page, context=_context(run_id)))
        return hashlib.sha256(page).hexdigest()

    def read(self, run_id: str, *, sha256: str) -> bytes:
        """The page; raises ``NotFoundError``, or ``IntegrityError`` when the bytes are not those of the run."""
        try:
            sealed = self._path(run_id).read_bytes()
        except FileNotFoundError:
            raise NotFoundError("report page: wanted the page of this run, got none") from None
        page = self._box.open(sealed, context=_context(run_id))
        if hashlib.sha256(page).hexdigest() != sha256:
            raise IntegrityError("report page: wanted the bytes of this run, got others", code="page_damaged")
        return page

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{check_token_id(run_id, what='report run')}.page"


def _context(run_id: str) -> bytes:
    return b"report page " + run_id.encode("ascii")
