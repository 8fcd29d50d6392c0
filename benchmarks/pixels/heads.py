"""Real heads from packages of Debian, and perturbed copies of them with what is known of the original moved along.

``mricron-data``: a T1 head with its brain taken out of it. ``invesalius-examples``: a CT head. The packages are fetched
by ``apt-get download`` into a folder and unpacked there; nothing of them is part of the product.
"""

from __future__ import annotations

import gzip
import plistlib
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from enclave.deid.faces.volume import Array, Volume, largest_part

PACKAGES = ("mricron-data", "invesalius-examples")
_TEMPLATES = "usr/share/mricron/templates"
_CRANIUM = "usr/share/doc/invesalius-examples/examples/Cranium.inv3"
_HALF_FACE_MM, _SKIN_MM, _DEPTH_MM = 50.0, 10.0, 90.0
_GAP_MM = 20.0  # half of the widest gap in this skull, which was operated on


@dataclass(frozen=True, slots=True)
class Head:
    """A volume with places in mm, (n, 3): voxels of its brain, and of its face down to 10 mm below the skin."""

    volume: Volume
    brain: Array
    face: Array
    fill: float


def fetch(folder: Path) -> None:
    """Downloads and unpacks what is not there yet; raises ``CalledProcessError`` when the archive is not reached."""
    if (folder / _CRANIUM).exists() and (folder / _TEMPLATES).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "-qq", "download", *PACKAGES], cwd=folder, check=True, capture_output=True)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)


def ct_head(folder: Path) -> Head:
    """The CT head: 256 × 256 × 108 voxels of 0.96 × 0.96 × 1.5 mm, from the palate to above the vertex."""
    with tarfile.open(folder / _CRANIUM) as archive:
        files = {Path(member.name).name: member for member in archive.getmembers()}
        project = plistlib.loads(_bytes(archive, files["main.plist"]))
        stored = np.frombuffer(_bytes(archive, files["matrix.dat"]), np.int16).reshape(project["matrix"]["shape"])
    values = stored.transpose(2, 1, 0)  # rows of the file run from the back to the front
    affine = np.diag([*project["spacing"], 1.0])
    affine[1] *= -1
    volume = Volume(values, affine)
    return _head(volume, brain=_brain_of_ct(volume), body=_without_table(values > -300), fill=-1000.0)


def t1_head(folder: Path) -> Head:
    """The T1 head: 181 × 217 × 181 voxels of 1 mm, from the middle of the nose upwards."""
    volume, brain = _nifti(folder / _TEMPLATES / "ch2.nii.gz"), _nifti(folder / _TEMPLATES / "ch2bet.nii.gz")
    body = ndimage.binary_fill_holes(ndimage.binary_closing(volume.values > 20, iterations=2))
    return _head(volume, brain=ndimage.binary_fill_holes(brain.values > 20), body=body, fill=0.0)


def perturbed(
    head: Head,
    *,
    turn: Array | None = None,
    slice_mm: float = 1.0,
    noise: float = 0.0,
    bias: float = 0.0,
    seed: int = 1,
) -> Head:
    """The head turned about the middle of its volume, in axial slices of ``slice_mm`` (averaged over their thickness).

    ``noise`` is the standard deviation of Gaussian noise in stored values, ``bias`` how much brighter the images are at
    one corner than at the other (0.4: from 0.8 to 1.2), on values from 0.
    """
    turn = np.eye(3) if turn is None else turn
    source = head.volume
    shape = np.array(source.values.shape)
    middle = source.affine[:3, :3] @ ((shape - 1) / 2) + source.affine[:3, 3]
    lengths = np.abs(turn) @ (shape * np.linalg.norm(source.affine[:3, :3], axis=0))
    counts = (lengths / [1.0, 1.0, slice_mm]).astype(int)
    affine = np.diag([1.0, 1.0, slice_mm, 1.0])
    affine[:3, 3] = middle - (counts - 1) * [1.0, 1.0, slice_mm] / 2
    back = np.eye(4)
    back[:3, :3], back[:3, 3] = turn.T, middle - turn.T @ middle
    parts = max(1, round(slice_mm))
    total = np.zeros(tuple(counts), dtype=np.float32)
    for part in range(parts):
        shifted = affine.copy()
        shifted[2, 3] += (part - (parts - 1) / 2) * slice_mm / parts
        index = np.linalg.inv(source.affine) @ back @ shifted
        total += ndimage.affine_transform(
            source.values.astype(np.float32), index[:3, :3], index[:3, 3], output_shape=tuple(counts), order=1,
            mode="constant", cval=head.fill,
        )  # fmt: skip
    values = total / parts
    if bias:
        ramp = sum(
            np.linspace(-1 / 3, 1 / 3, n).reshape([-1 if a == b else 1 for b in range(3)]) for a, n in enumerate(counts)
        )
        values = values * (1 + bias / 2 * ramp)
    values = values + np.random.default_rng(seed).normal(0, noise, values.shape)
    low = -1024 if head.fill < 0 else 0
    moved: Callable[[Array], Array] = lambda places: (places - middle) @ turn.T + middle  # noqa: E731 - used twice here
    return Head(
        Volume(np.clip(np.round(values), low, 32767).astype(np.int16), affine),
        moved(head.brain),
        moved(head.face),
        head.fill,
    )


def turn_about(axis: int, degrees: float) -> Array:
    """A rotation about the patient's axis 0 (left), 1 (back) or 2 (top)."""
    angle = np.radians(degrees)
    one, other = [(1, 2), (0, 2), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
    return matrix


def _head(volume: Volume, *, brain: Array, body: Array, fill: float) -> Head:
    """The face by the patient's axes: seen from the front, ±50 mm wide, below where the frontal lobes are lowest."""
    places = volume.positions(brain)
    front = places[:, 1] <= np.percentile(places[:, 1], 15)
    brows = float(np.percentile(places[front, 2], 2))
    middle = float(np.median(places[:, 0]))
    x, y, z = (
        volume.affine[axis, axis] * np.arange(n) + volume.affine[axis, 3] for axis, n in enumerate(volume.values.shape)
    )
    seen = np.where(body, y[None, :, None], np.inf).min(axis=1)  # where each line of sight meets the skin
    window = (np.abs(x - middle) <= _HALF_FACE_MM)[:, None] & (z < brows)[None, :] & np.isfinite(seen)
    window &= seen <= seen[window].min() + _DEPTH_MM
    deep = y[None, :, None] - seen[:, None, :]
    face = body & window[:, None, :] & (deep >= 0) & (deep <= _SKIN_MM)
    return Head(volume, places, volume.positions(face), fill)


def _brain_of_ct(volume: Volume) -> Array:
    """Another way than the product's: soft tissue that bone closes in, slice by slice, in two directions; opened."""
    values = volume.values
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    near = ndimage.distance_transform_edt(values <= 200, sampling=spacing) <= _GAP_MM
    bone = (ndimage.distance_transform_edt(near, sampling=spacing) > _GAP_MM) | (values > 200)
    closed = np.zeros(values.shape, dtype=np.uint8)
    for axis in (0, 2):
        for at in range(values.shape[axis]):
            index = tuple(at if other == axis else slice(None) for other in range(3))
            closed[index] += ndimage.binary_fill_holes(bone[index]) & (values[index] <= 200)
    smooth = ndimage.uniform_filter(values.astype(np.float32), 3)
    soft = (closed > 0) & (smooth > -20) & (smooth < 120)
    core = largest_part(ndimage.binary_erosion(soft, iterations=5))
    return ndimage.binary_fill_holes(ndimage.binary_dilation(core, iterations=5) & soft)


def _without_table(body: Array) -> Array:
    core = largest_part(ndimage.binary_erosion(body, iterations=3))
    return body & ndimage.binary_dilation(core, iterations=4)


def _nifti(path: Path) -> Volume:
    """A NIfTI-1 file of bytes; its affine turned from right-anterior-superior into the patient's left-posterior-top."""
    data = gzip.decompress(path.read_bytes())
    shape = struct.unpack_from("<3h", data, 42)
    start = int(struct.unpack_from("<f", data, 108)[0])
    affine = np.vstack([np.array(struct.unpack_from("<12f", data, 280)).reshape(3, 4), [0, 0, 0, 1]])
    affine[:2] *= -1
    return Volume(
        np.frombuffer(data, np.uint8, offset=start, count=int(np.prod(shape))).reshape(shape, order="F"), affine
    )


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
