"""Quick pictures of a series."""

from __future__ import annotations

from typing import Any

import numpy as np


def slice_figure(volume: np.ndarray[Any, Any], *, title: str = "", index: int | None = None) -> Any:
    """A matplotlib figure of one slice, grey values stretched over the 1st to 99th percentile.

    The slice is the middle one of the first axis unless ``index`` says otherwise; two dimensions are shown as they
    are, a last axis of 3 or 4 is colour.
    """
    from matplotlib import pyplot as plt  # through pyplot, so that the notebook knows how to draw a figure

    colour = volume.ndim >= 3 and volume.shape[-1] in (3, 4)
    picture = volume
    while picture.ndim > (3 if colour else 2):
        picture = picture[len(picture) // 2 if index is None else index]
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    plt.close(figure)  # drawn once, as the value of the cell
    if colour:
        axes.imshow(picture)
    else:
        low, high = np.percentile(picture, (1, 99))
        axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1))
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    return figure
