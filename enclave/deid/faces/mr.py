"""Where the face is in a head MR: planes in front of the brain that a network finds, held when anything is doubtful."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from enclave.deid.faces import network
from enclave.deid.faces.found import FoundFace, finished, has_brain, head_of, measures_of
from enclave.deid.faces.volume import Array, Volume, largest_part, resample

_NETWORK_MM = 1.5
_SHELL_MM, _DEEP_MM = 4.0, 12.0
_TISSUE_SHARE = 0.5  # of Otsu's threshold: skin is darker than the fat that moves the threshold up
_WHITE_RANK = 0.6  # in T1 the deep tissue is brighter than this share of the brain
_RIM_SHARE = 0.85  # and the brain's rim, fluid and cortex, darker than this share of it


def find_face_mr(volume: Volume, *, strip: bool = False) -> FoundFace:
    """The face of a head MR, or with ``strip`` all but its brain; only T1 contrast passes, everything else is held.

    Raises ``UnavailableError`` when the extra ``deface-mr`` is not installed.
    """
    try:
        fine = resample(volume, fill=0.0, step_mm=_NETWORK_MM)
        work = resample(volume, fill=0.0)
    except ValueError:
        return FoundFace(None, None, "no_geometry")
    rough, outline = network.brain_masks(fine)
    brain = largest_part(_on_grid(Volume(outline.astype(np.float32), fine.affine), work))
    if not has_brain(brain, work):
        return FoundFace(None, None, "brain_not_found")
    head = head_of(work, brain=brain, body=mr_tissue(work))
    found = replace(measures_of(head), agreement=_dice(rough, outline), t1_like=is_t1_like(work, brain))
    return finished(head, found, strip=strip)


def mr_tissue(work: Volume) -> Array:
    """The head without the air around it: above half of Otsu's threshold, closed, holes filled, the largest part."""
    tissue = work.values > _TISSUE_SHARE * _otsu(work.values)
    closed = ndimage.binary_closing(tissue, iterations=2)
    filled: Array = ndimage.binary_fill_holes(largest_part(closed))
    return filled


def is_t1_like(work: Volume, brain: Array) -> bool:
    """Whether deep white matter is among the brightest of the brain and its rim, with fluid, among the darkest."""
    depth = ndimage.distance_transform_edt(brain) * float(work.affine[0, 0])
    inner = np.sort(work.values[brain])
    rim, deep = work.values[brain & (depth <= _SHELL_MM)], work.values[depth > _DEEP_MM]
    if not len(rim) or not len(deep):
        return False
    rank = float(np.searchsorted(inner, np.median(deep))) / len(inner)
    return rank >= _WHITE_RANK and float(np.median(rim)) <= _RIM_SHARE * float(np.median(deep))


def _on_grid(mask: Volume, work: Volume) -> Array:
    """A mask on another grid along the patient's axes."""
    back = np.linalg.inv(mask.affine) @ work.affine
    moved = ndimage.affine_transform(
        mask.values, np.diag(back[:3, :3]), back[:3, 3], output_shape=work.values.shape, order=1, cval=0.0
    )
    found: Array = moved > 0.5
    return found


def _dice(one: Array, other: Array) -> float:
    total = float(one.sum() + other.sum())
    return 2 * float((one & other).sum()) / total if total else 0.0


def _otsu(values: Array) -> float:
    """The threshold that parts two classes best (Otsu, 1979), over values up to the 99th percentile."""
    top = float(np.percentile(values, 99))
    if not top > float(values.min()):
        return top
    counts, edges = np.histogram(np.clip(values, None, top), bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    total, sums = below[-1], np.cumsum(counts * middles)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middles[int(np.nan_to_num(between).argmax())])
