"""Gives finished files their names. One process does this, in one order, so that each file counts once."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from enclave.deid.source import sha256_of
from enclave.deid.worker import Outcome

STAGING = ".work"


class Committer:
    """Takes outcomes in any order.

    Files that share a SOP instance UID wait for each other and are named in the order of the input, so that the
    same one of them stays whoever finished first, whatever patient, study and series the others say they are of.
    ``keys`` gives the UID of each file still to come, ``named`` are the paths of those that left before.
    """

    def __init__(self, output: Path, *, staging: Path, keys: Mapping[int, str], named: Iterable[str] = ()) -> None:
        self._output = output
        self._named = {Path(path).name: path for path in named if path}
        self._staging = staging
        self._keys = keys
        self._missing: defaultdict[str, set[int]] = defaultdict(set)
        for index, key in keys.items():
            self._missing[key].add(index)
        self._waiting: defaultdict[str, list[Outcome]] = defaultdict(list)
        self._folders: set[Path] = set()

    def take(self, outcome: Outcome) -> Iterator[Outcome]:
        """The outcomes that are final with this one."""
        key = self._keys[outcome.index]
        self._missing[key].discard(outcome.index)
        self._waiting[key].append(outcome)
        if self._missing[key]:
            return
        for one in sorted(self._waiting.pop(key), key=lambda done: done.index):
            self._commit(one)
            yield one

    def _commit(self, outcome: Outcome) -> None:
        if not outcome.staged:
            return
        staged, final = self._staging / outcome.staged, self._output / outcome.path
        outcome.staged = ""
        other = outcome.path if final.exists() else self._named.get(final.name)
        if other is not None:
            same = sha256_of(self._output / other) == outcome.output_sha256
            outcome.reason = "duplicate_identical" if same else "duplicate_sop_uid"
            outcome.path = outcome.output_sha256 = ""
            staged.unlink()
            return
        if final.parent not in self._folders:
            final.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(final.parent)
        staged.rename(final)
        self._named[final.name] = outcome.path


def clear_staging(output: Path) -> None:
    """Removes what runs left that did not come to their end."""
    shutil.rmtree(output / STAGING, ignore_errors=True)
