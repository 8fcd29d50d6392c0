"""Remembers what is done, so that a killed job goes on where it was: nothing lost, nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from enclave.core.canonical import digest_hex
from enclave.core.errors import ConflictError
from enclave.deid.recipe import Recipe
from enclave.deid.table import table_edition
from enclave.deid.worker import Outcome

NAME = ".journal.jsonl"


def job_digest(recipe: Recipe, *, key_check: str) -> str:
    """What must be the same for a job to go on: recipe, key, table edition."""
    return digest_hex({"recipe": repr(recipe), "key": key_check, "table": table_edition()})


class Journal:
    """One line per finished file; a torn last line is left out."""

    def __init__(self, folder: Path, *, digest: str, resume: bool) -> None:
        self._path = folder / NAME
        self._done: dict[tuple[int, str], Outcome] = {}
        if resume and self._path.exists():
            self._load(digest)
        self._file = self._path.open("a", encoding="utf-8")
        if self._path.stat().st_size == 0:
            self._line({"job": digest})

    def done(self, index: int, sha256: str) -> Outcome | None:
        """The outcome of a file that was finished before, None when it was not."""
        return self._done.get((index, sha256))

    def outputs(self) -> frozenset[str]:
        """The paths that finished files have."""
        return frozenset(outcome.path for outcome in self._done.values() if outcome.path)

    def add(self, outcome: Outcome) -> None:
        """Remembers a finished file."""
        self._line(outcome.to_json())

    def close(self) -> None:
        """Ends writing; the journal stays, so that a finished job can be asked again."""
        self._file.close()

    def _line(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value, sort_keys=True) + "\n")
        self._file.flush()

    def _load(self, digest: str) -> None:
        lines = self._path.read_text("utf-8").split("\n")
        whole = lines[:-1]
        if not whole or json.loads(whole[0]).get("job") != digest:
            raise ConflictError("deid --resume: wanted the same recipe and key as before, got others; use a new folder")
        for line in whole[1:]:
            fields = json.loads(line)
            fields["redactions"] = [tuple(pair) for pair in fields["redactions"]]
            outcome = Outcome(**fields)
            self._done[outcome.index, outcome.input_sha256] = outcome
        if lines[-1]:
            self._path.write_text("\n".join(whole) + "\n", "utf-8")
