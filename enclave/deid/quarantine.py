"""The account of what was held back: one reason per file, no value, and the original only when that was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from enclave.deid.reasons import REASONS, Quarantined
from enclave.deid.source import open_source
from enclave.deid.worker import Outcome


def write_quarantine(folder: Path, *, held: list[Outcome], originals: Mapping[int, Path]) -> None:
    """Writes ``<index>.json`` for each outcome, and ``<index>.original`` for each regular file in ``originals``.

    What an earlier run left there and no longer holds goes.
    """
    wanted: set[str] = set()
    if held:
        folder.mkdir(exist_ok=True)
    for outcome in held:
        name = f"{outcome.index:06d}"
        verdict = {
            "reason": outcome.reason,
            "explanation": REASONS[outcome.reason],
            "input_sha256": outcome.input_sha256,
            "at": outcome.fault,
        }
        part = folder / ".part"
        part.write_text(json.dumps(verdict, sort_keys=True) + "\n", "utf-8")
        part.replace(folder / f"{name}.json")
        wanted.add(f"{name}.json")
        if outcome.index in originals and _copy(originals[outcome.index], folder / f"{name}.original"):
            wanted.add(f"{name}.original")
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name not in wanted:
            path.unlink()


def _copy(source: Path, target: Path) -> bool:
    part = target.with_name(".part")
    try:
        with open_source(source) as opened, part.open("wb") as file:
            for piece in opened.file_pieces():
                file.write(piece)
    except Quarantined:
        return False
    part.replace(target)
    return True
