"""How much of what was drawn is covered, how much else is, how fast: of the product and of another tool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pixels.images import STRONG, Drawn, Line, make_images
from enclave.deid.reasons import Quarantined

Array = np.ndarray[Any, Any]
Finder = Callable[[Array], Sequence[tuple[int, int, int, int]]]
_COVERED = 0.9  # of a line's ink
_MARGIN = 4  # pixels around a line that are not falsely changed: a box is no outline


@dataclass(slots=True)
class Figures:
    """Sums over images; ``false`` without and with the margin, in shares of the images."""

    images: int = 0
    lines: int = 0
    found: int = 0
    strong: int = 0
    strong_found: int = 0
    false: float = 0.0
    false_beyond_margin: float = 0.0
    quarantined: int = 0
    cpu_s: float = 0.0
    missed: list[tuple[str, int, int, float]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Rounded shares."""
        return {
            "images": self.images,
            "lines": self.lines,
            "recall_all": round(self.found / max(1, self.lines), 4),
            "recall_strong": round(self.strong_found / max(1, self.strong), 4),
            "lines_strong": self.strong,
            "false_area": round(self.false / self.images, 5),
            "false_area_beyond_4_pixels": round(self.false_beyond_margin / self.images, 5),
            "quarantined": round(self.quarantined / self.images, 4),
            "images_per_cpu_second": round(self.images / max(self.cpu_s, 1e-9), 2),
            "missed": self.missed,
        }


def measure(finder: Finder, *, count: int, size: int, seed: int, fonts: Sequence[Path | None]) -> Figures:
    """Runs ``finder`` over the images of a seed; lines of one that is held back count as found: they do not leave."""
    figures = Figures()
    finder(next(make_images(1, size=size, seed=seed + 1, fonts=fonts)).pixels)  # start-up
    clock: Callable[[], float] = getattr(finder, "cpu_s", time.process_time)
    for drawn in make_images(count, size=size, seed=seed, fonts=fonts):
        start = clock()
        try:
            boxes = finder(drawn.pixels)
            held = False
        except Quarantined:
            boxes, held = [], True
        figures.cpu_s += clock() - start
        _count(figures, drawn, boxes, held=held)
    return figures


def _count(figures: Figures, drawn: Drawn, boxes: Sequence[tuple[int, int, int, int]], *, held: bool) -> None:
    figures.images += 1
    figures.quarantined += held
    covered = np.zeros(drawn.pixels.shape, bool)
    for x0, y0, x1, y1 in boxes:
        covered[max(0, y0) : y1, max(0, x0) : x1] = True
    for line in drawn.lines:
        share = _share(line, covered)
        right = held or share >= _COVERED
        figures.lines += 1
        figures.found += right
        if line.contrast >= STRONG:
            figures.strong += 1
            figures.strong_found += right
        if not right:
            figures.missed.append((line.font, line.points, line.contrast, round(share, 2)))
    for margin in (0, _MARGIN):
        beside = covered.copy()
        for line in drawn.lines:
            x0, y0, x1, y1 = line.box
            beside[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = False
        if margin:
            figures.false_beyond_margin += float(beside.mean())
        else:
            figures.false += float(beside.mean())


def _share(line: Line, covered: Array) -> float:
    x0, y0, x1, y1 = line.box
    return float((covered[y0:y1, x0:x1] & line.ink).sum() / max(1, line.ink.sum()))
