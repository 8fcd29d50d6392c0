"""``python -m benchmarks.deid.other_hand``: the headers recipe on a cohort that shares nothing with the main one.

Other people (names as registers have them), other numbers, hospitals, forms of reports and places to hide in; of 500
files 40 are letters as PDF, in three layouts. The same seed gives the same bytes. Prints one JSON object. The rules
were not changed after a look at it, which is all that it is good for: whoever changes them for it retires it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from enclave.core.secret import Secret
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import derive_keyring
from enclave.deid.plain_pdf import read_pdf
from enclave.deid.profile import DEFAULT_OPTIONS, PIXEL_OPTIONS
from enclave.deid.recipe import build_recipe

PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
_CLASSES = {"MR": "1.2.840.10008.5.1.4.1.1.4", "DX": "1.2.840.10008.5.1.4.1.1.1.1", "CT": "1.2.840.10008.5.1.4.1.1.2"}
_GIVEN_NAMES = "Ingrid Mateusz Oluwaseun Brigitte Venkat Siobhan Dmitri Annelise Thabo Guadalupe Hiroshi Katarzyna"
_GIVEN = _GIVEN_NAMES.split()
_FAMILY_NAMES = (
    "Sørensen Wójcik Oyelaran Fitzgerald Venkataraman Kowalczyk O'Sullivan Papadopoulos Mkhize Villanueva "
    "Takahashi Lindqvist Bhattacharya Zimmermann-Roth Castellanos Abernathy"
)
_FAMILY = _FAMILY_NAMES.split()
_DOCTORS_NAMES = "Halvorsen Deshpande Rossellini Achterberg Nakamura McAllister Beauchamp Szymanska"
_DOCTORS = _DOCTORS_NAMES.split()
_TOWNS_NAMES = "Eastbrookfield Valdemara Kirchlindach Montferrand Ashworthing"
_TOWNS = _TOWNS_NAMES.split()
# Of these nothing but one sentence of a letter knows.
_STRANGERS = (
    *("her daughter Ottoline Quintavalle", "Dr. Bednarczyk", "nurse Yevheniya Marchetti", "Mr. Featherstone-Ames"),
    *("his neighbour Radoslav", "our resident Hallgrimsdottir"),
)
_EXAMS = (
    ("MR", "MRI KNEE RT W/O CONTRAST", "meniscal tear", "t2_tse_fs_sag"),
    ("CT", "CT ABDOMEN PELVIS W IV CONTRAST", "acute appendicitis", "Abdomen 3.0 B31f"),
    ("DX", "XR CHEST PA AND LATERAL", "community acquired pneumonia", "CHEST LAT"),
    ("MR", "MRI BRAIN STROKE PROTOCOL", "ischemic infarct", "DWI_b1000_ADC"),
)
_SENTENCES = (
    "The lungs are clear and there is no pleural effusion or pneumothorax.",
    "There is mild degenerative change of the lumbar spine without fracture.",
    "The liver, spleen and pancreas are normal in size and attenuation.",
    "A small simple cyst is seen in the left kidney and needs no further imaging.",
    "There is no evidence of acute infarct, hemorrhage or mass effect.",
)


@dataclass(frozen=True, slots=True)
class Person:
    """One invented patient of this cohort."""

    given: str
    family: str
    number: str
    born: date
    phone: str
    street: str
    doctor: str
    hospital: str
    accession: str

    def strings(self) -> tuple[str, ...]:
        """What must be gone, at least five characters each."""
        all_of_it = (self.given, self.family, self.number, self.phone, self.street, self.doctor, self.hospital)
        return tuple(text for text in (*all_of_it, self.accession) if len(text) >= 5)


@dataclass(slots=True)
class Made:
    """What was written: the strings that must go, and how many letters there are."""

    strings: set[str] = field(default_factory=set)
    letters: int = 0


def make_people(rng: random.Random, *, count: int) -> list[Person]:
    """People of distinct numbers."""
    families = [f"{one} {other}" if at >= len(_FAMILY) else one
                for at, (one, other) in enumerate(zip(_FAMILY * 4, _FAMILY[3:] * 5, strict=False))]  # fmt: skip
    return [
        Person(
            given=_GIVEN[at % len(_GIVEN)],
            family=families[at],
            number=rng.choice(("K{0:07d}", "{0:07d}/4", "NHS {0:010d}", "2019.{0:06d}")).format(100_000 + at * 7919),
            born=date(1931, 1, 1) + timedelta(days=rng.randrange(27_000)),
            phone=f"({rng.randrange(201, 989)}) {rng.randrange(200, 999)}-{rng.randrange(1000, 9999)}",
            street=f"{rng.randrange(11, 99)} {rng.choice(('Quayside', 'Rue Lafontaine', 'Lindenallee'))}",
            doctor=rng.choice(_DOCTORS),
            hospital=f"{rng.choice(_TOWNS)} District Infirmary",
            accession=f"{rng.choice('RXQ')}{rng.randrange(10**6, 10**7)}-{at:02d}",
        )
        for at in range(count)
    ]


def make_cohort(folder: Path, *, seed: int, files: int, patients: int = 25) -> Made:
    """Writes ``files`` instances below ``folder``."""
    rng = random.Random(seed)
    people = make_people(rng, count=patients)
    made = Made(strings={text for person in people for text in person.strings()})
    made.strings |= {word for told in _STRANGERS for word in re.findall(r"[A-Z][a-z]{4,}", told)}
    folder.mkdir(parents=True)
    for number in range(files):
        person = people[number % patients]
        exam = _EXAMS[(number // patients) % len(_EXAMS)]
        dataset = _start(person, exam, number)
        if number % 25 in (4, 17):
            _letter(dataset, person, exam, rng, layout=made.letters % 3)
            made.letters += 1
        else:
            _hide(dataset, person, exam, rng)
            _image(dataset, rng)
        dataset.save_as(folder / f"IM{number:05d}", enforce_file_format=True)
    return made


def _start(person: Person, exam: tuple[str, ...], number: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality = _CLASSES[exam[0]], exam[0]
    dataset.SOPInstanceUID = f"1.3.12.2.1107.{number + 1}.77"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.3.12.2.{number // 5 + 1}", f"1.3.12.2.{number + 1}.3"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(dataset.SOPClassUID), dataset.SOPInstanceUID
    dataset.PatientName, dataset.PatientID = f"{person.family}^{person.given}", person.number
    dataset.PatientBirthDate, dataset.PatientSex = f"{person.born:%Y%m%d}", "O"
    dataset.StudyDate, dataset.StudyTime = f"2021{1 + number % 12:02d}{1 + number % 27:02d}", "101500"
    dataset.AccessionNumber, dataset.InstitutionName = person.accession, person.hospital
    dataset.ReferringPhysicianName = f"{person.doctor}^^^Dr."
    dataset.PatientTelephoneNumbers, dataset.PatientAddress = person.phone, person.street
    dataset.StudyDescription, dataset.SeriesDescription = exam[1], exam[3]
    return dataset


def _hide(dataset: FileDataset, person: Person, exam: tuple[str, ...], rng: random.Random) -> None:
    """Words where people and machines of other hospitals put them."""
    dataset.ImageComments = f"repeat, {person.given} moved; call {person.phone}"
    dataset.RequestedProcedureDescription = f"{exam[1]} ({person.family})"
    dataset.AdditionalPatientHistory = (
        f"{person.given} {person.family} was sent by Dr. {person.doctor} of {person.hospital} with "
        f"suspected {exam[2]}. " + rng.choice(_SENTENCES)
    )
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepDescription = (
        person.accession,
        f"{exam[1]} {person.number}",
    )
    request.ReasonForTheRequestedProcedure = f"r/o {exam[2]}, cc {person.doctor}"
    dataset.RequestAttributesSequence = [request]
    before = Dataset()
    before.PatientName, before.PatientID = f"{person.family.upper()}, {person.given.upper()}", f"0{person.number}"
    changed = Dataset()
    changed.ModifiedAttributesSequence, changed.ModifyingSystem = [before], f"PACS {person.hospital}"
    dataset.OriginalAttributesSequence = [changed]
    block = dataset.private_block(0x0029, f"ACME {rng.choice(_TOWNS).upper()} 2.1", create=True)
    block.add_new(1, "UT", json.dumps({"pat": person.number, "dr": person.doctor}))
    block.add_new(2, "OB", f"<Op>{person.doctor}</Op><Id>{person.number}</Id>".encode())
    dataset.ProtocolName, dataset.StationName = f"{exam[3]} {person.family[:9]}", f"{exam[0]}-{person.hospital[:9]}"


def _image(dataset: FileDataset, rng: random.Random) -> None:
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = rng.randbytes(256)


def _letter(dataset: FileDataset, person: Person, exam: tuple[str, ...], rng: random.Random, *, layout: int) -> None:
    told = list(_SENTENCES)
    rng.shuffle(told)
    told.insert(rng.randrange(len(told)), f"The result was discussed with {rng.choice(_STRANGERS)} by telephone.")
    name = f"{person.given} {person.family}"
    pages = (
        [f"{person.hospital}, {person.street}", f"RE: {name}, DOB {person.born:%m/%d/%Y}, MRN {person.number}", "",
         f"Dear Dr. {person.doctor},", "", f"thank you for sending {name} with suspected {exam[2]}.", *told, "",
         f"Sincerely yours, {person.doctor} (dictated, not read)"],
        [f"NAME        {person.family.upper()}, {person.given.upper()}", f"CHART NO    {person.number}",
         f"PHONE       {person.phone}", f"PHYSICIAN   {person.doctor}", "", "FINDINGS", *told, "",
         "IMPRESSION", f"1. Suspected {exam[2]} in this patient.",
         f"2. Result was given to {person.given} by telephone."],
        [" ".join((f"In this study of {person.family} the following was found.", *told)),
         "", f"Copy to {person.doctor}, {person.hospital}; accession {person.accession}."],
    )[layout]  # fmt: skip
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(PDF_CLASS)
    dataset.Modality, dataset.MIMETypeOfEncapsulatedDocument = "DOC", "application/pdf"
    dataset.DocumentTitle, dataset.BurnedInAnnotation = f"Letter {name}", "YES"
    dataset.EncapsulatedDocument = _pdf(pages, author=person.doctor)


def _pdf(lines: list[str], *, author: str) -> bytes:
    """A document whose words are placed one by one, as typesetters do, and written in hexadecimal."""
    shown, y = [], 780
    for line in (part for text in lines for part in re.findall(r".{1,88}(?:\s|$)", text) or [""]):
        x = 50.0
        for word in line.split(" "):
            shown.append(f"1 0 0 1 {x:.1f} {y} Tm <{word.encode('cp1252', 'replace').hex()}> Tj")
            x += 5.4 * (len(word) + 1)
        y -= 14
    content = ("BT /F0 9 Tf\n" + "\n".join(shown) + "\nET").encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 842]/Contents 4 0 R/Resources<</Font<</F0 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>",
        b"<</Author(%b)>>" % author.encode("cp1252", "replace"),
    ]
    out, places = b"%PDF-1.5\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 7/Root 1 0 R/Info 6 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    return out + b"xref\n0 7\n0000000000 65535 f \n" + rows + end


def pairs(folder: Path, strings: Iterable[str]) -> int:
    """How many pairs of a file and a string there are below ``folder``: in any byte, or in the name."""
    wanted = [text.casefold() for text in strings]
    found = 0
    for path in (one for one in folder.rglob("*") if one.is_file()):
        text = path.read_bytes().decode("utf-8", "ignore").casefold() + path.relative_to(folder).as_posix().casefold()
        found += sum(one in text for one in wanted)
    return found


def score(output: Path, made: Made) -> dict[str, Any]:
    """Survivors, and the share of clinical words in documents that stayed."""
    patients, kept, words, documents = set(), 0, 0, 0
    for path in sorted((output / "dicom").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        patients.add(str(dataset.PatientID))
        if dataset.SOPClassUID == PDF_CLASS:
            documents += 1
            said = Counter(re.findall(r"\w+", read_pdf(dataset.EncapsulatedDocument).casefold()))
            told = Counter(re.findall(r"\w+", " ".join(_SENTENCES).casefold()))
            kept, words = kept + sum((said & told).values()), words + told.total()
    return {
        "survivors": pairs(output, made.strings),
        "distinct_patients": len(patients),
        "documents_out": documents,
        "words_kept_in_documents": round(kept / words, 4) if words else None,
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.deid.other_hand")
    parser.add_argument("--seed", type=int, default=1912)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="keep cohort and output here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        made = make_cohort(folder / "in", seed=given.seed, files=given.files)
        recipe = build_recipe({"options": [one for one in DEFAULT_OPTIONS if one not in PIXEL_OPTIONS]})
        keyring = derive_keyring(Secret(bytes(range(32))))
        job = run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe, keyring=keyring))
        planted = pairs(folder / "in", made.strings)  # as the same search finds them, so not those in letters
        found = {"files": given.files, "planted": planted, "letters": made.letters, "held_back": job.report["reasons"]}
        json.dump({"seed": given.seed, **found, **score(folder / "out", made)}, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
