"""Where a kind of device burns in text, learned from the images of a job. Pure.

Images of one manufacturer and model with the same rows and columns have text at the same places. What stands at one
place in nearly all of them is a stable line: it is blanked in every image of the device, also where a detector missed
it. Only when fifty layouts and a sample of all others are the same in every line is detection itself spared; a cheaper
method still looks at what is outside of the lines, and whatever it sees brings detection back.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from enclave.deid.looking import is_slice
from enclave.deid.tree import Node, number_at, text_at
from enclave.detectors.pixel_text.boxes import Box, share_covered

EVIDENCE = 50  # layouts
AUDIT_STEP = 10  # of the images whose detection could be spared, one in so many is looked at
LEAST = 5  # images of a device by which a line may be judged stable
_STABLE_SHARE = 0.8
_ROWS_OFF, _COLUMNS_OFF = 2, 4  # pixels by which the same line may differ from image to image
_COVERED = 0.98
_DEVICE = (0x00080070, 0x00081090, 0x00080060, 0x00280004)  # manufacturer, model, modality, photometric interpretation


@dataclass(frozen=True, slots=True)
class Layout:
    """What detection found in one image; ``fingerprint`` tells the state of the file that it was found in, ``pixels``
    (SHA-256) the bytes of its pixel element.

    ``boxes``: what is to be blanked. ``kept``: how many lines of technique stay.
    """

    index: int
    device: str
    fingerprint: str
    pixels: str
    boxes: tuple[Box, ...]
    kept: int = 0

    @property
    def shows_text(self) -> bool:
        """Whether there is any text in the image."""
        return bool(self.boxes or self.kept)

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Layout:
        """What ``to_json`` gave."""
        return cls(**{**fields, "boxes": tuple(Box(*box) for box in fields["boxes"])})


@dataclass(frozen=True, slots=True)
class Template:
    """The stable lines of a device; ``spares``: the lines are all that any image of it was seen to have."""

    lines: tuple[Box, ...]
    spares: bool = False


@dataclass(slots=True)
class _Line:
    """One line in several images."""

    first: Box
    hull: Box
    images: set[int]
    same: bool = True

    def takes(self, box: Box, image: int) -> bool:
        """Adds ``box`` when it is this line."""
        rows = abs(box.y0 - self.first.y0) <= _ROWS_OFF and abs(box.y1 - self.first.y1) <= _ROWS_OFF
        left, right = (abs(one - other) <= _COLUMNS_OFF for one, other in zip(box[::2], self.first[::2], strict=True))
        if not (rows and (left or right)):
            return False
        self.same = self.same and left and right
        self.hull = self.hull.hull(box)
        self.images.add(image)
        return True


def device_of(tree: Node) -> str:
    """A name for the kind of device and form of an image, nothing of which can be read from it; '' where none is said
    and for slices of series, which are sampled."""
    manufacturer, model, *form = (text_at(tree, tag).strip().casefold() for tag in _DEVICE)
    if not (manufacturer and model) or is_slice(tree):
        return ""
    size = [str(number_at(tree, tag)) for tag in (0x00280010, 0x00280011)]
    return hashlib.sha256("\0".join((manufacturer, model, *form, *size)).encode()).hexdigest()[:32]


def evidence_of(devices: Mapping[int, str]) -> list[int]:
    """The images, by index, that are looked at to learn: fifty of each device, and every tenth of its others."""
    images: defaultdict[str, list[int]] = defaultdict(list)
    for index, device in sorted(devices.items()):
        if device:
            images[device].append(index)
    found: list[int] = []
    for indices in images.values():
        if len(indices) >= LEAST:
            step = max(1, len(indices) // EVIDENCE)
            first = indices[::step][:EVIDENCE]
            rest = sorted(set(indices) - set(first))
            found += [*first, *rest[AUDIT_STEP // 2 :: AUDIT_STEP]]
    return sorted(found)


def learn(layouts: Iterable[Layout], *, unseen: Collection[str] = ()) -> dict[str, Template]:
    """The templates of all devices that have stable lines.

    ``unseen``: the devices of which an image was to be looked at and could not be. What stands in it nobody knows, so
    detection is spared in none of theirs.
    """
    by_device: defaultdict[str, list[Layout]] = defaultdict(list)
    for layout in sorted(layouts, key=lambda one: one.index):
        by_device[layout.device].append(layout)
    found = {device: _template(seen) for device, seen in by_device.items() if len(seen) >= LEAST}
    found |= {device: replace(found[device], spares=False) for device in unseen if device in found}
    return {device: template for device, template in found.items() if template.lines}


def with_lines(boxes: Sequence[Box], template: Template | None) -> tuple[Box, ...]:
    """``boxes`` and the stable lines that they do not cover."""
    lines = template.lines if template is not None else ()
    return (*boxes, *(line for line in lines if share_covered(line, boxes) < _COVERED))


def _template(layouts: list[Layout]) -> Template:
    lines: list[_Line] = []
    for layout in layouts:
        for box in layout.boxes:
            if not any(line.takes(box, layout.index) for line in lines):
                lines.append(_Line(box, box, {layout.index}))
    stable = [line for line in lines if len(line.images) >= max(LEAST, _STABLE_SHARE * len(layouts))]
    everywhere = all(line.same and len(line.images) == len(layouts) for line in stable)
    spares = len(layouts) >= EVIDENCE and len(stable) == len(lines) and everywhere
    return Template(tuple(sorted(line.hull for line in stable)), spares)
