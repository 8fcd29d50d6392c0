"""Whether a person could be recognised in a stack of images: a decision over its facts. Pure.

What makes a face is a surface, or a profile. When a fact is missing, the face counts as shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from enclave.deid.names import fold

MIN_SLICES = 24
MAX_GAP_MM = 6.0
MIN_EXTENT_MM = 120.0
MIN_FIELD_MM = 80.0  # a narrower field holds an ear or a pituitary gland, not a face
BODY_EXTENT_MM = 800.0  # a stack as long as this reaches the head whatever its description says
BODY_SLICES = 100  # fewer do not reach from the trunk to the head
SAGITTAL_DEGREES = 30.0  # a plane turned less than this from the sagittal one still shows a profile
SECTIONAL = frozenset({"CT", "MR", "PT"})
PHOTOGRAPHS = frozenset({"XC", "GM"})
UNLABELLED = frozenset({"OT", "SC", ""})

_HEAD_NAMES = (
    "head brain skull face facial maxillofacial orbit orbits sinus sinuses neck ear ears iac petrous temporal jaw "
    "mandible maxilla tmj pituitary sella cranium wholebody whole body cspine cervical cerebral cranial dental nose "
    "kopf schadel hirn gehirn gesicht hals tete crane cerveau cabeza cerebro cara testa cranio cervello hoofd hersenen"
)
_OTHER_NAMES = (
    "chest thorax lung lungs abdomen abdominal pelvis liver kidney kidneys knee hip shoulder elbow wrist hand "
    "ankle foot leg arm lspine tspine spine lumbar thoracic sacrum heart cardiac coronary prostate breast "
    "pancreas extremity aorta colon rectum uterus bladder femur tibia humerus forearm thigh calf"
)
_HEAD_WORDS = frozenset(_HEAD_NAMES.split())
_OTHER_WORDS = frozenset(_OTHER_NAMES.split())

HEAD, OTHER, UNSTATED = "head", "other", "unstated"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackFacts:
    """What is known of the images of one modality, orientation and frame of reference in one study.

    ``region`` is ``head``, ``other`` or ``unstated``. Lengths are in mm; ``normal`` is the unit vector across the
    slices in patient coordinates (x to the left), None when the geometry is not wholly known. ``slices`` counts
    distinct positions, or all images when these are not known, ``gap_mm`` is the largest distance between neighbours,
    ``extent_mm`` reaches from the first slice to the last, ``field_mm`` is the larger side of an image. ``captured``: a
    picture of a screen.
    """

    modality: str
    region: str = UNSTATED
    slices: int = 1
    gap_mm: float = 0.0
    extent_mm: float = 0.0
    field_mm: float = 0.0
    normal: tuple[float, float, float] | None = None
    captured: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """``recognisable`` and the rule that decided, a key of ``RULES``."""

    recognisable: bool
    rule: str


RULES: dict[str, str] = {
    "photograph": "a photograph may show a face",
    "capture": "a captured screen of a head, or of no stated region, may show a rendered face",
    "not_sectional": "no sectional images, so no surface",
    "other_region": "another part of the body",
    "geometry_unknown": "positions, orientation or spacing are missing or contradict each other",
    "narrow_field": f"images narrower than {MIN_FIELD_MM:g} mm hold no face",
    "sagittal_plane": "a sagittal plane of a head shows the profile",
    "surface": f"≥ {MIN_SLICES} slices, gaps ≤ {MAX_GAP_MM:g} mm and ≥ {MIN_EXTENT_MM:g} mm make a surface",
    "no_surface": "too few slices, too wide gaps or too short for a surface",
}


def judge(facts: StackFacts) -> Verdict:
    """Whether a face can be recognised, and by which rule; the first that applies decides."""
    return next(Verdict(recognisable, rule) for rule, recognisable, applies in _TABLE if applies(facts))


def region_of(texts: Iterable[str]) -> str:
    """The region that body part, study, series and protocol description name; a word for the head outweighs all."""
    words = {word for text in texts for word in fold(text).split()}
    if words & _HEAD_WORDS:
        return HEAD
    return OTHER if words & _OTHER_WORDS else UNSTATED


def reaches_head(facts: StackFacts) -> bool:
    """Whether a stack is so long that it reaches the head, or of unknown length and many slices."""
    if math.isfinite(facts.extent_mm):
        return facts.extent_mm >= BODY_EXTENT_MM
    return facts.slices >= BODY_SLICES


def is_measured(facts: StackFacts) -> bool:
    """Whether all lengths are numbers that can be, and the orientation is known."""
    lengths = (facts.gap_mm, facts.extent_mm, facts.field_mm)
    if facts.normal is None or facts.slices < 1 or not all(math.isfinite(v) and v >= 0 for v in lengths):
        return False
    norm = math.hypot(*facts.normal)
    return facts.field_mm > 0 and math.isfinite(norm) and abs(norm - 1) < 0.01


def is_sagittal(facts: StackFacts) -> bool:
    """Whether the planes are sagittal, as near as shows a profile."""
    return facts.normal is not None and abs(facts.normal[0]) >= math.cos(math.radians(SAGITTAL_DEGREES))


def _is_other_kind(facts: StackFacts) -> bool:
    return facts.modality not in SECTIONAL and not (facts.captured and facts.modality in UNLABELLED)


def _is_surface(facts: StackFacts) -> bool:
    return facts.slices >= MIN_SLICES and facts.gap_mm <= MAX_GAP_MM and facts.extent_mm >= MIN_EXTENT_MM


_TABLE: tuple[tuple[str, bool, Callable[[StackFacts], bool]], ...] = (  # rule, recognisable, when it applies
    ("photograph", True, lambda facts: facts.modality in PHOTOGRAPHS),
    ("not_sectional", False, _is_other_kind),
    ("other_region", False, lambda facts: facts.region == OTHER and (facts.captured or not reaches_head(facts))),
    ("capture", True, lambda facts: facts.captured),
    ("geometry_unknown", True, lambda facts: not is_measured(facts)),
    ("narrow_field", False, lambda facts: facts.field_mm < MIN_FIELD_MM),
    ("sagittal_plane", True, is_sagittal),
    ("surface", True, _is_surface),
    ("no_surface", False, lambda _facts: True),
)
