"""Where a log keeps checkpoints beside the newest one: its history, what it contradicted, what witnesses cosigned."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HISTORY = "history.jsonl"  # below log/, as what follows
COSIGNED = "cosigned"  # the newest checkpoint that each witness cosigned
CONTRADICTED = "checkpoint.contradicted-"


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A note as it was found, its signature unseen."""

    where: str
    offset: int
    text: str


def older_checkpoints(folder: Path) -> Iterator[KeptCheckpoint]:
    """Those of the history, oldest first; a line that a crash tore is none."""
    path = folder / "log" / HISTORY
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return
    offset = 0
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            yield KeptCheckpoint(path.relative_to(folder).as_posix(), offset, str(json.loads(line)["checkpoint"]))
        offset += len(line)


def checkpoints_aside(folder: Path) -> Iterator[KeptCheckpoint]:
    """Those that the log contradicted, and the newest of each witness."""
    log = folder / "log"
    for path in [*sorted(log.glob(f"{CONTRADICTED}*")), *sorted((log / COSIGNED).glob("*.checkpoint"))]:
        yield KeptCheckpoint(path.relative_to(folder).as_posix(), 0, path.read_text("utf-8", "replace"))
