"""What a detector looks at: planes of numbers made from the frames of an instance.

Colours become brightness and two differences, so that text of one brightness and another hue is seen. Palettes are
looked at by their colours and by their indices. Bits beside the stored ones are a plane of their own. Of several frames
it is the brightest, the darkest and the deviation of each pixel, and one frame from the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from enclave.deid.frames import Frames
from enclave.deid.pixel_form import Array, PixelForm
from enclave.deid.reasons import Quarantined
from enclave.deid.tree import Node, numbers, texts

_SAMPLES = 1 << 20  # pixels by which the range of a plane is judged
_MAX_CINE_PIXELS = 1 << 25  # of one frame among several
_WINDOW_SHARE = 0.5  # a window of this share of the range shows nothing else than the range does
_PALETTE = (0x00281201, 0x00281202, 0x00281203)
_PALETTE_FORM = (0x00281101, 0x00281102, 0x00281103)
_CENTER, _WIDTH, _SLOPE, _INTERCEPT = 0x00281050, 0x00281051, 0x00281053, 0x00281052
Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """One layer; ``windows`` ends with the whole range."""

    frame: Array
    channel: int
    reading: Reading
    windows: tuple[Window, ...]
    height: int
    width: int

    def part(self, x0: int, y0: int, x1: int, y1: int) -> Array:
        """The values in these columns and rows, float32."""
        cut = self.reading.cut(self.frame, x0, y0, x1, y1)
        return self.reading.plane(cut, self.channel)[:, x0 - self.reading.left_of(x0) :][:, : x1 - x0]


@dataclass(frozen=True, slots=True)
class Reading:
    """How stored samples become planes. ``palette`` has a row of three colours for each index, from ``first`` on."""

    form: PixelForm
    window: Window | None
    palette: Array | None = None
    first: int = 0

    def cut(self, frame: Array, x0: int, y0: int, x1: int, y1: int) -> Array:
        """These rows and columns of a frame; of shared colours whole pairs."""
        if self.form.subsampled:
            return frame[y0:y1, x0 // 2 : -(-x1 // 2)]
        return frame[y0:y1, x0:x1]

    def left_of(self, x0: int) -> int:
        """The column at which ``cut`` begins."""
        return x0 // 2 * 2 if self.form.subsampled else x0

    def plane(self, part: Array, channel: int) -> Array:
        """One of ``channels``; of grey values without the others, which take several times their memory."""
        form = self.form
        if form.samples == 3 or form.subsampled or form.floating or self.palette is not None:
            return self.channels(part)[channel]
        return _stored_values(part[..., 0], form).astype(np.float32) if not channel else _beside(part[..., 0], form)

    def channels(self, part: Array) -> list[Array]:
        """The planes of a part of a frame, float32."""
        form = self.form
        if form.subsampled:
            pairs = part.astype(np.float32)
            bright = pairs[..., :2].reshape(len(pairs), -1)
            return [bright, np.repeat(pairs[..., 2], 2, axis=1), np.repeat(pairs[..., 3], 2, axis=1)]
        if form.samples == 3:
            return _colour(part, ready=form.photometric.startswith("YBR"))
        if form.floating:
            return [np.nan_to_num(part[..., 0].astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)]
        values, beside = _stored_values(part[..., 0], form), _beside(part[..., 0], form)
        if self.palette is not None:
            index = np.clip(values.astype(np.int64) - self.first, 0, len(self.palette) - 1)
            return [*_colour(self.palette[index], ready=False), values.astype(np.float32), beside]
        return [values.astype(np.float32), beside]


def read_reading(tree: Node, form: PixelForm) -> Reading:
    """How the samples of this instance are to be read; raises ``Quarantined`` for a palette that cannot be followed."""
    if form.photometric != "PALETTE COLOR":
        return Reading(form, _window(tree))
    try:
        size, first, bits = (int(number) for number in numbers(_three(tree, _PALETTE_FORM[0]), little=tree.little))
        entries = size or 1 << 16
        tables = [_table(tree, tag, entries=entries, bits=bits) for tag in _PALETTE]
    except (KeyError, ValueError, TypeError):
        raise Quarantined("pixels_irregular") from None
    return Reading(form, None, np.stack(tables, axis=-1), first)


def planes_of(frames: Frames, tree: Node) -> Iterator[Plane]:
    """All planes of an instance that are not of one value."""
    reading = read_reading(tree, frames.form)
    if frames.form.frames == 1:
        for frame in frames:
            yield from _planes(frame, reading)
        return
    if frames.form.rows * frames.form.columns > _MAX_CINE_PIXELS:
        raise Quarantined("pixels_too_large")
    yield from _over_time(frames, reading)


def _planes(frame: Array, reading: Reading) -> Iterator[Plane]:
    height, width = reading.form.rows, reading.form.columns
    step = max(1, int((height * width / _SAMPLES) ** 0.5))
    sample = frame[::step, ::step]
    for channel, values in enumerate(reading.channels(sample)):
        whole = _range(values, frame, reading, channel, step=step)
        if whole[0] < whole[1]:
            windows: tuple[Window, ...] = (whole,)
            if channel == 0 and reading.window is not None:
                low, high = reading.window
                if 0 < high - low < _WINDOW_SHARE * (whole[1] - whole[0]):
                    windows = (reading.window, whole)
            yield Plane(frame, channel, reading, windows, height, width)


def _range(values: Array, frame: Array, reading: Reading, channel: int, *, step: int) -> Window:
    """Nearly all values; all of them where that is one value only."""
    low, high = (float(edge) for edge in np.percentile(values, (0.1, 99.9)))
    if low < high:
        return low, high
    if step == 1:
        return float(values.min()), float(values.max())
    edges = [
        (float(part.min()), float(part.max()))
        for start in range(0, len(frame), 512)
        for part in [reading.plane(frame[start : start + 512], channel)]
    ]
    return min(edge[0] for edge in edges), max(edge[1] for edge in edges)


def _over_time(frames: Frames, reading: Reading) -> Iterator[Plane]:
    middle = frames.form.frames // 2
    tops: list[Array] = []
    bottoms: list[Array] = []
    total = square = np.zeros(1)
    for number, frame in enumerate(frames):
        channels = reading.channels(frame)
        if number == middle:
            yield from _planes(frame, reading)
        if not number:
            tops, bottoms = [one.copy() for one in channels], [one.copy() for one in channels]
            total, square = channels[0].astype(np.float64), channels[0].astype(np.float64) ** 2
            continue
        for at, one in enumerate(channels):
            np.maximum(tops[at], one, out=tops[at])
            np.minimum(bottoms[at], one, out=bottoms[at])
        total += channels[0]
        square += channels[0].astype(np.float64) ** 2
    count = frames.form.frames
    spread = np.sqrt(np.maximum(square / count - (total / count) ** 2, 0))
    for one in (*tops, *bottoms, spread.astype(np.float32)):
        yield from _planes(one[..., None], _plain(one))


def _plain(values: Array) -> Reading:
    """A reading of numbers that are what they are."""
    height, width = values.shape
    form = PixelForm(
        rows=height,
        columns=width,
        frames=1,
        samples=1,
        bits=32,
        stored=32,
        high=31,
        signed=True,
        floating=True,
        photometric="MONOCHROME2",
        by_plane=False,
        little=True,
    )
    return Reading(form, None)


def _stored_values(raw: Array, form: PixelForm) -> Array:
    """The stored values."""
    if form.bits == 1:
        return raw
    values: Array = raw.astype(np.int64 if form.bits > 16 else np.int32)
    values >>= form.high + 1 - form.stored
    values &= _mask(form.stored)
    if form.signed:
        values -= (values >> (form.stored - 1)) << form.stored
    return values


def _mask(bits: int) -> int:
    """So many ones, as 64 bits with a sign hold them."""
    return (1 << bits) - 1 if bits < 64 else -1


def _beside(raw: Array, form: PixelForm) -> Array:
    """What stands in the bits beside the stored ones that no sign explains, float32."""
    if form.bits == 1:
        return np.zeros((1, 1), np.float32)
    bits = _stored_values(raw, form)
    bits <<= form.high + 1 - form.stored
    bits &= _mask(form.bits)
    bits ^= raw.astype(bits.dtype)
    return bits.astype(np.float32)


def _colour(part: Array, *, ready: bool) -> list[Array]:
    one, two, three = (part[..., at].astype(np.float32) for at in range(3))
    if ready:
        return [one, two, three]
    return [(one + two + three) / 3, one - three, two - (one + three) / 2]


def _window(tree: Node) -> Window | None:
    """The first window of the header in stored values."""
    try:
        center, width = (_first(tree, tag) for tag in (_CENTER, _WIDTH))
        slope, intercept = (_first(tree, tag) for tag in (_SLOPE, _INTERCEPT))
    except ValueError:
        return None
    slope = 1.0 if slope is None else slope
    if center is None or width is None or width <= 0 or not slope:
        return None
    edges = sorted(((edge - (intercept or 0.0)) / slope) for edge in (center - width / 2, center + width / 2))
    return (edges[0], edges[1]) if all(np.isfinite(edges)) else None


def _first(tree: Node, tag: int) -> float | None:
    found = texts(tree[tag], node=tree) if tag in tree else []
    return float(found[0]) if found else None


def _three(tree: Node, tag: int) -> Any:
    vr, value = tree[tag]
    return ("US" if vr in ("US", "SS") else vr, value)


def _table(tree: Node, tag: int, *, entries: int, bits: int) -> Array:
    data = tree[tag][1]
    if not isinstance(data, bytes):
        raise TypeError(tag)
    wide = len(data) >= 2 * entries
    dtype = np.dtype("u1") if not wide else np.dtype("<u2" if tree.little else ">u2")
    found = np.frombuffer(data, dtype)[:entries].astype(np.float32)
    if len(found) < entries or bits not in (8, 16):
        raise ValueError(tag)
    return found / 257 if wide and bits == 16 else found
