"""The brain network of the extra ``deface-mr``: two ONNX files made at set-up, checked by hash before they are used."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from enclave.core.errors import UnavailableError
from enclave.deid.faces.volume import Array, Volume, largest_part

FOLDER = Path(sys.prefix) / "share" / "enclave" / "deface-mr"
_SHA256 = {
    "box": "e645b49b202439fb8d8a3b5fb031d714c5d60b6970e0a2c431ee0a48479620ff",
    "brain": "e105d6264c8b7f10838d9fb1457c1fac91cd83a69f5c88da0035919087a8b35d",
}
_THREADS = 2
_SMALL, _LARGE = 128, 256
_MARGIN = 0.1
_QUANTILES = (0.005, 0.995)
_MIN_FILLED = 0.02  # of a plane: less is no brain


def is_installed() -> bool:
    """Whether the extra is there; its files are checked when they are loaded."""
    return importlib.util.find_spec("onnxruntime") is not None and all(
        (FOLDER / f"{name}.onnx").is_file() for name in _SHA256
    )


def brain_masks(volume: Volume) -> tuple[Array, Array]:
    """The brain in an MR volume whose axes run along the patient's, by each of two networks; bool, empty for none.

    As deepbet does: one network on 128³ voxels of the whole volume finds where the brain is, the other on 256³ voxels
    of that part its outline. Raises ``UnavailableError`` when the extra is not installed or its files are not those
    that were tested.
    """
    image = np.nan_to_num(volume.values.astype(np.float32))[::-1, ::-1, :]  # the network knows right, front, top
    small = _nearest(image, (_SMALL,) * 3)
    low, high = np.quantile(small, _QUANTILES)
    rough, mask = np.zeros((2, *image.shape), dtype=bool)
    if not high > low:
        return rough, mask
    coarse = largest_part(_run("box", _normalised(small, low, high)) > 0.5)
    box = _box(coarse, image.shape)
    if box is None:
        return rough, mask
    part = image[box]
    found = _run("brain", _normalised(_nearest(part, (_LARGE,) * 3), low, high))
    mask[box] = ndimage.binary_fill_holes(largest_part(_nearest(found, part.shape) > 0.5))
    rough = ndimage.binary_fill_holes(_nearest(coarse, image.shape))
    return rough[::-1, ::-1].copy(), mask[::-1, ::-1].copy()


def clear() -> None:
    """Forgets loaded networks, for a process that goes on after the extra came or went."""
    _session.cache_clear()


def _run(name: str, image: Array) -> Array:
    probabilities: Array = _session(name).run(None, {"image": image[None, None]})[0]
    brain: Array = probabilities[0, 1]
    return brain


@functools.cache
def _session(name: str) -> Any:
    if not is_installed():
        raise UnavailableError("deface-mr: wanted the brain network, got none; run `make deface-mr`", code="no_network")
    data = (FOLDER / f"{name}.onnx").read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256[name]:
        raise UnavailableError("deface-mr: wanted the network that was tested, got another; run `make deface-mr` again")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(_THREADS, os.cpu_count() or 1)
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _nearest(image: Array, shape: tuple[int, ...]) -> Array:
    """The image with another number of voxels, each the value at its centre."""
    index = [((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(image.shape, shape, strict=True)]
    picked: Array = image[np.ix_(*index)]
    return picked


def _normalised(image: Array, low: float, high: float) -> Array:
    """Grey levels as the network was trained on: mean 0.449 and standard deviation 0.226 between two quantiles."""
    level = np.clip((image - low) / (high - low), 0, 1)
    spread = float(level.std(ddof=1)) or 1.0
    scaled: Array = (0.226 * (level - level.mean()) / spread + 0.449).astype(np.float32)
    return scaled


def _box(rough: Array, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Where the brain is in an image of ``shape``, with a tenth of its size around it; None when there is no brain."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(rough.mean(axis=others) > _MIN_FILLED)
        if not len(filled):
            return None
        scale = shape[axis] / rough.shape[axis]
        middle = scale * (filled[-1] + 1 + filled[0]) / 2
        size = scale * (filled[-1] + 1 - filled[0]) * (1 + 2 * _MARGIN)
        box.append(slice(max(0, int(middle - size / 2)), min(shape[axis], int(middle + size / 2) + 1)))
    return tuple(box)
