"""When a defaced head is held back for a person: a decision over what was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

BRAIN_CC = (900.0, 2200.0)
REMOVED_SHARE = (0.02, 0.25)
MAX_BRAIN_LOST = 0.0005
MIN_FACE_GONE = 0.80
MIN_AGREEMENT = 0.95
MAX_ASYMMETRY_MM = 1.5
MIN_ELONGATION = 1.05
MAX_TURN_DEGREES = 40.0
MIN_AIRWAY_CC = 3.0
MIN_AIRWAY_SHARE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What was measured on one head; shares are from 0 to 1, NaN when there was nothing to measure.

    ``removed_share``: of the head's tissue within 120 mm of the brain's centre. ``brain_lost``: of the brain's voxels.
    ``face_gone``: of the surface that is seen from the front below the brows. ``vertex_inside``: the images reach
    beyond the brain at the top and the sides. ``airway_cc`` and ``airway_share``: air in the head's midline that is in
    the face's region, and its share of all such air (CT). ``elongation``: how much
    longer the brain is than wide. ``agreement``: Dice of two brain masks, ``t1_like``: deep
    white matter is bright (MR). None where the method does not measure it.
    """

    brain_cc: float
    removed_share: float
    brain_lost: float
    face_gone: float
    asymmetry_mm: float
    turn_degrees: float
    elongation: float
    vertex_inside: bool
    airway_cc: float | None = None
    airway_share: float | None = None
    agreement: float | None = None
    t1_like: bool | None = None


HOLDS: dict[str, str] = {
    "brain_not_found": f"a brain of {BRAIN_CC[0]:g} to {BRAIN_CC[1]:g} cm³ was wanted",
    "contrast": "the contrast is not that of T1",
    "masks_disagree": "two masks of the brain differ",
    "vertex_outside": "the images do not reach beyond the brain at the top and the sides",
    "asymmetric": "the brain has no plane of symmetry, so the head's axes are not known",
    "orientation": "the head does not look where the header says",
    "removed_share": f"{REMOVED_SHARE[0]:.0%} to {REMOVED_SHARE[1]:.0%} of the tissue should go",
    "brain_lost": f"more than {MAX_BRAIN_LOST:.2%} of the brain would go",
    "face_left": f"less than {MIN_FACE_GONE:.0%} of the face's surface would go",
    "moved": "the images do not lie where those lie that the face was found in",
    "no_geometry": "the images make no regular stack",
    "no_method": "no method for this modality is installed",
    "no_reference": "no stack of the study in this frame of reference shows where the face is",
    "undecodable": "the pixels cannot be decoded and stored again without loss",
}


def hold_reason(found: Measures) -> str:
    """The first rule that holds this head back, a key of ``HOLDS``; empty when none does."""
    return next((reason for reason, applies in _TABLE if applies(found)), "")


def _outside(value: float, limits: tuple[float, float]) -> bool:
    return not limits[0] <= value <= limits[1]  # NaN is outside


def _has_no_airway(found: Measures) -> bool:
    if found.airway_cc is None or found.airway_share is None:
        return False
    return not (found.airway_cc >= MIN_AIRWAY_CC and found.airway_share >= MIN_AIRWAY_SHARE)


_TABLE: tuple[tuple[str, Callable[[Measures], bool]], ...] = (
    ("brain_not_found", lambda found: _outside(found.brain_cc, BRAIN_CC)),
    ("contrast", lambda found: found.t1_like is False),
    ("masks_disagree", lambda found: found.agreement is not None and not found.agreement >= MIN_AGREEMENT),
    ("vertex_outside", lambda found: not found.vertex_inside),
    ("asymmetric", lambda found: not found.asymmetry_mm <= MAX_ASYMMETRY_MM),
    ("orientation", lambda found: not found.turn_degrees <= MAX_TURN_DEGREES or _has_no_airway(found)),
    ("orientation", lambda found: not found.elongation >= MIN_ELONGATION),
    ("removed_share", lambda found: _outside(found.removed_share, REMOVED_SHARE)),
    ("brain_lost", lambda found: not (math.isfinite(found.brain_lost) and found.brain_lost <= MAX_BRAIN_LOST)),
    ("face_left", lambda found: not found.face_gone >= MIN_FACE_GONE),
)
