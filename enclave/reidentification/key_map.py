"""The key back to patients: one encrypted file per dataset (and project, where its pseudonyms are its own).

Merged into, never overwritten.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import ConflictError, InvalidError, NotFoundError
from enclave.core.ids import check_name
from enclave.keys.box import Box
from enclave.runtime.durable import write_whole
from enclave.runtime.home import ensure_private_dir
from enclave.wire.messages.schema import Json

_FIELDS = {"pseudonym", "original_ids", "offset_days"}
_SUFFIX = ".map"
_OF_PROJECT = "@"  # in no name


@dataclass(frozen=True, slots=True)
class Entry:
    """One patient: the pseudonym, all original ids seen for it, and by how many days its dates were moved."""

    pseudonym: str
    original_ids: tuple[str, ...]
    offset_days: int


def parse_entry(row: Json) -> Entry:
    """A row as intaked sends it; raises ``InvalidError`` naming the field, never its value."""
    if not isinstance(row, dict) or set(row) != _FIELDS:
        raise InvalidError("vault row: wanted pseudonym, original_ids and offset_days, got other fields")
    pseudonym, originals, days = row["pseudonym"], row["original_ids"], row["offset_days"]
    if not isinstance(pseudonym, str) or not pseudonym or type(days) is not int:
        raise InvalidError("vault row: wanted a pseudonym and whole days, got other types")
    if not isinstance(originals, list) or not originals or not all(isinstance(one, str) for one in originals):
        raise InvalidError("vault row: wanted at least one original id as text, got something else")
    return Entry(pseudonym, tuple(originals), days)


class KeyMap:
    """All datasets' maps below one folder. Thread-safe; what was stored is durable and complete."""

    def __init__(self, folder: Path, *, box: Box) -> None:
        self._folder = ensure_private_dir(folder)
        self._box = box
        self._guard = threading.Lock()

    def merge(self, dataset: str, rows: tuple[Entry, ...], *, project: str = "") -> int:
        """Adds ``rows``; returns how many subjects the dataset (of the project) has then.

        Raises ``ConflictError`` when a pseudonym came with another offset before, or two ids meet in one pseudonym
        by mistake of the caller; then nothing is changed. Storing the same rows again changes nothing.
        """
        with self._guard:
            name = check_name(dataset, what="dataset")
            if project:
                name += _OF_PROJECT + check_name(project, what="project")
            known = self._read(name)
            for row in rows:
                known[row.pseudonym] = _merged(known.get(row.pseudonym), row)
            _check_injective(known)
            self._write(name, known)
            return len(known)

    def entries(self, dataset: str, pseudonyms: tuple[str, ...]) -> tuple[Entry, ...]:
        """Who is behind ``pseudonyms``: for break-glass only. Raises ``NotFoundError`` when one is not of it."""
        with self._guard:
            known = dict(self._read(check_name(dataset, what="dataset")))
            for path in self._folder.glob(f"{dataset}{_OF_PROJECT}*{_SUFFIX}"):
                known.update(self._read(path.name.removesuffix(_SUFFIX)))
        missing = sum(1 for pseudonym in pseudonyms if pseudonym not in known)
        if missing:
            raise NotFoundError(
                f"vault: wanted pseudonyms of this dataset, got {missing} that are not", code="unknown_subject"
            )
        return tuple(known[pseudonym] for pseudonym in pseudonyms)

    def counts(self) -> dict[str, int]:
        """Subjects per dataset."""
        with self._guard:
            names = sorted(path.stem for path in self._folder.glob(f"*{_SUFFIX}"))
            return {name: len(self._read(name)) for name in names}

    def _read(self, dataset: str) -> dict[str, Entry]:
        try:
            sealed = (self._folder / f"{dataset}{_SUFFIX}").read_bytes()
        except FileNotFoundError:
            return {}
        rows = parse_json(self._box.open(sealed, context=_context(dataset)))
        return {entry.pseudonym: entry for entry in map(parse_entry, rows)}

    def _write(self, dataset: str, known: dict[str, Entry]) -> None:
        rows = [
            {"pseudonym": e.pseudonym, "original_ids": list(e.original_ids), "offset_days": e.offset_days}
            for e in known.values()
        ]
        sealed = self._box.seal(canonical_bytes(rows), context=_context(dataset))
        write_whole(self._folder / f"{dataset}{_SUFFIX}", sealed)


def _merged(before: Entry | None, row: Entry) -> Entry:
    if before is None:
        return row
    if before.offset_days != row.offset_days:
        raise ConflictError(
            "vault: wanted the offset that a pseudonym had before, got another; the pseudonym key was changed",
            code="offset_changed",
        )
    return Entry(row.pseudonym, tuple(dict.fromkeys((*before.original_ids, *row.original_ids))), row.offset_days)


def _check_injective(known: dict[str, Entry]) -> None:
    seen: dict[str, str] = {}
    for entry in known.values():
        for original in entry.original_ids:
            if seen.setdefault(original, entry.pseudonym) != entry.pseudonym:
                raise ConflictError(
                    "vault: wanted one pseudonym per original id, got two; the pseudonym key was changed",
                    code="pseudonym_changed",
                )


def _context(dataset: str) -> bytes:
    return b"re-identification map of " + dataset.encode()
