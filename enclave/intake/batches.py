"""The register of intake batches: one small file each, replaced whole, so that a restart knows where each one stood."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from enclave.core.errors import NotFoundError
from enclave.core.ids import check_token_id
from enclave.runtime.durable import write_whole
from enclave.runtime.home import ensure_private_dir
from enclave.wire.messages.intake import Batch
from enclave.wire.messages.schema import from_json, to_json

FINISHED = frozenset({"sealed", "failed"})


class BatchRegister:
    """All batches, newest last. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = ensure_private_dir(folder)
        self._guard = threading.Lock()
        self._batches = {batch.id: batch for batch in self._load()}

    def get(self, batch_id: str) -> Batch:
        """One batch; raises ``NotFoundError``."""
        with self._guard:
            found = self._batches.get(check_token_id(batch_id, what="intake batch"))
        if found is None:
            raise NotFoundError("intake batch: wanted one that was handed in, got another id")
        return found

    def all(self) -> tuple[Batch, ...]:
        """All batches by the time they were received."""
        with self._guard:
            return tuple(sorted(self._batches.values(), key=lambda batch: (batch.received, batch.id)))

    def unfinished(self) -> tuple[Batch, ...]:
        """Those that are neither sealed nor failed."""
        return tuple(batch for batch in self.all() if batch.state not in FINISHED)

    def put(self, batch: Batch) -> Batch:
        """Keeps ``batch``, durable when this returns."""
        with self._guard:
            self._write(batch)
            self._batches[batch.id] = batch
        return batch

    def change(self, batch_id: str, **fields: Any) -> Batch:
        """Changes fields of one batch."""
        return self.put(replace(self.get(batch_id), **fields))

    def note_progress(self, batch_id: str, progress: float) -> None:
        """Remembers progress without writing it down: a restart begins anew anyway."""
        with self._guard:
            self._batches[batch_id] = replace(self._batches[batch_id], progress=round(progress, 3))

    def _load(self) -> list[Batch]:
        found = []
        for path in sorted(self._folder.glob("*.json")):
            found.append(from_json(Batch, json.loads(path.read_text("utf-8"))))  # noqa: PERF401 - reads better
        return found

    def _write(self, batch: Batch) -> None:
        write_whole(self._folder / f"{batch.id}.json", json.dumps(to_json(batch), sort_keys=True).encode())
