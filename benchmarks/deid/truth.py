"""What a benchmark cohort expects of its output: what must go, what must stay, per file and for all files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

Where = list[int]  # a tag, then for each level down: the number of the item and a tag


@dataclass(slots=True)
class FileTruth:
    """Expectations of one file. Each entry begins with where the element stands."""

    path: str
    patient: int
    pixels: str = ""  # SHA-256 of the pixel data, which tells files apart whatever they are called
    readable: bool = True
    retained: list[tuple[Where, str]] = field(default_factory=list)  # technical values that stay as they are
    words: list[tuple[Where, str]] = field(default_factory=list)  # clinical words that stay in a text
    removed: list[tuple[Where, str]] = field(default_factory=list)  # texts that must not be in the value
    filled: list[Where] = field(default_factory=list)  # may not be empty (type 1, or kept by meaning)
    dates: list[tuple[Where, str]] = field(default_factory=list)
    uids: list[tuple[Where, str]] = field(default_factory=list)
    burned: list[list[int]] = field(default_factory=list)  # boxes x0, y0, x1, y1 in which text is drawn


@dataclass(slots=True)
class Truth:
    """Expectations of a cohort. ``strings`` must stand in no output byte and in no name."""

    files: list[FileTruth] = field(default_factory=list)
    strings: list[str] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    planted: int = 0

    def save(self, path: Path) -> None:
        """Writes it beside the cohort, never into it."""
        path.write_text(json.dumps(asdict(self)), "utf-8")


def load_truth(path: Path) -> Truth:
    """What ``save`` wrote."""
    document = json.loads(path.read_text("utf-8"))
    return Truth(**{**document, "files": [FileTruth(**entry) for entry in document["files"]]})
