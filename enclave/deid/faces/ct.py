"""Where the face is in a head CT, by geometry alone: the cavity that bone surrounds, and planes in front of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from enclave.deid.faces import hold, measure
from enclave.deid.faces.cavity import BONE_HU, cranial_cavity, surroundedness
from enclave.deid.faces.depth import front_views
from enclave.deid.faces.head_axes import HeadAxes, head_axes
from enclave.deid.faces.hold import Measures
from enclave.deid.faces.region import FaceRegion, all_but_brain, face_region
from enclave.deid.faces.volume import AIR_HU, Array, Volume, dilated, eroded, largest_part, resample

BODY_HU = -300.0
_AIRWAY_HU = -400.0
_AIRWAY_HITS = 22  # of 26 directions in which tissue is met
_NEAR_BONE_MM, _CLOSED_SHARE = 10.0, 0.9
_MIDLINE_MM = 25.0  # mastoid cells are farther out
_THIN_MM = 3.0  # tables, cushions and head rests are thinner than this or apart from the head


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face's region with what was measured; ``held`` is why a person must look, empty when nobody must.

    ``views``: the head from the front, before and after (``front_views``).
    """

    region: FaceRegion | None
    measures: Measures | None
    held: str
    axes: HeadAxes | None = None
    brain_points: Array | None = None
    views: tuple[Array, Array] | None = None


def find_face_ct(volume: Volume, *, strip: bool = False) -> FoundFace:
    """The face of a head CT, or with ``strip`` all but its brain; ``volume`` holds HU on any grid.

    Bone above 250 HU (measured: one head, docs/benchmarks.md) surrounds the cavity; planes touch it from in front.
    """
    try:
        work = resample(volume, fill=AIR_HU)
    except ValueError:
        return FoundFace(None, None, "no_geometry")
    brain = cranial_cavity(work)
    brain_cc = float(brain.sum()) * work.voxel_cc
    if not hold.BRAIN_CC[0] <= brain_cc <= hold.BRAIN_CC[1]:
        return FoundFace(None, None, "brain_not_found")
    axes = head_axes(brain, work)
    points = work.positions(brain)
    region = face_region(points, axes)
    gone = region.mask(work.values.shape, work.affine)
    body = head_tissue(work)
    airway_cc, airway_share = _airway(work, body=body, axes=axes, gone=gone)
    surface = measure.face_surface(body, work, brain_points=points, axes=axes)
    found = Measures(
        brain_cc=brain_cc,
        removed_share=measure.removed_share(body, work, centre=axes.centre, gone=gone),
        brain_lost=measure.share_inside(points, region),
        face_gone=measure.share_inside(surface, region),
        asymmetry_mm=axes.asymmetry_mm,
        turn_degrees=axes.turn_degrees,
        elongation=axes.elongation,
        vertex_inside=measure.vertex_inside(brain, work) and _is_closed(brain, work),
        airway_cc=airway_cc,
        airway_share=airway_share,
    )
    return finished(FoundFace(region, found, hold.hold_reason(found), axes, points), body=body, work=work, strip=strip)


def finished(found: FoundFace, *, body: Array, work: Volume, strip: bool) -> FoundFace:
    """``found`` with its views; with ``strip`` the region is all but the brain. Rules hold by the face in any case."""
    if found.region is None or found.axes is None or found.brain_points is None or found.measures is None:
        return found
    region = all_but_brain(found.brain_points, found.axes) if strip else found.region
    gone = region.mask(work.values.shape, work.affine)
    measures = found.measures
    if strip:
        lost = measure.share_inside(found.brain_points, region)
        removed = measure.removed_share(body, work, centre=found.axes.centre, gone=gone)
        measures = replace(measures, brain_lost=lost, removed_share=removed)
    views = front_views(body, work.affine, found.axes, gone=gone)
    return replace(found, region=region, measures=measures, views=views)


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


def _airway(work: Volume, *, body: Array, axes: HeadAxes, gone: Array) -> tuple[float, float]:
    """Air in the midline of the head, in cm³, within ``gone``, and its share of all: nose and throat are in front."""
    air = work.values < _AIRWAY_HU
    if work.field is not None:
        air &= work.field
    inner = air & (surroundedness(body) >= _AIRWAY_HITS)
    inner &= np.abs(work.along(axes.left) - float(axes.centre @ axes.left)) <= _MIDLINE_MM
    total = float(inner.sum())
    inside = float((inner & gone).sum())
    return inside * work.voxel_cc, inside / total if total else float("nan")
