"""What is done with every image of a job: left alone, its face taken out, or held. One region serves a whole frame of
reference, and each stack that can be measured by itself is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from enclave.core.errors import UnavailableError
from enclave.deid.faces import hold, measure
from enclave.deid.faces.assembly import assemble
from enclave.deid.faces.ct import find_face_ct
from enclave.deid.faces.found import FoundFace
from enclave.deid.faces.image_facts import ImageFacts
from enclave.deid.faces.mr import find_face_mr
from enclave.deid.faces.order import FaceOrder
from enclave.deid.faces.stacks import Judged, judge_all
from enclave.deid.faces.volume import Array
from enclave.deid.reasons import Quarantined

_METHODS = {"CT": find_face_ct, "MR": find_face_mr}
_MEASURABLE = "surface"
MAX_MOVE_MM = 5.0  # the margin that the planes keep from the brain


@dataclass(frozen=True, slots=True)
class Ordered:
    """The order for every image; and of each stack whose face goes and that was measured, its images and how the head
    looks from the front, before and after."""

    orders: dict[int, FaceOrder]
    views: list[tuple[tuple[int, ...], Array, Array]]


def order_faces(images: Mapping[int, ImageFacts], *, paths: Mapping[int, Path], strip: bool = False) -> Ordered:
    """What is done about every image; nothing is raised: what cannot be done is held. ``strip``: only brains stay."""
    done = Ordered({}, [])
    orders = done.orders
    spaces: defaultdict[tuple[str, str], list[Judged]] = defaultdict(list)
    for judged in judge_all(images):
        if not judged.verdict.recognisable:
            orders |= dict.fromkeys(judged.series.images, FaceOrder(judged.verdict.rule))
        else:
            one = judged.series.one
            spaces[one.study, one.frame or f"series {one.series}"].append(judged)
    for stacks in spaces.values():
        _order_space(stacks, paths, done, strip=strip)
    return done


def _order_space(stacks: list[Judged], paths: Mapping[int, Path], done: Ordered, *, strip: bool) -> None:
    """Adds orders for the recognisable stacks of one frame of reference, the largest first."""
    found = {
        at: _found(judged, paths, strip=strip)
        for at, judged in sorted(enumerate(stacks), key=lambda pair: -len(pair[1].series.images))
        if judged.verdict.rule == _MEASURABLE and judged.series.one.modality in _METHODS
    }
    reference = next((face for face in found.values() if not face.held), None)
    for at, judged in enumerate(stacks):
        own = found.get(at)
        order = _order(judged, own, reference)
        if strip and order.planes:
            order = replace(order, stripped=True)
        done.orders.update(dict.fromkeys(judged.series.images, order))
        if order.planes and own is not None and own.views is not None:
            done.views.append((tuple(judged.series.images), *own.views))


def _order(judged: Judged, own: FoundFace | None, reference: FoundFace | None) -> FaceOrder:
    """The order for one stack. What can be measured by itself must measure right and lie where the reference lies; what
    cannot (a few sagittal planes, PET) is cut through the frame of reference."""
    rule = judged.verdict.rule
    if judged.series.normal is None or judged.series.one.captured:
        return FaceOrder(rule, held="no_geometry")
    if own is not None and own.held:
        return FaceOrder(rule, held=own.held, numbers=_numbers(own))
    if reference is None or reference.region is None:
        return FaceOrder(rule, held="no_reference")
    if own is not None and not _lies_there(own, reference):
        return FaceOrder(rule, held="moved", numbers=_numbers(own))
    return FaceOrder(rule, planes=reference.region.planes, numbers=_numbers(own or reference))


def _lies_there(own: FoundFace, reference: FoundFace) -> bool:
    """Whether the reference's region leaves this brain, whose centre has hardly moved, alone."""
    if own.axes is None or own.brain_points is None or reference.axes is None or reference.region is None:
        return False
    moved_mm = float(np.linalg.norm(own.axes.centre - reference.axes.centre))
    lost = measure.share_inside(own.brain_points, reference.region)
    return moved_mm <= MAX_MOVE_MM and lost <= hold.MAX_BRAIN_LOST


def _found(judged: Judged, paths: Mapping[int, Path], *, strip: bool) -> FoundFace:
    try:
        volume = assemble(judged.series, paths=paths)
    except Quarantined:
        return FoundFace(None, None, "undecodable")
    try:
        return _METHODS[judged.series.one.modality](volume, strip=strip)
    except UnavailableError:
        return FoundFace(None, None, "no_method")
    except (MemoryError, ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError):
        return FoundFace(None, None, "brain_not_found")


def _numbers(found: FoundFace) -> tuple[tuple[str, float], ...]:
    if found.measures is None:
        return ()
    names = ("brain_cc", "brain_lost", "face_gone", "removed_share")
    return tuple((name, round(float(getattr(found.measures, name)), 4)) for name in names)
