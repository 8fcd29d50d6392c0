"""Pictures of eight bits for detectors: by a window of grey values, and with equal contrast in each neighbourhood.

The first shows what a viewer shows. The second shows faint text on a smooth ground and text in a part of the range
that no window reaches, whatever the range is.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np

Array = np.ndarray[Any, Any]
Window = tuple[float, float]  # the darkest and the brightest value shown
_NEIGHBOURHOOD = 15  # pixels: about a letter
_STEEPEST = 3.0  # deviations to each side of the local mean


class Layer(Protocol):
    """One plane of numbers that is looked at: a channel of a frame, or what many frames have in common."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """What a viewer shows; the whole range comes last."""

    def part(self, x0: int, y0: int, x1: int, y1: int) -> Array:
        """The values in these columns and rows, float32."""
        ...


def by_window(values: Array, *, window: Window) -> Array:
    """``values`` as uint8: dark at the lower end of the window, bright at the upper."""
    low, high = window
    span = high - low if high > low else 1.0
    shown: Array = np.clip((values - np.float32(low)) * np.float32(255.0 / span), 0, 255).astype(np.uint8)
    return shown


def by_neighbourhood(values: Array, *, quietest: float) -> Array:
    """``values`` as uint8 in deviations from the mean around each pixel; ``quietest`` is the least one that counts."""
    kernel = (_NEIGHBOURHOOD, _NEIGHBOURHOOD)
    values = values - np.float32(values.mean())  # squares of large offsets would swallow the variance
    mean = cv2.blur(values, kernel, borderType=cv2.BORDER_REFLECT)
    square = cv2.blur(values * values, kernel, borderType=cv2.BORDER_REFLECT)
    deviation = np.sqrt(np.maximum(square - mean * mean, 0)) + np.float32(quietest)
    shown: Array = np.clip((values - mean) / deviation * np.float32(127.5 / _STEEPEST) + 127.5, 0, 255).astype(np.uint8)
    return shown
