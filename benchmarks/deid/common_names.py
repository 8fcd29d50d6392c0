"""``python -m benchmarks.deid.common_names``: what the sweep destroys when people are called like parts of the body.

Two cohorts that differ in nothing but the patients' names and numbers: ordinary words and short codes in one, made-up
ones in the other. What is lost in the first and not in the second is the sweep's false hits. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from enclave.core.secret import Secret
from enclave.deid.job import JobResult, JobSpec, run_job
from enclave.deid.keyring import derive_keyring
from enclave.deid.profile import DEFAULT_OPTIONS, PIXEL_OPTIONS
from enclave.deid.recipe import build_recipe

_NAMES = (
    "May^Li L5^An Head^Chest Young^Long Park^Min Long^June Li^Bo Chest^Mary Hand^Foster Bone^Ray Small^Rose Black^Iris "
    "White^Art Stone^Day Neck^Lee Back^Will Brain^Val Cross^Field Case^Price Sharp^Dee Philip^Siemens Francis^Philip "
    "Lung^Ah Heart^Joy Knee^Tom T1^Xu Ma^Su Do^An Ng^My Mr^Ct Axial^Ann Series^Al Primary^Jo Original^Eve Carina^Hope "
    "Contrast^Sam Spine^Kay Liver^Gus Aorta^Pia Standard^Bea"
)
COMMON = _NAMES.split()
NUMBERS = (
    "5",
    "12",
    "120",
    "512",
    "1024",
    "00120",
    "10000",
    "20190",
    "512512",
    "100000",
    "L5S1",
    "T1W01",
    "B30F1",
    "3T",
)
PATIENTS, EACH, SIZE = len(COMMON), 3, 16
_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "CR": "1.2.840.10008.5.1.4.1.1.1"}
_TECHNICAL: dict[str, dict[str, Any]] = {
    "CT": {
        "Manufacturer": "SIEMENS", "ManufacturerModelName": "SOMATOM Force",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "KVP": "120", "ConvolutionKernel": "B30f", "SliceThickness": "5",
        "ReconstructionDiameter": "512", "FilterType": "STANDARD",
    },
    "MR": {
        "Manufacturer": "Philips Medical Systems", "ManufacturerModelName": "Ingenia", "ScanningSequence": "SE",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "SE"], "MagneticFieldStrength": "3", "RepetitionTime": "5120",
        "SequenceName": "T1", "ReceiveCoilName": "Head",
    },
    "CR": {
        "Manufacturer": "FUJI PHOTO FILM", "ManufacturerModelName": "CARINA", "ViewPosition": "PA", "KVP": "100",
        "ImageType": ["ORIGINAL", "PRIMARY"], "Laterality": "R", "PlateType": "ST",
    },
}  # fmt: skip
_PARTS = {"CT": ("CHEST", "HEAD", "ABDOMEN"), "MR": ("BRAIN", "KNEE", "LSPINE"), "CR": ("CHEST", "HAND", "FOOT")}
_TEXTS = {
    "CT": ("CT CHEST W CONTRAST", "AXIAL LUNG 5.0", "HEAD NECK STANDARD"),
    "MR": ("MR BRAIN WO CONTRAST", "L5 S1 T1 SAG LONG", "KNEE SMALL FOV"),
    "CR": ("CHEST PA", "HAND LEFT YOUNG", "FOOT LONG CASSETTE"),
}
_CELLS = (
    "lung nodule",
    "white matter lesion",
    "L5 fracture",
    "chest pain",
    "heart failure",
    "small bowel",
    "T1 tumour",
)


@dataclass(slots=True)
class Lost:
    """Counts of one cohort: how many of each kind there were, and how many did not come out as they went in."""

    total: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    where: Counter[str] = field(default_factory=Counter)

    def take(self, kind: str, name: str, *, kept: bool) -> None:
        """One value or word."""
        self.total[kind] += 1
        self.gone[kind] += not kept
        if not kept:
            self.where[name] += 1


def make_cohort(folder: Path, *, names: list[str], numbers: list[str]) -> None:
    """Images of three modalities and a table of findings; the same but for names and numbers."""
    folder.mkdir(parents=True)
    rows = ["patient_id,name,finding"]
    for index, (name, number) in enumerate(zip(names, numbers, strict=True)):
        for turn in range(EACH):
            made = _image(index, turn, name=name, number=number)
            made.save_as(folder / f"{index:03}-{turn}.dcm", enforce_file_format=True)
        rows.append(f'{number},"{name.replace("^", ", ")}",{_CELLS[index % len(_CELLS)]}')
    (folder / "findings.csv").write_text("\n".join(rows) + "\n", "utf-8")


def _image(index: int, turn: int, *, name: str, number: str) -> FileDataset:
    modality = ("CT", "MR", "CR")[(index + turn) % 3]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID(_CLASSES[modality]), ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.10.4711.{index + 1}.{turn + 1}")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{made.SOPInstanceUID}.1", f"{made.SOPInstanceUID}.2"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = name, number, "19500512", "F"
    made.AccessionNumber, made.StudyID = number[::-1], str(index)
    made.Modality, made.StudyDate, made.PatientPosition = modality, "20230512", "HFS"
    for keyword, value in _TECHNICAL[modality].items():
        setattr(made, keyword, value)
    made.BodyPartExamined = _PARTS[modality][index % 3]
    texts = _TEXTS[modality]
    made.StudyDescription, made.SeriesDescription, made.ProtocolName = texts[0], texts[1], texts[2]
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D1100", "SRT", "Head"
    made.AnatomicRegionSequence = [code]
    made.Rows = made.Columns = SIZE
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = np.full((SIZE, SIZE), index * EACH + turn, np.uint16).tobytes()
    return made


def measure(folder: Path, *, names: list[str], numbers: list[str]) -> tuple[Lost, dict[str, Any]]:
    """Makes, cleans and compares one cohort."""
    make_cohort(folder / "in", names=names, numbers=numbers)
    recipe = build_recipe(
        {
            "options": [one for one in DEFAULT_OPTIONS if one not in PIXEL_OPTIONS],
            "tables": {
                "findings": {"columns": {"patient_id": "link", "name": "direct_identifier", "finding": "plain"}}
            },
        }
    )
    keys = derive_keyring(Secret(bytes(range(32))))
    job = run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe, keyring=keys))
    return _compare(folder, job), job.report


def _compare(folder: Path, job: JobResult) -> Lost:
    lost = Lost()
    left = {_mark(made): made for path in (folder / "out").rglob("*.dcm") if (made := pydicom.dcmread(path))}
    for path in sorted((folder / "in").glob("*.dcm")):
        before = pydicom.dcmread(path)
        after = left.get(_mark(before), Dataset())
        lost.take("files", "file", kept=bool(after))
        for keyword in (*_TECHNICAL[before.Modality], "BodyPartExamined", "Modality", "PatientPosition"):
            lost.take("technical_values", keyword, kept=str(after.get(keyword)) == str(before.get(keyword)))
        codes = after.get("AnatomicRegionSequence") or [Dataset()]
        lost.take("technical_values", "CodeMeaning", kept=codes[0].get("CodeMeaning") == "Head")
        for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName"):
            words = str(after.get(keyword) or "").split()
            for word in str(before.get(keyword)).split():
                kind = _kind(word, name=str(before.PatientName))
                lost.take(kind, f"{keyword} {word}", kept=word in words)
    cells = job.tables[0].table.column("finding").to_pylist()
    for row, cell in enumerate(cells):
        for word in _CELLS[row % len(_CELLS)].split():
            lost.take("table_words", f"finding {word}", kept=word in (cell or "").split())
    return lost


def _kind(word: str, *, name: str) -> str:
    """A patient's own name goes by rule from a text, and another patient's unless the vocabulary knows it."""
    if word.lower() in name.lower().split("^"):
        return "words_that_are_ones_own_name"
    named = {part for one in COMMON for part in one.lower().split("^")}
    return "words_that_are_anothers_name" if word.lower() in named else "clinical_words"


def _mark(made: Dataset) -> int:
    return int.from_bytes(made.PixelData[:2], "little")


def main() -> None:
    """Prints what is lost with ordinary words as names, with made-up names, and the difference."""
    with tempfile.TemporaryDirectory() as temporary:
        numbers = [_number(at) for at in range(PATIENTS)]
        common, report = measure(Path(temporary) / "common", names=COMMON, numbers=numbers)
        plain, _ = measure(
            Path(temporary) / "made-up",
            names=[f"Zorvaq{chr(97 + at % 26)}{at}^Quilvex" for at in range(PATIENTS)],
            numbers=[f"ZQ{at:04}83{at:03}" for at in range(PATIENTS)],
        )
    shares = {
        kind: {
            "values": common.total[kind],
            "lost": common.gone[kind],
            "lost_with_made_up_names": plain.gone[kind],
            "false_hits": round((common.gone[kind] - plain.gone[kind]) / common.total[kind], 4),
        }
        for kind in common.total
    }
    json.dump(
        {"patients": PATIENTS, **shares, "reasons": report["reasons"], "where": dict(common.where.most_common(40))},
        sys.stdout,
        indent=2,
    )
    print()


def _number(at: int) -> str:
    """Short numbers as old systems give them; when they run out, with a letter before."""
    return NUMBERS[at] if at < len(NUMBERS) else f"{'ABC'[at % 3]}{at}"


if __name__ == "__main__":
    main()
