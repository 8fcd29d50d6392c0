"""Faces in head CT by geometry: on a head of ellipsoids, whatever way it lies, and what must be held back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from head_phantom import Phantom, make_head, turned
from hypothesis import given
from hypothesis import strategies as st

from enclave.deid.faces.cavity import surroundedness
from enclave.deid.faces.ct import find_face_ct
from enclave.deid.faces.hold import HOLDS, Measures, hold_reason
from enclave.deid.faces.volume import Volume

GOOD = Measures(
    brain_cc=1400, removed_share=0.15, brain_lost=0.0, face_gone=0.95, asymmetry_mm=0.8, turn_degrees=5,
    elongation=1.25, vertex_inside=True, airway_cc=20, airway_share=0.6, agreement=0.98, t1_like=True,
)  # fmt: skip


def check(head: Phantom) -> None:
    found = find_face_ct(head.volume)
    assert found.held == ""
    assert found.region is not None
    gone = found.region.mask(head.volume.values.shape, head.volume.affine)
    assert (gone & head.brain).sum() / head.brain.sum() <= 0.0005
    assert (gone & head.face).sum() / head.face.sum() >= 0.8


@pytest.mark.row("S13.4")
@pytest.mark.parametrize(("axis", "degrees"), [(0, 0), (0, 20), (1, -20), (2, 20)])
def test_the_face_goes_and_the_brain_stays_however_the_head_is_turned(axis: int, degrees: float) -> None:
    check(make_head(turn=turned(axis, degrees)))


def test_thick_slices_do_as_well() -> None:
    check(make_head(spacing=(1.5, 1.5, 5.0)))


@pytest.mark.parametrize(
    ("signs", "order"),
    [
        ((1, -1, 1), (0, 1, 2)),
        ((1, 1, -1), (0, 1, 2)),
        ((1, -1, -1), (0, 1, 2)),
        ((1, 1, 1), (1, 0, 2)),
        ((1, 1, 1), (0, 2, 1)),
    ],
)
def test_a_header_that_lies_about_the_orientation_is_held_back(
    signs: tuple[int, int, int], order: tuple[int, int, int]
) -> None:
    head = make_head().volume
    affine = head.affine.copy()
    affine[:3] = (np.array(signs)[:, None] * affine[:3])[list(order)]
    assert find_face_ct(Volume(head.values, affine)).held


@pytest.mark.parametrize("cut", [np.s_[:, :, :105], np.s_[:, :, 80:], np.s_[:, 40:, :], np.s_[:50, :, :]])
def test_a_head_that_is_not_wholly_in_the_images_is_held_back(cut: Any) -> None:
    head = make_head().volume
    affine = head.affine.copy()
    affine[:3, 3] += [2.0 * (part.start or 0) for part in cut]
    assert find_face_ct(Volume(head.values[cut], affine)).held


@pytest.mark.parametrize(
    "values",
    [np.full((60, 60, 60), -1000), np.full((60, 60, 60), 40), np.full((60, 60, 60), 1500), np.zeros((60, 60, 1))],
)
def test_what_is_no_head_is_held_back(values: Any) -> None:
    assert find_face_ct(Volume(values, np.diag([3.0, 3.0, 3.0, 1.0]))).held


def test_a_volume_larger_than_any_head_is_held_back() -> None:
    assert find_face_ct(Volume(np.zeros((20, 20, 20)), np.diag([100.0, 1.0, 1.0, 1.0]))).held == "no_geometry"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"brain_cc": 899.9}, "brain_not_found"),
        ({"brain_cc": 2200.1}, "brain_not_found"),
        ({"brain_cc": float("nan")}, "brain_not_found"),
        ({"t1_like": False}, "contrast"),
        ({"agreement": 0.949}, "masks_disagree"),
        ({"agreement": float("nan")}, "masks_disagree"),
        ({"vertex_inside": False}, "vertex_outside"),
        ({"asymmetry_mm": 1.6}, "asymmetric"),
        ({"turn_degrees": 41.0}, "orientation"),
        ({"elongation": 1.04}, "orientation"),
        ({"elongation": float("nan")}, "orientation"),
        ({"airway_share": 0.29}, "orientation"),
        ({"airway_cc": 2.9}, "orientation"),
        ({"airway_share": float("nan")}, "orientation"),
        ({"airway_cc": None, "airway_share": None, "agreement": None, "t1_like": None}, ""),
        ({"removed_share": 0.019}, "removed_share"),
        ({"removed_share": 0.251}, "removed_share"),
        ({"removed_share": float("nan")}, "removed_share"),
        ({"brain_lost": 0.0006}, "brain_lost"),
        ({"brain_lost": float("nan")}, "brain_lost"),
        ({"face_gone": 0.79}, "face_left"),
        ({"face_gone": float("nan")}, "face_left"),
    ],
)
def test_each_hold_rule_at_its_border(change: dict[str, Any], reason: str) -> None:
    assert hold_reason(replace(GOOD, **change)) == reason


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.builds(
        Measures,
        brain_cc=numbers, removed_share=numbers, brain_lost=numbers, face_gone=numbers, asymmetry_mm=numbers,
        turn_degrees=numbers, elongation=numbers, vertex_inside=st.booleans(), airway_cc=st.none() | numbers,
        airway_share=st.none() | numbers, agreement=st.none() | numbers, t1_like=st.none() | st.booleans(),
    )
)  # fmt: skip
def test_only_measures_within_every_bound_pass(found: Measures) -> None:
    reason = hold_reason(found)
    assert reason in {"", *HOLDS}
    if not reason:
        assert 900 <= found.brain_cc <= 2200
        assert 0.02 <= found.removed_share <= 0.25
        assert found.brain_lost <= 0.0005
        assert found.face_gone >= 0.8
        assert found.vertex_inside


def test_surroundedness_counts_the_directions_in_which_something_is_met() -> None:
    shell = np.zeros((9, 9, 9), dtype=bool)
    shell[1:8, 1:8, 1:8] = True
    shell[2:7, 2:7, 2:7] = False
    counted = surroundedness(shell)
    assert counted[4, 4, 4] == 26
    assert counted[0, 0, 0] == 1
    shell[7] = False
    assert surroundedness(shell)[4, 4, 4] == 17
    assert surroundedness(np.zeros((5, 5, 5), dtype=bool)).max() == 0
