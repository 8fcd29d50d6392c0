"""What a job is given: every entry below the inputs, in a fixed order; links are never followed, nothing is skipped."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from enclave.core.errors import InvalidError, NotFoundError
from enclave.deid.recipe import Recipe
from enclave.deid.table_files import SUFFIXES


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the input; ``index`` names it in reports, for its path may identify somebody."""

    index: int
    path: Path
    canary: bool = False

    @property
    def is_table(self) -> bool:
        """Whether its suffix says that it is a table."""
        return self.path.suffix.lower() in SUFFIXES


def list_inputs(inputs: list[Path]) -> list[Entry]:
    """All files below ``inputs``; raises ``NotFoundError`` when one of them does not exist."""
    paths: list[Path] = []
    for given in inputs:
        if not given.exists() and not given.is_symlink():
            raise NotFoundError(f"deid: wanted input number {inputs.index(given) + 1} to exist, got none there")
        if given.is_dir():
            paths.extend(_below(given))
        else:
            paths.append(given)
    if not paths:
        raise InvalidError("deid: wanted files in the input, got none")
    return [Entry(index, path) for index, path in enumerate(paths)]


def table_entries(entries: list[Entry], *, recipe: Recipe) -> tuple[list[Entry], list[Entry]]:
    """The tables that the recipe gives roles to, and those that it does not."""
    tables = [entry for entry in entries if entry.is_table and not entry.path.is_symlink()]
    known = [entry for entry in tables if entry.path.stem in recipe.tables]
    names = [entry.path.stem for entry in known]
    if len(set(names)) != len(names):
        raise InvalidError("deid: wanted each table once, got two files of one name")
    return known, [entry for entry in tables if entry.path.stem not in recipe.tables]


def _below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for root, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        linked = [name for name in folders if (Path(root) / name).is_symlink()]
        found.extend(Path(root) / name for name in (*sorted(files), *linked))
    return found
