"""Where the face is in a head CT, by geometry alone: the cavity that bone surrounds, and planes in front of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from enclave.deid.faces.cavity import BONE_HU, cranial_cavity, surroundedness
from enclave.deid.faces.found import FoundFace, Head, finished, has_brain, head_of, measures_of
from enclave.deid.faces.volume import AIR_HU, Array, Volume, dilated, eroded, largest_part, resample

BODY_HU = -300.0
_AIRWAY_HU = -400.0
_AIRWAY_HITS = 22  # of 26 directions in which tissue is met
_NEAR_BONE_MM, _CLOSED_SHARE = 10.0, 0.9
_MIDLINE_MM = 25.0  # mastoid cells are farther out
_THIN_MM = 3.0  # tables, cushions and head rests are thinner than this or apart from the head


def find_face_ct(volume: Volume, *, strip: bool = False) -> FoundFace:
    """The face of a head CT, or with ``strip`` all but its brain; ``volume`` holds HU on any grid.

    Bone above 250 HU (measured: one head, docs/benchmarks.md) surrounds the cavity; planes touch it from in front.
    """
    try:
        work = resample(volume, fill=AIR_HU)
    except ValueError:
        return FoundFace(None, None, "no_geometry")
    brain = cranial_cavity(work)
    if not has_brain(brain, work):
        return FoundFace(None, None, "brain_not_found")
    head = head_of(work, brain=brain, body=head_tissue(work))
    common = measures_of(head)
    airway_cc, airway_share = _airway(head)
    found = replace(
        common,
        vertex_inside=common.vertex_inside and _is_closed(brain, work),
        airway_cc=airway_cc,
        airway_share=airway_share,
    )
    return finished(head, found, strip=strip)


def head_tissue(work: Volume) -> Array:
    """Skin and all that it surrounds but air, without table and head rest, on the coarse grid of HU."""
    steps = _THIN_MM / float(work.affine[0, 0])
    tissue = work.values > BODY_HU
    core = largest_part(eroded(tissue, steps=steps))
    return tissue & dilated(core, steps=steps + 1) if core.any() else tissue


def _is_closed(brain: Array, work: Volume) -> bool:
    """Whether bone is near nearly everywhere around the upper half of the cavity: no side of it is cut off."""
    upper = brain & ~ndimage.binary_erosion(brain)
    upper[:, :, : int(np.median(np.nonzero(brain)[2]))] = False
    near = dilated(work.values > BONE_HU, steps=_NEAR_BONE_MM / float(work.affine[0, 0]))
    return bool(upper.any()) and float(near[upper].mean()) >= _CLOSED_SHARE


def _airway(head: Head) -> tuple[float, float]:
    """Air in the midline of the head, in cm³, that goes, and its share of all: nose and throat are in front."""
    work, axes = head.work, head.axes
    air = work.values < _AIRWAY_HU
    if work.field is not None:
        air &= work.field
    inner = air & (surroundedness(head.body) >= _AIRWAY_HITS)
    inner &= np.abs(work.along(axes.left) - float(axes.centre @ axes.left)) <= _MIDLINE_MM
    total = float(inner.sum())
    inside = float((inner & head.gone).sum())
    return inside * work.voxel_cc, inside / total if total else float("nan")
