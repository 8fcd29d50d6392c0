"""The frames of an instance as arrays of stored values, one after the other, whatever their transfer syntax.

Native frames keep every bit of their containers, so that a frame in which nothing is changed is the same bytes again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from pydicom.uid import UID, ExplicitVRLittleEndian

from enclave.deid.decoders import decoded_frames
from enclave.deid.pixel_data import PixelElement
from enclave.deid.pixel_form import Array, PixelForm, pixel_form
from enclave.deid.reasons import Quarantined
from enclave.deid.source import Source
from enclave.deid.tree import Node


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one pixel element. ``form`` is that of the arrays which ``__iter__`` gives.

    Arrays have the shape (rows, columns, samples) and may be written to; of native 4:2:2 they are
    (rows, columns / 2, 4): two of brightness, two of colour.
    """

    source: Source
    element: PixelElement
    form: PixelForm
    syntax: UID

    def __iter__(self) -> Iterator[Array]:
        return self._decoded() if self.element.encapsulated else self._native()

    # ── native ──────────────────────────────────────────────────────────────

    def _native(self) -> Iterator[Array]:
        if self.form.bits == 1:
            yield from self._bitmaps()
            return
        size = self.form.frame_bits // 8
        for number in range(self.form.frames):
            start = self.element.start + number * size
            yield unpacked(self._bytes(start, start + size), form=self.form)

    def _bitmaps(self) -> Iterator[Array]:
        """Frames of one bit follow each other without padding (PS3.5 8.1.1)."""
        bits = np.unpackbits(self._bytes(self.element.start, self.element.end), bitorder="little")
        size = self.form.frame_bits
        for number in range(self.form.frames):
            frame = bits[number * size : (number + 1) * size]
            yield frame.reshape(self.form.rows, self.form.columns, 1).copy()

    def _bytes(self, start: int, end: int) -> Array:
        found = np.zeros(end - start, np.uint8)
        at = 0
        for piece in self.source.pieces(start, end):
            found[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        if at < len(found):
            raise Quarantined("truncated")
        return found

    # ── encapsulated ────────────────────────────────────────────────────────

    def _decoded(self) -> Iterator[Array]:
        count = 0
        element = self.element
        value = self.source.pieces(element.start, min(element.after, self.source.size))
        for frame in itertools.islice(
            decoded_frames(value, form=self.form, syntax=str(self.syntax)), self.form.frames + 1
        ):
            yield self._checked(frame)
            count += 1
        if count != self.form.frames:
            raise Quarantined("pixels_undecodable")

    @staticmethod
    def _checked(frame: Array) -> Array:
        return frame.view(np.dtype(f"u{frame.dtype.itemsize}")) if frame.dtype.kind != "u" else frame


def open_frames(source: Source, tree: Node, element: PixelElement, *, syntax: UID) -> Frames:
    """The frames of ``element``; raises ``Quarantined`` for a header that nobody could follow."""
    return Frames(source, element, pixel_form(tree, element, syntax=syntax), syntax)


def native_form(form: PixelForm) -> PixelForm:
    """The form of decoded frames when they are written natively (explicit VR little endian)."""
    return replace(
        form,
        photometric="RGB" if form.samples == 3 else form.photometric,
        by_plane=False,
        little=True,
        subsampled=False,
        swapped=False,
    )


NATIVE_SYNTAX = ExplicitVRLittleEndian


def unpacked(data: Array, *, form: PixelForm) -> Array:
    """One native frame of bytes as an array; it shares memory with ``data``."""
    if form.swapped:
        data = data.reshape(-1, 2)[:, ::-1].reshape(-1) if not data.size % 2 else data
    values = data.view(form.dtype)
    if form.subsampled:
        return values.reshape(form.rows, form.columns // 2, 4)
    if form.by_plane and form.samples > 1:
        return values.reshape(form.samples, form.rows, form.columns).transpose(1, 2, 0)
    return values.reshape(form.rows, form.columns, form.samples)


def packed(frame: Array, *, form: PixelForm) -> Array:
    """The bytes of a frame that ``unpacked`` made; of a bitmap its values, one to a byte."""
    if form.bits == 1:
        return frame.reshape(-1)
    if form.by_plane and form.samples > 1 and not form.subsampled:
        frame = frame.transpose(2, 0, 1)
    data = np.ascontiguousarray(frame, dtype=form.dtype).reshape(-1).view(np.uint8)
    if form.swapped and not data.size % 2:
        data = data.reshape(-1, 2)[:, ::-1].reshape(-1)
    return data
