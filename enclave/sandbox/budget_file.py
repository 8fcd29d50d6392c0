"""What a kernel is told of its person's display budgets: a file in its run folder, which it can only read."""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import Final

from enclave.sandbox.display_budgets import DisplayBudgets
from enclave.sandbox.tap.amounts import amount_to_json

NAME: Final = "output-budget.json"
_MEASURES: Final = ("bytes", "images", "rows")


def tell_budget(folder: Path, budgets: DisplayBudgets, *, person: str, project: str) -> None:
    """Writes the limits of one cell, and what is left of this hour and day, as ``{window: {bytes, images, rows}}``.

    What its tap holds in advance counts as used. A file that cannot be written now is written at the next change.
    """
    cell = amount_to_json(budgets.policy(project).cell.amount)
    told = {"cell": cell, **budgets.left(person, project)}
    text = json.dumps({window: dict(zip(_MEASURES, amounts, strict=True)) for window, amounts in told.items()})
    part = folder / f".{NAME}.{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        part.write_text(text, "ascii")
        part.chmod(0o644)
        part.replace(folder / NAME)
