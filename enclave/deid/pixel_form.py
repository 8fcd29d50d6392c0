"""What a header says of the samples of its pixel data (PS3.3 C.7.6.3), checked: a form we can read, or a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.uid import UID

from enclave.deid.pixel_data import PixelElement
from enclave.deid.reasons import Quarantined
from enclave.deid.tree import Node, number_at, text_at

Array = np.ndarray[Any, Any]
MAX_FRAME_BYTES = 1 << 30
MAX_BITMAP_PIXELS = 1 << 28  # bit-packed frames are unpacked together
_FLOATS = {0x7FE00008: 32, 0x7FE00009: 64}
_ONE_SAMPLE = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_THREE_SAMPLES = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_RCT", "YBR_ICT"})
_SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})


@dataclass(frozen=True, slots=True)
class PixelForm:
    """How one frame is laid out. ``bits`` is the size of the container of a sample, ``stored`` how many of them count.

    ``subsampled``: two pixels share their colour (native YBR 4:2:2). ``swapped``: bytes in words of another order.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    bits: int
    stored: int
    high: int
    signed: bool
    floating: bool
    photometric: str
    by_plane: bool
    little: bool
    subsampled: bool = False
    swapped: bool = False

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame."""
        samples = 2 if self.subsampled else self.samples
        return self.rows * self.columns * samples * self.bits

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the containers in native pixel data."""
        kind = "f" if self.floating else "u"
        return np.dtype(f"{'<' if self.little else '>'}{kind}{max(8, self.bits) // 8}")


def pixel_form(tree: Node, element: PixelElement, *, syntax: UID) -> PixelForm:
    """The form of ``element``; raises ``Quarantined`` when the header contradicts itself or asks for too much."""
    try:
        made = _read(tree, element, syntax)
    except (ValueError, TypeError):
        raise Quarantined("pixels_irregular") from None
    three = made.photometric in _THREE_SAMPLES
    right = (
        made.rows > 0
        and made.columns > 0
        and made.frames > 0
        and made.samples == (3 if three else 1)
        and (three or made.floating or made.photometric in _ONE_SAMPLE)
        and made.bits in (1, 8, 16, 32, 64)
        and 0 < made.stored <= made.bits
        and made.stored - 1 <= made.high < made.bits
        and (made.bits > 1 or (made.samples == 1 and not element.encapsulated))
        and not (made.subsampled and (made.columns % 2 or made.bits != 8))
    )
    if not right:
        raise Quarantined("pixels_irregular")
    if made.frame_bits > MAX_FRAME_BYTES * 8:
        raise Quarantined("pixels_too_large")
    if made.bits == 1 and made.frame_bits * made.frames > MAX_BITMAP_PIXELS:
        raise Quarantined("pixels_too_large")
    return made


def _read(tree: Node, element: PixelElement, syntax: UID) -> PixelForm:
    floating = element.tag in _FLOATS
    bits = _FLOATS.get(element.tag) or _number(tree, 0x00280100, 0)
    stored = bits if floating else _number(tree, 0x00280101, bits)
    photometric = text_at(tree, 0x00280004).upper()
    little = bool(syntax.is_little_endian)
    return PixelForm(
        rows=_number(tree, 0x00280010, 0),
        columns=_number(tree, 0x00280011, 0),
        frames=_number(tree, 0x00280008, 1),
        samples=_number(tree, 0x00280002, 1),
        bits=bits,
        stored=stored,
        high=stored - 1 if floating else _number(tree, 0x00280102, stored - 1),
        signed=_number(tree, 0x00280103, 0) == 1,
        floating=floating,
        photometric=photometric or "MONOCHROME2",
        by_plane=_number(tree, 0x00280006, 0) == 1,
        little=little,
        subsampled=photometric in _SUBSAMPLED and not element.encapsulated,
        swapped=not little and bits == 8 and element.vr == "OW",
    )


def _number(tree: Node, tag: int, default: int) -> int:
    found = number_at(tree, tag)
    return default if found is None else found
