"""Plants identifiers wherever a file can hold them, and notes what must go and what must stay."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from benchmarks.deid.narratives import narrate
from benchmarks.deid.pdf_pages import make_pdf
from benchmarks.deid.people import Person, plain
from benchmarks.deid.phrases import EPONYMS, MAKERS, PHRASES, REGIONS, TECHNIQUE
from benchmarks.deid.table import listed_tags
from benchmarks.deid.truth import FileTruth, Where

Uid = Callable[..., str]
_TEXT = {"LO": 64, "SH": 16, "ST": 1024, "LT": 10240, "UT": 20000, "UC": 2000}
_BUSY_GROUPS = (0x0002, 0x0004, 0x0028, 0x7FE0, 0x5400, 0x0006, 0x0000, 0x1000, 0x1010, 0xFFFA, 0xFFFC, 0xFFFE)
_SET_ELSEWHERE = (
    "PixelData SpecificCharacterSet Modality SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID "
    "BurnedInAnnotation FrameOfReferenceUID PatientName PatientID AccessionNumber StudyID ImageType "
    "PatientIdentityRemoved ValueType DeidentificationMethod LongitudinalTemporalInformationModified "
    "EncapsulatedDocument StudyTime SeriesTime ContentTime StudyDate SeriesDate AcquisitionDate ContentDate "
    "PatientSex PatientBirthDate StudyDescription SeriesDescription ProtocolName Manufacturer "
    "ManufacturerModelName SoftwareVersions ConvolutionKernel BodyPartExamined ContentSequence ContrastBolusAgent "
    "InstitutionName StationName DeviceSerialNumber ReferringPhysicianName OperatorsName "
    "InstitutionalDepartmentName OtherPatientIDs MIMETypeOfEncapsulatedDocument TimezoneOffsetFromUTC "
)


@dataclass(slots=True)
class Place:
    """One file while it is made. The methods set an attribute and note what is expected of it."""

    dataset: FileDataset
    truth: FileTruth
    person: Person
    rng: random.Random
    tokens: set[str]

    def text(self, keyword: str, value: str, *, gone: str) -> None:
        setattr(self.dataset, keyword, value)
        self.truth.removed.append(([tag_for_keyword(keyword) or 0], gone))

    def uid(self, keyword: str, value: str) -> None:
        setattr(self.dataset, keyword, value)
        self.truth.uids.append(([tag_for_keyword(keyword) or 0], value))
        self.truth.filled.append([tag_for_keyword(keyword) or 0])

    def date(self, keyword: str, value: str) -> None:
        setattr(self.dataset, keyword, value)
        self.truth.dates.append(([tag_for_keyword(keyword) or 0], value))

    def keep(self, keyword: str, value: object) -> None:
        setattr(self.dataset, keyword, value)
        self.truth.retained.append(([tag_for_keyword(keyword) or 0], as_text(value)))

    def token(self) -> str:
        """A word that stands nowhere else: a name of somebody whom no identity attribute names."""
        made = "".join(self.rng.choice(pair) for pair in ("BCDFGKLMPRTVXZ", "aeiouy") * 4) + self.rng.choice("kxqz")
        self.tokens.add(made)
        return made

    def spelling(self) -> str:
        return self.rng.choice(self.person.spellings())


def as_text(value: object) -> str:
    """How ground truth and output are compared: values joined by backslashes."""
    many = value if isinstance(value, list | tuple) else [value]
    return "\\".join(f"{float(v):g}" if isinstance(v, float) else str(v) for v in many)


def describe(place: Place, modality: str) -> None:
    """Descriptions with identifiers beside clinical words, and the technical attributes of the modality."""
    rng = place.rng
    for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName"):
        own = place.person.surname.upper()  # an eponym that is this patient's name has to go
        phrase, said = rng.choice([one for one in PHRASES[modality] if own not in one.split()]), place.spelling()
        whole = f"{phrase} {said}" if rng.random() < 0.6 else f"{said} {phrase}"
        if len(whole) > 64 or rng.random() < 0.3:
            whole, said = phrase, ""
        setattr(place.dataset, keyword, whole)
        tag = tag_for_keyword(keyword) or 0
        place.truth.words.append(([tag], phrase))
        if len(said) >= 5:
            place.truth.removed.append(([tag], said))
    maker, model, software, kernel = rng.choice(MAKERS[modality])
    for keyword, value in (("Manufacturer", maker), ("ManufacturerModelName", model), ("SoftwareVersions", software)):
        place.keep(keyword, value)
    if kernel:
        place.keep("ConvolutionKernel", kernel)
    place.keep("BodyPartExamined", rng.choice(REGIONS))
    for keyword, value in TECHNIQUE[modality].items():
        place.keep(keyword, value)


@functools.cache
def _listed() -> tuple[tuple[int, str], ...]:
    skipped = {tag_for_keyword(name) for name in _SET_ELSEWHERE.split()}
    return tuple(
        (tag, dictionary_VR(tag))
        for tag in listed_tags()
        if tag in DicomDictionary and tag not in skipped and tag >> 16 not in (0x0002, 0x0004, 0x1000, 0x0000)
    )


@functools.cache
def _unlisted() -> tuple[tuple[int, str], ...]:
    listed, skipped = set(listed_tags()), {tag_for_keyword(name) for name in _SET_ELSEWHERE.split()}
    technique = {tag_for_keyword(name) for values in TECHNIQUE.values() for name in values}
    wanted = (*_TEXT, "PN", "AE", "UR", "CS")
    return tuple(
        (tag, entry[0])
        for tag, entry in sorted(DicomDictionary.items())
        if entry[0] in wanted and tag not in listed | skipped | technique and tag >> 16 not in _BUSY_GROUPS
    )


def set_rows(place: Place, *, turn: int, share: int, uid: Uid) -> None:
    """This file's part of Table E.1-1, so that all files of a patient hold every row."""
    for tag, vr in _listed()[turn % share :: share]:
        if tag not in place.dataset:
            _set(place, place.dataset, [], tag, vr, uid)


def set_unlisted(place: Place, *, uid: Uid) -> None:
    """Text attributes that the table does not list, and those known to leak."""
    chosen = place.rng.sample(_unlisted(), 14)
    for tag, vr in (*chosen, (0x00281055, "LO"), (0x00181160, "SH"), (0x00420010, "ST")):
        if tag not in place.dataset:
            _set(place, place.dataset, [], tag, vr, uid)


def _set(  # noqa: C901 - one branch per representation
    place: Place, dataset: Dataset, above: Where, tag: int, vr: str, uid: Uid
) -> None:
    where, rng = [*above, tag], place.rng
    vr = vr.partition(" ")[0]
    if vr in _TEXT:
        _set_text(place, dataset, where, vr)
    elif vr == "PN":
        name = f"{place.token()}^{place.token()}"
        dataset.add_new(tag, vr, name)
        place.truth.removed += [(where, part) for part in name.split("^")]
    elif vr in ("CS", "AE"):
        word = place.token().upper()
        dataset.add_new(tag, vr, word)
        place.truth.removed.append((where, word))
    elif vr == "UR":
        word = place.token().lower()
        dataset.add_new(tag, vr, f"https://{word}.example/{place.person.mrn}")
        place.truth.removed.append((where, word))
    elif vr == "UI":
        made = uid(tag, rng.randrange(10**9))
        dataset.add_new(tag, vr, made)
        place.truth.uids.append((where, made))
    elif vr in ("DA", "DT", "TM"):
        made = f"{2000 + rng.randrange(20)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
        value = {"DA": made, "DT": f"{made}101530.5", "TM": "101530"}[vr]
        dataset.add_new(tag, vr, value)
        if vr != "TM":
            place.truth.dates.append((where, value))
    elif vr == "SQ":
        _set_item(place, dataset, where, uid)
    elif vr in ("OB", "OW", "UN"):
        dataset.add_new(tag, "OB", f"x {place.person.mrn} {place.person.surname} {place.token()} ".encode())
    elif vr == "AS":
        dataset.add_new(tag, vr, "093Y")


def _set_text(place: Place, dataset: Dataset, where: Where, vr: str) -> None:
    said = place.token() if place.rng.random() < 0.5 else place.spelling()
    value = place.rng.choice(("{}", "pt {}", "{} CHEST", "see {} report", "{}")).format(said)
    if vr == "SH":
        value = said
    value = value[: _TEXT[vr]]
    dataset.add_new(where[-1], vr, value)
    if said in value and len(said) >= 5:
        place.truth.removed.append((where, said))


def _set_item(place: Place, dataset: Dataset, where: Where, uid: Uid) -> None:
    item = Dataset()
    dataset.add_new(where[-1], "SQ", Sequence([item]))
    for tag, vr in ((0x00080090, "PN"), (0x00081030, "LO"), (0x00081155, "UI"), (0x00400555, "SQ")):
        if len(where) < 7 or vr != "SQ":
            _set(place, item, [*where, 0], tag, vr, uid)


def hide(place: Place, *, number: int) -> None:
    """Private blocks, private sequences as UN, overlays, curves, numbers, comments in all spellings, padding."""
    ds, person = place.dataset, place.person
    said = [text for text in person.spellings() if len(text) >= 5]
    place.rng.shuffle(said)
    for keyword, part in (
        ("PatientComments", said[:4]),
        ("ImageComments", said[4:7]),
        ("AdditionalPatientHistory", said[7:9]),
    ):
        value = "; ".join(part)
        setattr(ds, keyword, value)
        place.truth.removed += [([tag_for_keyword(keyword) or 0], text) for text in part]
    block = ds.private_block(0x0029, f"ACME {place.token()}", create=True)
    block.add_new(0x01, "LO", person.pn.partition("=")[0])
    block.add_new(0x02, "OB", f"<ascconv> {person.mrn} {person.surname} </ascconv> ".encode())
    block.add_new(0x03, "UN", _sequence_bytes(person))
    inner = Dataset()
    inner.PatientComments = place.token()
    block.add_new(0x04, "SQ", Sequence([inner]))
    safe = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
    safe.add_new(0x39, "IS", ["800", "0", "0", "0"])
    place.truth.retained.append(([0x00431039], "800\\0\\0\\0"))
    siemens = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    siemens.add_new(0x0C, "IS", "1000")
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60000011, "US", 8)
    ds.add_new(0x60000022, "LO", f"{person.surname if person.surname.isascii() else ''} {place.token()}")
    ds.add_new(0x60001500, "LO", place.token())
    ds.add_new(0x60003000, "OB", f"{person.mrn} {place.token()} ".encode())
    ds.add_new(0x60024000, "LT", place.token())
    ds.add_new(0x50003000, "OB", f"{person.mrn} {place.token()} ".encode())
    ds.add_new(0x50000022, "LO", place.token())
    if number % 3 == 0:
        ds.AcquisitionNumber = str(int(person.mrn[3:]))
        place.truth.removed.append(([0x00200012], person.mrn[3:]))
    if number % 4 == 0:
        ds.add_new(0xFFFCFFFC, "OB", f"pad {person.mrn} {person.national} {place.token()} ".encode())


def _sequence_bytes(person: Person) -> bytes:
    """A sequence in implicit VR inside of UN, as gateways make of a private SQ (PS3.5 6.2.2)."""
    name = person.mrn.encode() + b" " * (len(person.mrn) % 2)
    element = b"\x10\x00\x20\x00" + len(name).to_bytes(4, "little") + name
    return b"\xfe\xff\x00\xe0" + len(element).to_bytes(4, "little") + element


def set_image(place: Place, modality: str, values: np.ndarray[Any, Any]) -> None:
    """Native pixels and the attributes that say how to show them."""
    ds = place.dataset
    place.keep("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"] if modality == "CT" else ["ORIGINAL", "PRIMARY"])
    for keyword, value in (
        ("Rows", values.shape[0]),
        ("Columns", values.shape[1]),
        ("SamplesPerPixel", 1),
        ("BitsAllocated", 16),
        ("PhotometricInterpretation", "MONOCHROME2"),
        ("BitsStored", 12),
        ("HighBit", 11),
        ("PixelRepresentation", 0),
    ):
        place.keep(keyword, value)
    if ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2":
        values = values.byteswap()
    ds.add_new(0x7FE00010, "OW", values.tobytes())


def set_document(place: Place, *, scanned: bool) -> None:
    """A PDF with words in all its hiding places: a report about the patient, or a scan, which nobody can clean."""
    ds, person, rng = place.dataset, place.person, place.rng
    surname, given = plain(person.surname), plain(person.given)
    stranger, other, hidden = place.token(), place.token(), place.token()
    phrase = rng.choice([one for one in EPONYMS if surname.lower() not in one.lower()])
    pages = [
        [f"Name: {surname}, {given}    MRN: {person.mrn}", f"Born: {person.birth:%d.%m.%Y}", person.hospital, ""],
        [
            f"There is a nodule in the left lung and no evidence of {phrase} in any of the images.",
            f"The findings were discussed with Dr. {stranger} {other} by telephone, and Mrs {surname}",
            f"agreed to the follow up. The patient was brought in by {other} from {person.town}.",
        ],
    ]
    ds.EncapsulatedDocument = make_pdf([[], []] if scanned else pages, hidden=f"{hidden} {surname} {person.mrn}")
    ds.EncapsulatedDocumentLength = len(ds.EncapsulatedDocument)
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"


def set_report(place: Place, *, uid: Uid, narrated: bool = False) -> None:
    """A structured report: coded concepts stay, names, dates and text in it go; sentences of it where ``narrated``."""
    person, ds = place.person, place.dataset
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = Sequence([_code("126000", "DCM", "Imaging Measurement Report")])
    observer = _content("PNAME", _code("121008", "DCM", "Person Observer Name"))
    observer.PersonName = person.physician
    finding = _content("TEXT", _code("121071", "DCM", "Finding"))
    token = place.token()
    finding.TextValue = f"Nodule in left lung of {token}, {place.spelling()}"
    length = _content("NUM", _code("410668003", "SCT", "Length"))
    value = Dataset()
    value.NumericValue = "12.5"
    value.MeasurementUnitsCodeSequence = Sequence([_code("mm", "UCUM", "millimeter")])
    length.MeasuredValueSequence = Sequence([value])
    image = _content("UIDREF", _code("112039", "DCM", "Tracking Identifier"))
    image.UID = uid("track", place.rng.randrange(10**9))
    group = _content("CONTAINER", _code("125007", "DCM", "Measurement Group"))
    group.ContentSequence = Sequence([length, image])
    root = tag_for_keyword("ContentSequence") or 0
    report = _content("TEXT", _code("121073", "DCM", "Impression"))
    if narrated:
        strangers = place.token(), place.token()
        where = [root, 3, 0x0040A160]
        narrate(report, where, truth=place.truth, person=person, rng=place.rng, strangers=strangers)
    ds.ContentSequence = Sequence([observer, finding, group, *([report] if narrated else [])])
    place.truth.removed += [
        ([root, 0, 0x0040A123], person.physician.partition("^")[0]),
        ([root, 1, 0x0040A160], token),
    ]
    place.truth.uids.append(([root, 2, root, 1, 0x0040A124], str(image.UID)))
    place.truth.retained.append(([root, 2, root, 0, 0x0040A300, 0, 0x0040A30A], "12.5"))
    place.truth.retained.append(([root, 2, 0x0040A043, 0, 0x00080100], "125007"))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _content(kind: str, concept: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = Sequence([concept])
    return item
