"""What a record calls a cell that no browser runs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from enclave.reports.cells import cell_name, ids_in
from enclave.sandbox.tap.rules import CLIENT_CELL


def _cells(*ids: str, injected: int | None = None) -> list[nbformat.NotebookNode]:
    cells = [nbformat.v4.new_code_cell("1", id=one) for one in ids]
    if injected is not None:
        cells[injected].metadata["tags"] = ["injected-parameters"]
    return cells


def test_a_cell_is_called_by_the_id_in_its_file() -> None:
    assert cell_name(_cells("a", "b"), 1, stated_ids=frozenset({"a", "b"})) == "b"


@pytest.mark.parametrize("injected", [0, 1, None])
def test_without_one_it_is_called_by_its_number_in_the_file(injected: int | None) -> None:
    """Which the cell with the parameters is not in."""
    names = [cell_name(_cells(*"abc", injected=injected), at, stated_ids=frozenset()) for at in range(3)]
    wanted = ["cell-1", "cell-2"]
    if injected is None:
        wanted.append("cell-3")
    else:
        wanted.insert(injected, "injected-parameters")
    assert names == wanted
    assert all(CLIENT_CELL.fullmatch(name) for name in names)


@pytest.mark.parametrize("minor", [4, 5])
def test_ids_that_are_made_up_when_an_old_file_is_read_are_not_in_it(tmp_path: Path, minor: int) -> None:
    path = tmp_path / "old.ipynb"
    cell = {"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
    if minor == 5:
        cell["id"] = "mine"
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": minor}))
    assert ids_in(path) == (frozenset({"mine"}) if minor == 5 else frozenset())
