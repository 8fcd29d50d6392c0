"""Break-glass requests on disk: one encrypted file each, replaced whole, bound to its id."""

from __future__ import annotations

from pathlib import Path

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import NotFoundError
from enclave.core.ids import check_token_id
from enclave.keys.box import Box
from enclave.reidentification.states import Request
from enclave.runtime.durable import write_whole
from enclave.runtime.home import ensure_private_dir
from enclave.wire.messages.schema import from_json, to_json

_SUFFIX = ".request"


class RequestStore:
    """All requests below one folder. Not thread-safe: the desk holds its lock around each act."""

    def __init__(self, folder: Path, *, box: Box) -> None:
        self._folder = ensure_private_dir(folder)
        self._box = box

    def get(self, request_id: str) -> Request:
        """One request; raises ``NotFoundError``, ``IntegrityError`` for a file that was changed or swapped."""
        path = self._path(check_token_id(request_id, what="break-glass request"))
        try:
            sealed = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError("break-glass: wanted a known request, got an id that the vault does not have") from None
        return from_json(Request, parse_json(self._box.open(sealed, context=_context(request_id))))

    def all(self) -> tuple[Request, ...]:
        """All requests, newest first."""
        found = [self.get(path.stem) for path in self._folder.glob(f"*{_SUFFIX}")]
        return tuple(sorted(found, key=lambda request: (request.requested, request.id), reverse=True))

    def put(self, request: Request) -> None:
        """Keeps ``request``; durable when this returns."""
        path = self._path(request.id)
        sealed = self._box.seal(canonical_bytes(to_json(request)), context=_context(request.id))
        write_whole(path, sealed)

    def _path(self, request_id: str) -> Path:
        return self._folder / f"{request_id}{_SUFFIX}"


def _context(request_id: str) -> bytes:
    return b"break-glass request " + request_id.encode()
