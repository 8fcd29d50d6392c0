"""A head whose brain is known: where its face is, what is measured on it, and what is found in the end.

The same for each method of finding the brain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from enclave.deid.faces import hold, measure
from enclave.deid.faces.depth import front_views
from enclave.deid.faces.head_axes import HeadAxes, head_axes
from enclave.deid.faces.hold import Measures
from enclave.deid.faces.region import FaceRegion, all_but_brain, face_region
from enclave.deid.faces.volume import Array, Volume


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One head on the coarse grid: masks of brain, tissue and what goes; ``points`` are the brain's, in mm."""

    work: Volume
    brain: Array
    body: Array
    axes: HeadAxes
    points: Array
    region: FaceRegion
    gone: Array


def has_brain(brain: Array, work: Volume) -> bool:
    """Whether a mask has a brain's size."""
    return hold.BRAIN_CC[0] <= _cc(brain, work) <= hold.BRAIN_CC[1]


def head_of(work: Volume, *, brain: Array, body: Array) -> Head:
    """The head around ``brain``, with the region of its face."""
    axes = head_axes(brain, work)
    points = work.positions(brain)
    region = face_region(points, axes)
    gone = region.mask(work.values.shape, work.affine)
    return Head(work=work, brain=brain, body=body, axes=axes, points=points, region=region, gone=gone)


def measures_of(head: Head) -> Measures:
    """What is measured on every head."""
    work, axes = head.work, head.axes
    surface = measure.face_surface(head.body, work, brain_points=head.points, axes=axes)
    return Measures(
        brain_cc=_cc(head.brain, work),
        removed_share=measure.removed_share(head.body, work, centre=axes.centre, gone=head.gone),
        brain_lost=measure.share_inside(head.points, head.region),
        face_gone=measure.share_inside(surface, head.region),
        asymmetry_mm=axes.asymmetry_mm,
        turn_degrees=axes.turn_degrees,
        elongation=axes.elongation,
        vertex_inside=measure.vertex_inside(head.brain, work),
    )


def finished(head: Head, found: Measures, *, strip: bool) -> FoundFace:
    """What goes, with its views; with ``strip`` all but the brain. Rules hold by the face in any case."""
    work, region, gone, measures = head.work, head.region, head.gone, found
    if strip:
        region = all_but_brain(head.points, head.axes)
        gone = region.mask(work.values.shape, work.affine)
        removed = measure.removed_share(head.body, work, centre=head.axes.centre, gone=gone)
        measures = replace(found, brain_lost=measure.share_inside(head.points, region), removed_share=removed)
    views = front_views(head.body, work.affine, head.axes, gone=gone)
    return FoundFace(region, measures, hold.hold_reason(found), head.axes, head.points, views)


def _cc(brain: Array, work: Volume) -> float:
    return float(brain.sum()) * work.voxel_cc
