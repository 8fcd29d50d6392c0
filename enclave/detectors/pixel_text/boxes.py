"""Rectangles of pixels: grown, joined, compared. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """Columns ``x0`` to ``x1`` and rows ``y0`` to ``y1``, the ends not included."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Rows."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Pixels."""
        return max(0, self.width) * max(0, self.height)

    def grown(self, by: int) -> Box:
        """With ``by`` more pixels on each side."""
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    def moved(self, x: int, y: int) -> Box:
        """Shifted by ``x`` columns and ``y`` rows."""
        return Box(self.x0 + x, self.y0 + y, self.x1 + x, self.y1 + y)

    def scaled(self, factor: float) -> Box:
        """In an image ``factor`` times as large; rounded outwards."""
        return Box(
            int(self.x0 * factor // 1),
            int(self.y0 * factor // 1),
            -int(-self.x1 * factor // 1),
            -int(-self.y1 * factor // 1),
        )

    def within(self, *, width: int, height: int) -> Box:
        """What of it lies in an image of this size; its area may be 0."""
        return Box(max(0, self.x0), max(0, self.y0), min(width, self.x1), min(height, self.y1))

    def common(self, other: Box) -> int:
        """Pixels that both have."""
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return wide * high if wide > 0 and high > 0 else 0

    def hull(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))


def joined(boxes: Iterable[Box]) -> list[Box]:
    """The same area in fewer boxes: two become one where their hull is hardly larger than they are. Sorted."""
    left = sorted(set(boxes))
    changed = True
    while changed:
        changed = False
        kept: list[Box] = []
        for box in left:
            for at, other in enumerate(kept):
                hull = box.hull(other)
                if hull.area * 10 <= (box.area + other.area - box.common(other)) * 11:
                    kept[at] = hull
                    changed = True
                    break
            else:
                kept.append(box)
        left = sorted(set(kept))
    return left


def share_covered(box: Box, others: Sequence[Box]) -> float:
    """The largest share of ``box`` that one of ``others`` has."""
    return max((box.common(other) / box.area for other in others), default=0.0) if box.area else 0.0
