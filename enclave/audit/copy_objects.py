"""Checkpoints as objects in a store that fsspec reaches; the bucket's own lock (WORM) keeps them from their writer."""

from __future__ import annotations

import hashlib
import importlib.util

from enclave.audit.checkpoint import note_body, parse_checkpoint
from enclave.audit.copies import ObjectSettings
from enclave.core.errors import InvalidError, UnavailableError


class ObjectPlace:
    """One store. Every checkpoint is an object of its own, never one that is written twice."""

    kind, off_host = "objects", False  # a bucket gives no cosignature, so nobody can check that it is elsewhere

    def __init__(self, settings: ObjectSettings) -> None:
        """Raises ``InvalidError`` when fsspec is not installed: what was asked for is not left out in silence."""
        if importlib.util.find_spec("fsspec") is None:
            raise InvalidError(
                f"object store {settings.name}: wanted the package fsspec (and the store's own), got none; install the "
                "extra `dask`, which brings it"
            )
        self.name = settings.name
        self._url = settings.url.rstrip("/")

    def last(self) -> str:
        """Nothing: it is asked for nothing."""
        return ""

    def send(self, checkpoint: str) -> str:
        """Writes ``SIZE-HASH``, sizes as twelve digits so that names sort."""
        import fsspec  # type: ignore[import-untyped, import-not-found, unused-ignore]  # optional, no type information

        digest = hashlib.sha256(note_body(checkpoint).encode()).hexdigest()[:16]
        target = f"{self._url}/{parse_checkpoint(checkpoint).size:012d}-{digest}"
        try:
            filesystem, path = fsspec.core.url_to_fs(target)
            if not filesystem.exists(path):
                filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
                filesystem.pipe_file(path, checkpoint.encode())
        except Exception:  # noqa: BLE001 - every store has errors of its own, and their texts may hold secrets
            raise UnavailableError(
                "object store: wanted to write a checkpoint, got an error", code="objects_failed"
            ) from None
        return checkpoint
