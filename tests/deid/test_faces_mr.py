"""Faces in head MR: the rules that hold a head back, and the brain network of the extra on a real head."""

from __future__ import annotations

import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from head_phantom import make_head
from optional import need
from scipy import ndimage

from benchmarks.pixels.heads import perturbed, t1_head, turn_about
from enclave.core.errors import IntegrityError, UnavailableError
from enclave.deid.faces import network
from enclave.deid.faces.convert import convert, read_weights
from enclave.deid.faces.mr import find_face_mr, is_t1_like, mr_tissue
from enclave.deid.faces.volume import Array, Volume

FLUID, CORTEX, WHITE = 0, 1, 2


def mr_head(levels: tuple[float, float, float]) -> tuple[Volume, Array]:
    """The phantom with fluid at the brain's rim, then cortex, then white matter, and bright fat outside."""
    head = make_head(spacing=(3.0, 3.0, 3.0))
    depth = ndimage.distance_transform_edt(head.brain) * 3.0
    values = np.where(head.volume.values > 700, 20.0, np.where(head.volume.values > -300, 250.0, 3.0))
    for least, level in zip((0, 3, 9), levels, strict=True):
        values[depth > least] = level
    return Volume(values, np.diag([3.0, 3.0, 3.0, 1.0])), head.brain


@pytest.mark.parametrize(
    ("levels", "t1"),
    [
        ((30, 90, 140), True),
        ((20, 100, 125), True),
        ((220, 130, 90), False),  # T2
        ((20, 150, 110), False),  # FLAIR
        ((120, 130, 110), False),  # proton density
        ((100, 100, 100), False),
    ],
)
def test_only_bright_white_matter_and_a_dark_rim_are_t1(levels: tuple[float, float, float], t1: bool) -> None:
    volume, brain = mr_head(levels)
    noise = np.random.default_rng(1).normal(0, 2, volume.values.shape)
    assert is_t1_like(Volume(volume.values + noise, volume.affine), brain) is t1


def test_the_tissue_of_a_head_is_found_in_noise() -> None:
    volume, brain = mr_head((30, 90, 140))
    found = mr_tissue(Volume(np.abs(volume.values + np.random.default_rng(1).normal(0, 3, brain.shape)), volume.affine))
    assert found[brain].all()
    assert not found[:3].any()
    assert not found[:, :, -1].any()


def test_without_the_extra_no_face_in_mr_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network, "FOLDER", tmp_path)
    network.clear()
    with pytest.raises(UnavailableError, match="make deface-mr"):
        find_face_mr(mr_head((30, 90, 140))[0])
    network.clear()


def test_weights_other_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "deepbet.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("data/models/bbox_model.pt", b"other")
        archive.writestr("data/models/model.pt", b"other")
    with pytest.raises(IntegrityError, match="got others"):
        convert(wheel, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_an_archive_of_weights_that_wants_to_run_something_is_refused() -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("ran",)

    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(Runs()))
    with pytest.raises(IntegrityError, match="something else"):
        read_weights(data.getvalue())


@pytest.mark.slow
@pytest.mark.row("S13.4")
def test_a_real_t1_head_loses_its_face_and_keeps_its_brain() -> None:
    need("deface-mr")
    head = perturbed(t1_head(Path(need("heads"))), turn=turn_about(2, 20), noise=5.0)
    found = find_face_mr(head.volume)
    assert found.held == ""
    assert found.region is not None
    assert found.region.holds(head.brain).mean() <= 0.0005
    assert found.region.holds(head.face).mean() >= 0.8


@pytest.mark.slow
@pytest.mark.row("S13.4")
def test_a_real_head_of_another_contrast_is_held() -> None:
    need("deface-mr")
    head = t1_head(Path(need("heads"))).volume
    values = np.where(head.values > 20, np.clip(170.0 - head.values, 5, None), head.values)
    assert find_face_mr(Volume(values, head.affine)).held
