"""How much of a face goes, how much of a brain: real heads of Debian's, turned, noisy, biased, in thick slices.

``python -m benchmarks.pixels.faces FOLDER`` downloads the heads into FOLDER when they are not there and prints one JSON
object. Truth is found in another way than the product's (``heads.py``) and moved along with each copy.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pixels.heads import Head, ct_head, fetch, perturbed, t1_head, turn_about
from enclave.deid.faces import network
from enclave.deid.faces.ct import find_face_ct
from enclave.deid.faces.found import FoundFace
from enclave.deid.faces.mr import find_face_mr
from enclave.deid.faces.volume import Volume

Case = tuple[str, Head]


def copies(head: Head, *, noise: float, bias: bool) -> Iterator[Case]:
    """The head itself, turned by ±10° and ±20° about each axis, in slices of 1 to 5 mm, noisy, biased, and combined."""
    yield "as it is", head
    for axis, name in enumerate(("pitch", "roll", "yaw")):
        for degrees in (-20, -10, 10, 20):
            yield f"{name} {degrees:+d}°", perturbed(head, turn=turn_about(axis, degrees), noise=noise)
    for slice_mm in (1, 2, 3, 4, 5):
        yield f"slices of {slice_mm} mm", perturbed(head, slice_mm=slice_mm, noise=noise)
    for factor in (3, 5):
        yield f"noise {factor * noise:g}", perturbed(head, noise=factor * noise)
    if bias:
        yield "bias 0.3", perturbed(head, bias=0.3, noise=noise)
        yield "bias 0.6", perturbed(head, bias=0.6, noise=noise)
    both = turn_about(0, -15) @ turn_about(2, 15)
    yield "pitch, yaw, 3 mm", perturbed(head, turn=both, slice_mm=3, noise=noise)


def other_contrasts(head: Head) -> Iterator[Case]:
    """The T1 head with its grey levels turned over, as fluid-bright and as fat-dark images have them."""
    values = head.volume.values.astype(np.float64)
    inside = values > 20
    levels = {
        "T2-like": np.where(inside, np.clip(170 - values, 5, None), values),
        "T2-like, steep": np.where(inside, 255 * np.clip(1.2 - values / 130, 0.02, 1) ** 2, values),
        "flat": np.where(inside, 90.0, values),
        "FLAIR-like": np.where(inside, np.clip(120 - np.abs(values - 80) * 1.5, 5, None), values),
    }
    for name, changed in levels.items():
        yield name, Head(Volume(changed, head.volume.affine), head.brain, head.face, head.fill)


def broken(head: Head) -> Iterator[Case]:
    """Heads that must be held: cut off by the field, or with a header that lies about the orientation."""
    values, affine = head.volume.values, head.volume.affine
    top = values.shape[2]
    cuts = {"no vertex": np.s_[:, :, : int(top * 0.8)], "no forehead": np.s_[:, _front(affine, values), :]}
    for name, cut in cuts.items():
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ [part.start or 0 for part in cut]
        yield name, Head(Volume(values[cut], moved), head.brain, head.face, head.fill)
    for name, signs in {"front and back": (1, -1, 1), "top and feet": (1, 1, -1), "both": (1, -1, -1)}.items():
        yield (
            f"{name} exchanged",
            Head(Volume(values, np.diag([*signs, 1.0]) @ affine), head.brain * signs, head.face * signs, head.fill),
        )
    sides = np.eye(4)[[1, 0, 2, 3]]
    yield (
        "left and front exchanged",
        Head(Volume(values, sides @ affine), head.brain[:, [1, 0, 2]], head.face[:, [1, 0, 2]], head.fill),
    )


def _front(affine: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> slice:
    side = values.shape[1]
    return slice(0, int(side * 0.74)) if affine[1, 1] < 0 else slice(int(side * 0.26), side)


def measured(find: Callable[[Volume], FoundFace], cases: Iterator[Case]) -> list[dict[str, Any]]:
    """One row per case; what would be lost and removed is told for held heads, too, when a region was found."""
    rows = []
    for name, head in cases:
        start = time.perf_counter()
        found = find(head.volume)
        row: dict[str, Any] = {"case": name, "held": found.held, "seconds": round(time.perf_counter() - start, 1)}
        if found.region is not None and found.measures is not None:
            row |= {
                "brain_lost": round(float(found.region.holds(head.brain).mean()), 6),
                "face_gone": round(float(found.region.holds(head.face).mean()), 4),
                "removed_share": round(found.measures.removed_share, 4),
            }
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the heads that were not held: the worst of each figure; and how many were held."""
    done = [row for row in rows if not row["held"]]
    worst = {"brain_lost_max": max, "face_gone_min": min, "seconds_max": max}
    figures = {name: pick(row[name[:-4]] for row in done) if done else None for name, pick in worst.items()}
    return {"heads": len(rows), "held": len(rows) - len(done), **figures}


def main(folder: Path) -> None:
    """Measures and prints."""
    fetch(folder)
    ct, t1 = ct_head(folder), t1_head(folder)
    groups = {
        "ct": measured(find_face_ct, copies(ct, noise=15, bias=False)),
        "ct_broken": measured(find_face_ct, broken(ct)),
    }
    if network.is_installed():
        groups["t1"] = measured(find_face_mr, copies(t1, noise=3, bias=True))
        groups["mr_other_contrast"] = measured(find_face_mr, other_contrasts(t1))
        groups["mr_broken"] = measured(find_face_mr, broken(t1))
    print(json.dumps({
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.platform(), "cores": os.cpu_count(),
        "load": os.getloadavg(), "deface_mr": network.is_installed(),
        "summary": {name: summary(rows) for name, rows in groups.items()}, "rows": groups,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
