"""What the header of one image says about what it shows and where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from enclave.deid.faces.recognisability import HEAD, OTHER, PHOTOGRAPHS, SECTIONAL, UNSTATED, region_of
from enclave.deid.tree import Node, text_at

_DESCRIBING = (0x00180015, 0x00081030, 0x0008103E, 0x00181030)  # body part; study, series, protocol
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MODALITIES = SECTIONAL | PHOTOGRAPHS
_UNIT = 0.01  # how far a direction's length may be from 1, and two directions from a right angle
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one frame lies, in mm and patient coordinates: the centre of its first pixel, the step from one column to
    the next and from one row to the next (DICOM PS3.3 C.7.6.2)."""

    origin: Triple
    column_step: Triple
    row_step: Triple

    @property
    def normal(self) -> Triple:
        """The unit vector across the plane."""
        (a, b, c), (d, e, f) = self.column_step, self.row_step
        cross = (b * f - c * e, c * d - a * f, a * e - b * d)
        length = math.hypot(*cross)
        return (cross[0] / length, cross[1] / length, cross[2] / length)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image. ``placement`` is None when the header does not say all of it, or the file has several frames."""

    study: str
    series: str
    frame: str
    modality: str
    region: str
    captured: bool
    rows: int
    columns: int
    frames: int
    placement: Placement | None

    @property
    def field_mm(self) -> float:
        """The larger side of the image; 0 without a placement."""
        if self.placement is None:
            return 0.0
        return max(
            self.columns * math.hypot(*self.placement.column_step), self.rows * math.hypot(*self.placement.row_step)
        )


def image_facts(tree: Node) -> ImageFacts:
    """The facts of an image from its header; whatever cannot be read is missing, nothing is raised."""
    rows, columns = (_whole(text_at(tree, tag)) for tag in (0x00280010, 0x00280011))
    frames = _whole(text_at(tree, 0x00280008) or "1")
    return ImageFacts(
        study=text_at(tree, 0x0020000D),
        series=text_at(tree, 0x0020000E),
        frame=text_at(tree, 0x00200052),
        modality=text_at(tree, 0x00080060).upper(),
        region=region_of(text_at(tree, tag) for tag in _DESCRIBING),
        captured=_is_captured(tree),
        rows=rows,
        columns=columns,
        frames=frames,
        placement=_placement(tree) if frames == 1 and rows and columns else None,
    )


def may_matter(tree: Node) -> bool:
    """Whether an image can show a face at all: a section, a capture, a photograph."""
    return text_at(tree, 0x00080060).upper() in _MODALITIES or _is_captured(tree)


def _is_captured(tree: Node) -> bool:
    return text_at(tree, 0x00080016).startswith(_SECONDARY_CAPTURE) or "SCREEN" in text_at(tree, 0x00080008).upper()


def widest(regions: set[str]) -> str:
    """The region of images that are judged together: a head if one of them is, another part only if all are."""
    if HEAD in regions:
        return HEAD
    return OTHER if regions == {OTHER} else UNSTATED


def _placement(tree: Node) -> Placement | None:
    origin, directions = _numbers(tree, 0x00200032, 3), _numbers(tree, 0x00200037, 6)
    spacing = _numbers(tree, 0x00280030, 2)
    if origin is None or directions is None or spacing is None or min(spacing) <= 0:
        return None
    along, down = directions[:3], directions[3:]
    if abs(math.hypot(*along) - 1) > _UNIT or abs(math.hypot(*down) - 1) > _UNIT:
        return None
    if abs(sum(a * b for a, b in zip(along, down, strict=True))) > _UNIT:
        return None
    down_mm, along_mm = spacing  # PS3.3 10.7.1.3: between rows first, then between columns
    return Placement(
        (origin[0], origin[1], origin[2]),
        (along[0] * along_mm, along[1] * along_mm, along[2] * along_mm),
        (down[0] * down_mm, down[1] * down_mm, down[2] * down_mm),
    )


def _numbers(tree: Node, tag: int, count: int) -> tuple[float, ...] | None:
    try:
        found = tuple(float(part) for part in text_at(tree, tag).split("\\"))
    except ValueError:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def _whole(text: str) -> int:
    try:
        return max(0, int(float(text)))
    except (ValueError, OverflowError):
        return 0
