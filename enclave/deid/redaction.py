"""Blanks boxes in the frames of an instance: in every frame with one sample that stands in the image, the darkest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.uid import UID

from enclave.deid.frames import NATIVE_SYNTAX, Frames, native_form, packed
from enclave.deid.layers import Reading, read_reading
from enclave.deid.pixel_data import PixelElement
from enclave.deid.pixel_form import Array, PixelForm
from enclave.deid.tree import Node
from enclave.detectors.pixel_text.boxes import Box

_SAMPLES = 1 << 20  # pixels among which the darkest is looked for
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006


@dataclass(frozen=True, slots=True)
class Redaction:
    """The pixel data that are written in place of those of the input: native, the boxes blank in every frame."""

    frames: Frames
    reading: Reading
    boxes: tuple[Box, ...]
    form: PixelForm

    @property
    def element(self) -> PixelElement:
        """The element as it is written; its value comes from ``pieces``."""
        size = (self.form.frame_bits * self.form.frames + 7) // 8
        old = self.frames.element
        vr = "" if old.encapsulated else old.vr
        return replace(old, vr=vr, start=0, end=size, after=size, encapsulated=False)

    @property
    def syntax(self) -> UID:
        """That of the output: compressed pixel data become native ones."""
        return NATIVE_SYNTAX if self.frames.element.encapsulated else self.frames.syntax

    def change_header(self, tree: Node) -> None:
        """Makes a cleaned ``tree`` say how the samples stand in the output."""
        if not self.frames.element.encapsulated:
            return
        for tag in _OFFSET_TABLES:
            tree.pop(tag, None)
        if self.form.samples == 3:
            tree[_PHOTOMETRIC], tree[_PLANAR] = ("CS", self.form.photometric), ("US", b"\0\0")

    def pieces(self) -> Iterator[memoryview]:
        """The bytes of the value."""
        if self.form.bits == 1:
            bits = [packed(frame, form=self.form) for frame in self._blanked()]
            yield np.packbits(np.concatenate(bits), bitorder="little").data
            return
        for frame in self._blanked():
            yield packed(frame, form=self.form).data

    def _blanked(self) -> Iterator[Array]:
        blank: Array | None = None
        for frame in self.frames:
            blank = darkest(frame, self.reading) if blank is None else blank
            for box in self.boxes:
                region_of(frame, box, form=self.frames.form)[...] = blank
            yield frame


def redact(frames: Frames, tree: Node, boxes: Sequence[Box]) -> Redaction:
    """The pixel data of an instance with ``boxes`` blank."""
    form = native_form(frames.form) if frames.element.encapsulated else frames.form
    return Redaction(frames, read_reading(tree, frames.form), tuple(boxes), form)


def region_of(frame: Array, box: Box, *, form: PixelForm) -> Array:
    """The samples of a box; where pixels share colours, those of the pixels beside it, too."""
    if form.subsampled:
        return frame[box.y0 : box.y1, box.x0 // 2 : -(-box.x1 // 2)]
    return frame[box.y0 : box.y1, box.x0 : box.x1]


def darkest(frame: Array, reading: Reading) -> Array:
    """The sample of a pixel that a viewer shows darkest."""
    form = reading.form
    step = max(1, int((form.rows * form.columns / _SAMPLES) ** 0.5))
    some = frame[::step, ::step]
    bright = reading.channels(some)[0]
    at = int(bright.argmax() if form.photometric == "MONOCHROME1" else bright.argmin())
    row, column = divmod(at, bright.shape[1])
    if not form.subsampled:
        return np.array(some[row, column])
    found = np.array(some[row, column // 2])
    found[:2] = found[column % 2]
    return found
