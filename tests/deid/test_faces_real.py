"""Faces of real heads from packages of Debian: the CT one by geometry, original and perturbed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from optional import need

from benchmarks.pixels.heads import Head, ct_head, perturbed, turn_about
from enclave.deid.faces.ct import find_face_ct

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ct() -> Head:
    return ct_head(Path(need("heads")))


@pytest.mark.row("S13.4")
@pytest.mark.parametrize(
    ("turn", "slice_mm", "noise"),
    [(None, 1.0, 0.0), (turn_about(0, 20), 1.5, 20.0), (turn_about(2, -20), 3.0, 50.0), (turn_about(1, 20), 5.0, 20.0)],
)
def test_a_real_ct_head_loses_its_face_and_keeps_its_brain(
    ct: Head, turn: np.ndarray | None, slice_mm: float, noise: float
) -> None:
    head = perturbed(ct, turn=turn, slice_mm=slice_mm, noise=noise)
    found = find_face_ct(head.volume)
    assert found.held == ""
    assert found.region is not None
    assert found.region.holds(head.brain).mean() <= 0.0005
    assert found.region.holds(head.face).mean() >= 0.8
