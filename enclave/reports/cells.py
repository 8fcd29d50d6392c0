"""Clients that state which cell of the notebook they run, as JupyterLab does, so that its record names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode

PARAMETERS = "injected-parameters"  # papermill's tag of the cell that is in no file


class NamingClient(NotebookClient):  # type: ignore[misc]  # nbclient's traits are untyped
    """Each request's metadata say ``cellId``: the cell's id in ``stated_ids``, else its number in the file."""

    stated_ids: frozenset[str] = frozenset()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_cell_execute = self._state_cell

    def _state_cell(self, *, cell: NotebookNode, cell_index: int) -> None:
        del cell
        # What a session has as metadata stands in each of its messages.
        self.kc.session.metadata = {"cellId": cell_name(self.nb.cells, cell_index, stated_ids=self.stated_ids)}


def cell_name(cells: list[NotebookNode], index: int, *, stated_ids: frozenset[str]) -> str:
    """What a record calls the cell: an id that whoever runs it has just made up would tell nobody anything."""
    cell = cells[index]
    if cell.get("id") in stated_ids:
        return str(cell["id"])
    if _injected(cell):
        return PARAMETERS
    return f"cell-{index + 1 - sum(map(_injected, cells[:index]))}"


def ids_in(path: Path) -> frozenset[str]:
    """The ids of the cells in a notebook file; none for a notebook before version 4.5."""
    cells = json.loads(path.read_text("utf-8")).get("cells") or ()
    return frozenset(cell["id"] for cell in cells if isinstance(cell.get("id"), str))


def _injected(cell: NotebookNode) -> bool:
    return PARAMETERS in (cell.get("metadata", {}).get("tags") or ())
