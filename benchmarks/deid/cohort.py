"""A wide cohort: over each patient's files every row of Table E.1-1 that can be set, and every hiding place we know.

500 files of 20 patients by default. The same seed gives the same bytes. Ground truth is returned, not written in.
"""

from __future__ import annotations

import hashlib
import random
import warnings
from pathlib import Path

import numpy as np
from pydicom import config as pydicom_config
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from benchmarks.deid import hiding
from benchmarks.deid.people import Person, make_people
from benchmarks.deid.truth import FileTruth, Truth

SIZE = 256  # pixels each way, 16 bit
_MODALITIES = ("CT", "MR", "CT", "PT", "CR", "CT", "MR", "US", "SR", "CT")
_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",
    "DOC": "1.2.840.10008.5.1.4.1.1.104.1",
}


def make_cohort(folder: Path, *, seed: int, files: int = 500, patients: int = 20, narrated: bool = False) -> Truth:
    """Writes ``files`` instances below ``folder`` and a DICOMDIR beside them; ``narrated``: reports have sentences."""
    rng = random.Random(seed)
    people = make_people(rng, count=patients)
    truth = Truth(patients=[person.mrn for person in people])
    pixels = np.random.default_rng(seed)
    maker = _Maker(folder, rng, pixels, truth, narrated=narrated)
    with warnings.catch_warnings(), pydicom_config.disable_value_validation():
        warnings.simplefilter("ignore")
        for number in range(files):
            maker.write(number, number % patients, people[number % patients], files // patients)
        maker.write_directory(people[0])
    strings = {text for person in people for text in person.strings()} | maker.tokens
    truth.strings = sorted(strings)
    truth.planted += sum(len(file.removed) + len(file.uids) for file in truth.files)
    return truth


class _Maker:
    def __init__(
        self, folder: Path, rng: random.Random, pixels: np.random.Generator, truth: Truth, *, narrated: bool
    ) -> None:
        self._narrated = narrated
        self._folder = folder
        self._rng = rng
        self._pixels = pixels
        self._truth = truth
        self._uids: dict[tuple[int | str, ...], str] = {}
        self.tokens: set[str] = set()

    def write(self, number: int, index: int, person: Person, each: int) -> None:
        """One file: base attributes, its share of the table's rows, its share of the hiding places."""
        turn = number // len(self._truth.patients)  # which of the patient's files
        study = turn * 2 // each if each else 0
        modality = "DOC" if number % 125 == 60 else _MODALITIES[(turn + index) % len(_MODALITIES)]
        path = (
            Path(f"{person.surname}_{person.mrn}")
            / f"{person.studies[study]:%Y%m%d}"
            / f"{person.given}{number:04d}.dcm"
        )
        truth = FileTruth(path.as_posix(), index)
        dataset = self._start(person, modality, number, turn)
        place = hiding.Place(dataset, truth, person, self._rng, self.tokens)
        self._identify(place, modality, number, (index, study), turn)
        hiding.describe(place, modality)
        hiding.set_rows(place, turn=turn, share=max(1, each), uid=self._uid)
        hiding.set_unlisted(place, uid=self._uid)
        hiding.hide(place, number=number)
        self._content(place, modality, number)
        self._save(dataset, path)
        self._truth.files.append(truth)

    def _start(self, person: Person, modality: str, number: int, turn: int) -> FileDataset:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(_CLASSES[modality])
        meta.MediaStorageSOPInstanceUID = UID(self._uid("sop", number))
        syntax = ImplicitVRLittleEndian if modality == "MR" else ExplicitVRLittleEndian
        if number % 97 == 30 and modality != "SR":
            syntax = ExplicitVRBigEndian
        elif number % 97 == 60:
            syntax = DeflatedExplicitVRLittleEndian
        meta.TransferSyntaxUID = syntax
        meta.SourceApplicationEntityTitle = person.station
        meta.SendingApplicationEntityTitle = person.station
        meta.PrivateInformationCreatorUID = UID(self._uid("pic", turn))
        meta.PrivateInformation = f"{person.surname} {person.mrn}".encode()
        preamble = f"{person.mrn} {person.national}".encode().ljust(128, b"\0")
        dataset = FileDataset("", {}, file_meta=meta, preamble=preamble)
        dataset.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
        if person.charset:
            dataset.SpecificCharacterSet = person.charset.split("\\")
        return dataset

    def _identify(self, place: hiding.Place, modality: str, number: int, study: tuple[int, int], turn: int) -> None:
        ds, person = place.dataset, place.person
        at = person.studies[study[1]]
        ds.SOPClassUID, ds.Modality = _CLASSES[modality], "OT" if modality == "DOC" else modality
        for keyword, name in (
            ("SOPInstanceUID", ("sop", number)),
            ("StudyInstanceUID", ("study", *study)),
            ("SeriesInstanceUID", ("series", *study, modality)),
            ("FrameOfReferenceUID", ("frame", *study)),
        ):
            place.uid(keyword, self._uid(*name))
        place.text("PatientName", person.pn, gone=person.surname)
        for keyword, value in (
            ("PatientID", person.mrn),
            ("AccessionNumber", person.accession),
            ("StudyID", person.mrn[-6:]),
            ("InstitutionName", person.hospital),
            ("StationName", person.station),
            ("DeviceSerialNumber", person.serial),
            ("ReferringPhysicianName", person.physician),
            ("OperatorsName", person.operator),
            ("InstitutionalDepartmentName", person.department),
            ("OtherPatientIDs", person.national),
        ):
            place.text(keyword, value, gone=value)
        place.truth.filled += [[ds.data_element(name).tag] for name in ("PatientName", "PatientID", "AccessionNumber")]
        ds.PatientBirthDate, ds.PatientSex = f"{person.birth:%Y%m%d}", person.sex
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            place.date(keyword, f"{at:%Y%m%d}")
        ds.StudyTime = ds.SeriesTime = ds.ContentTime = f"{8 + turn % 10:02d}1530"
        place.keep("PatientSex", person.sex)
        place.keep("InstanceNumber", str(turn + 1))
        place.keep("SeriesNumber", str(2 + turn % 5))

    def _content(self, place: hiding.Place, modality: str, number: int) -> None:
        if modality == "SR":
            hiding.set_report(place, uid=self._uid, narrated=self._narrated)
            return
        if modality == "DOC":
            scanned = number % 250 == 60
            place.truth.readable = not scanned  # a scan is neither passed through nor counted: quarantine is right
            hiding.set_document(place, scanned=scanned)
            return
        values = self._pixels.integers(0, 4095, (SIZE, SIZE), dtype=np.uint16)
        hiding.set_image(place, modality, values)
        if number % 97 == 80:
            place.dataset.compress(RLELossless, generate_instance_uid=False)
        place.truth.pixels = hashlib.sha256(place.dataset.PixelData).hexdigest()

    def _save(self, dataset: FileDataset, path: Path) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target, enforce_file_format=True)

    def write_directory(self, person: Person) -> None:
        """A DICOMDIR: it names patients, so it is made anew or held back, never passed."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
        meta.MediaStorageSOPInstanceUID = UID(self._uid("dir"))
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        dataset.FileSetID = person.mrn
        record = FileDataset("", {})
        record.DirectoryRecordType, record.PatientName, record.PatientID = "PATIENT", person.pn, person.mrn
        dataset.DirectoryRecordSequence = [record]
        dataset.save_as(self._folder / "DICOMDIR", enforce_file_format=True)

    def _uid(self, *name: int | str) -> str:
        if name not in self._uids:
            digits = "".join(str(self._rng.randint(1, 9)) for _ in range(20))
            self._uids[name] = f"1.2.826.0.1.3680043.10.4711.{digits}"
            self._truth.uids.append(self._uids[name])
        return self._uids[name]
