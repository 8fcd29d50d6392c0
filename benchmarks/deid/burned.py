"""``python -m benchmarks.deid.burned``: identifiers drawn into pixels, under the default recipe with its pixel options.

MIDI-B's ``pixels_hidden``, scored by the pixels and not by the header: right is only that the drawn text is not in the
output, because its box is blank or its image held back. Images without text must come out as they went in
(``pixels_retained``). Prints one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pyarrow import parquet
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from benchmarks.deid.people import Person, make_people
from benchmarks.deid.score import score
from benchmarks.deid.truth import FileTruth, Truth
from enclave.core.secret import Secret
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import derive_keyring
from enclave.deid.recipe import Recipe

SIZE = 256
# name → modality, SOP class, image type, what the file says of burned-in text, samples per pixel, text drawn
KINDS: dict[str, tuple[str, str, list[str], str, int, bool]] = {
    "ultrasound": ("US", "1.2.840.10008.5.1.4.1.1.6.1", ["ORIGINAL", "PRIMARY"], "", 3, True),
    "ultrasound that says NO": ("US", "1.2.840.10008.5.1.4.1.1.6.1", ["ORIGINAL", "PRIMARY"], "NO", 1, True),
    "screen capture": ("CT", "1.2.840.10008.5.1.4.1.1.7", ["DERIVED", "SECONDARY"], "", 3, True),
    "dose page": ("CT", "1.2.840.10008.5.1.4.1.1.2", ["DERIVED", "SECONDARY", "DOSE_INFO"], "", 1, True),
    "radiograph that says YES": ("CR", "1.2.840.10008.5.1.4.1.1.1", ["ORIGINAL", "PRIMARY"], "YES", 1, True),
    "radiograph that says nothing": ("DX", "1.2.840.10008.5.1.4.1.1.1.1", ["ORIGINAL", "PRIMARY"], "", 1, True),
    "CT that says YES": ("CT", "1.2.840.10008.5.1.4.1.1.2", ["ORIGINAL", "PRIMARY", "AXIAL"], "YES", 1, True),
    "CT that says nothing": ("CT", "1.2.840.10008.5.1.4.1.1.2", ["ORIGINAL", "PRIMARY", "AXIAL"], "", 1, True),
    "radiograph that says NO": ("CR", "1.2.840.10008.5.1.4.1.1.1", ["ORIGINAL", "PRIMARY"], "NO", 1, True),
    "CT without text": ("CT", "1.2.840.10008.5.1.4.1.1.2", ["ORIGINAL", "PRIMARY", "AXIAL"], "", 1, False),
    "MR without text": ("MR", "1.2.840.10008.5.1.4.1.1.4", ["ORIGINAL", "PRIMARY"], "", 1, False),
    "radiograph without text": ("CR", "1.2.840.10008.5.1.4.1.1.1", ["ORIGINAL", "PRIMARY"], "NO", 1, False),
}


def make_images(folder: Path, *, seed: int, each: int = 8, size: int = SIZE) -> tuple[Truth, dict[str, str]]:
    """``each`` images of every kind, ``size`` pixels wide and tall, at least 160; what is expected of them, and the
    kind of each path."""
    rng = random.Random(seed)
    people = make_people(rng, count=each)
    noise = np.random.default_rng(seed)
    truth, kinds = Truth(patients=[person.mrn for person in people]), {}
    for number, name in enumerate(KINDS):
        for turn, person in enumerate(people):
            made, boxes = _image(number * each + turn, person, name, noise=noise, rng=rng, size=size)
            path = f"{number:02}-{turn:02}.dcm"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            made.save_as(folder / path, enforce_file_format=True)
            digest = hashlib.sha256(made.PixelData).hexdigest()
            truth.files.append(FileTruth(path, turn, pixels=digest, burned=boxes))
            kinds[path] = name
    return truth, kinds


def _image(
    number: int, person: Person, kind: str, *, noise: np.random.Generator, rng: random.Random, size: int
) -> tuple[FileDataset, list[list[int]]]:
    modality, sop_class, image_type, said, samples, drawn = KINDS[kind]
    canvas = Image.fromarray(noise.integers(20, 60, (size, size), dtype=np.uint8))
    boxes = _draw(canvas, (person.pn.partition("=")[0][:24], person.mrn), rng=rng) if drawn else []
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID(sop_class), ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.10.4711.8.{number + 1}")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = UID(sop_class), meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{made.SOPInstanceUID}.1", f"{made.SOPInstanceUID}.2"
    made.PatientName, made.PatientID, made.Modality, made.ImageType = "X", person.mrn, modality, image_type
    made.StudyDate, made.BodyPartExamined, made.StudyDescription = "20230512", "CHEST", "CHEST"
    if said:
        made.BurnedInAnnotation = said
    made.Rows = made.Columns = size
    made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = samples, 8, 8, 7
    made.PixelRepresentation = 0
    made.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        made.PlanarConfiguration = 0
    pixels = np.asarray(canvas)
    made.PixelData = (np.repeat(pixels[..., None], 3, axis=-1) if samples == 3 else pixels).tobytes()
    return made, boxes


def _draw(canvas: Image.Image, lines: tuple[str, ...], *, rng: random.Random) -> list[list[int]]:
    """White letters at a random place; the boxes around them."""
    pen = ImageDraw.Draw(canvas)
    left, top = rng.randint(2, min(60, canvas.width - 148)), rng.randint(2, canvas.height - 56)
    boxes = []
    for line in lines:
        text = line.encode("ascii", "replace").decode("ascii")
        pen.text((left, top), text, fill=255)
        boxes.append([round(edge) for edge in pen.textbbox((left, top), text)])
        top += 16
    return boxes


def measure(folder: Path, *, seed: int, each: int = 8, size: int = SIZE) -> dict[str, Any]:
    """Shares over all images, and which kinds of image were right."""
    source, output = folder / "in", folder / "out"
    truth, kinds = make_images(source, seed=seed, each=each, size=size)
    keys = derive_keyring(Secret(bytes(range(32))))
    report = run_job(JobSpec(inputs=[source], output=output, recipe=Recipe(), keyring=keys)).report
    rows = parquet.read_table(output / "provenance.parquet").to_pylist()
    origin = {row["input_sha256"]: row["output"] for row in rows}
    found = {}
    for name in KINDS:
        files = [file for file in truth.files if kinds[file.path] == name]
        part = Truth(files=files, strings=truth.patients)
        found[name] = dict(score(output, truth=part, source=source, provenance=origin).actions)
    total = {
        action: [sum(pair[at] for one in found.values() for pair in [one.get(action, [0, 0])]) for at in (0, 1)]
        for action in ("pixels_hidden", "pixels_retained")
    }
    kept = {name: {action: one[action] for action in total if action in one} for name, one in found.items()}
    return {
        "seed": seed,
        "images": len(truth.files),
        "held_back": report["reasons"],
        "right_of_all": total,
        "kinds": kept,
    }


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        json.dump(measure(Path(temporary), seed=20261122), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
