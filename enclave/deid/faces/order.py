"""What is done about the face in one image; light, for every worker knows all orders of its job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enclave.deid.faces.image_facts import ImageFacts

Plane = tuple[float, float, float, float]
FACE, ALL_BUT_BRAIN = "face", "all but the brain"  # a redaction's reason
NOT_RECOGNISABLE = "not_recognisable"
_UNRECOGNISABLE_HEADS = frozenset({"no_surface", "narrow_field"})


@dataclass(frozen=True, slots=True)
class FaceOrder:
    """What is to be done with an image. ``rule`` decided whether a face is recognisable; ``held`` is why a person must
    look (a key of ``HOLDS``); ``planes`` bound the region to be taken out; ``numbers`` were measured on its stack.
    ``stripped``: the region is all but the brain."""

    rule: str
    held: str = ""
    planes: tuple[Plane, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    stripped: bool = False

    @property
    def is_unrecognisable_head(self) -> bool:
        """Whether the image is of a head, or may be, and keeps its pixels because nobody is recognised in it."""
        return self.rule in _UNRECOGNISABLE_HEADS

    @property
    def place(self) -> str:
        """The planes as text, every digit of them, so that the removal can be checked."""
        return ";".join(",".join(repr(part) for part in plane) for plane in self.planes)


def parse_place(text: str) -> tuple[Plane, ...]:
    """The planes that ``FaceOrder.place`` wrote; raises ``ValueError`` for anything else."""
    planes = []
    for part in text.split(";"):
        x, y, z, offset = (float(number) for number in part.split(","))
        planes.append((x, y, z, offset))
    return tuple(planes)


def account(orders: Mapping[int, FaceOrder], images: Mapping[int, ImageFacts]) -> dict[str, Any]:
    """For a job's report: images whose face went, that show none, and that are held, by reason; and what was measured
    on each stack whose face went. No names and no UIDs."""
    stacks: Counter[tuple[str, str, str, FaceOrder]] = Counter()
    for index, order in orders.items():
        if order.planes:
            facts = images[index]
            stacks[facts.study, facts.series, facts.modality, order] += 1
    return {
        "stripped": sum(order.stripped for order in orders.values()),
        "removed": sum(bool(order.planes) for order in orders.values()),
        "not_recognisable": dict(Counter(order.rule for order in orders.values() if order.is_unrecognisable_head)),
        "held": dict(Counter(order.held for order in orders.values() if order.held)),
        "stacks": [
            {"modality": modality, "images": count, **dict(order.numbers)}
            for (_, _, modality, order), count in stacks.items()
        ],
    }
