"""De-identified documents become objects of text: of an Encapsulated PDF its words, of a structured report its tree.

A researcher gets text and never a PDF or a DICOM file: nothing in the sandbox has to parse what others wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileDataset

from enclave.deid.dates import parse_da
from enclave.deid.plain_pdf import read_pdf
from enclave.deid.quiet import quiet_parsing
from enclave.intake.withheld import Withheld
from enclave.sealed.writer import PlainObject

PDF, REPORT = "pdf", "report"
_PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
_REPORT_CLASSES = "1.2.840.10008.5.1.4.1.1.88."  # PS3.4 B.5: all that hold a content tree
_PLAIN_VALUES = {
    "TEXT": "TextValue",
    "DATE": "Date",
    "TIME": "Time",
    "DATETIME": "DateTime",
    "PNAME": "PersonName",
    "UIDREF": "UID",
}


@dataclass(frozen=True, slots=True)
class Documents:
    """The objects, one index row per document, how many were left out for which reason, and the names of those that do
    not tell what the measured table no longer tells."""

    objects: list[PlainObject] = field(default_factory=list)
    index: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """How many of each form there are, and how many are ``flagged``: their text waits for a person."""
        forms = {form: sum(row["form"] == form for row in self.index) for form in (PDF, REPORT)}
        return {**forms, "flagged": sum(row["flagged"] for row in self.index)}


def is_document(head: Dataset) -> bool:
    """Whether an object is one that leaves as text."""
    sop_class = str(head.get("SOPClassUID") or "")
    return sop_class == _PDF_CLASS or (sop_class.startswith(_REPORT_CLASSES) and "ContentSequence" in head)


def collect_documents(
    folder: Path, *, without: frozenset[str], flagged: Collection[str] | None, withheld: Mapping[str, Withheld] | None
) -> Documents:
    """All documents below ``folder`` (``<patient>/<study>/<series>/*.dcm``) but those of the patients in ``without``.

    ``flagged``: the files, relative to the folder's parent, in which text waits for a person; None: nobody knows, so
    each. ``withheld``: what each measured patient's documents may not tell, and a document of anybody else is left out;
    None when nothing was measured.
    """
    found = Documents()
    for path in sorted(folder.glob("*/*/*/*.dcm")):
        with quiet_parsing():
            head = pydicom.dcmread(path, stop_before_pixels=True)
            if not is_document(head):
                continue
            patient = path.parts[-4]
            if patient in without:
                found.left_out["patient_suppressed"] += 1
            elif withheld is not None and patient not in withheld:
                found.left_out["patient_not_measured"] += 1
            else:
                waits = flagged is None or path.relative_to(folder.parent).as_posix() in flagged
                may_tell = Withheld() if withheld is None else withheld[patient]
                _add(path, head, found, may_tell=may_tell, waits=waits)
    return found


def _add(path: Path, head: FileDataset, found: Documents, *, may_tell: Withheld, waits: bool) -> None:
    form = PDF if head.SOPClassUID == _PDF_CLASS else REPORT
    whole = read_pdf(bytes(head.EncapsulatedDocument)) if form == PDF else "\n".join(_lines(head, depth=0))
    text = (told := may_tell.without(whole)).strip()
    if not text:
        found.left_out["without_text"] += 1
        return
    row = {
        "document": path.stem,
        "patient_id": path.parts[-4],
        "study": path.parts[-3],
        "accession_number": str(head.get("AccessionNumber") or ""),
        "study_date": parse_da(str(head.get("StudyDate") or "")),
        "modality": str(head.get("Modality") or ""),
        "form": form,
        "flagged": waits or form == PDF,  # no document of free text is beyond doubt
    }
    header = {name: row[name] for name in ("modality", "form", "flagged")}
    name = f"documents/{path.stem}"
    if told != whole:
        found.changed.add(name)
    found.objects.append(PlainObject(name=name, kind="document", header=header, chunks=f"{text}\n".encode()))
    found.index.append(row)


def _lines(item: Dataset, *, depth: int) -> Iterator[str]:
    """A content tree (PS3.3 C.17.3) as indented lines of name and value."""
    value, name = _value(item), _meaning(item, "ConceptNameCodeSequence")
    line = ": ".join(filter(None, (name, value)))
    if line:
        yield "  " * depth + line
    for child in item.get("ContentSequence") or ():
        yield from _lines(child, depth=depth + 1)


def _value(item: Dataset) -> str:
    kind = str(item.get("ValueType") or "")
    if kind == "CODE":
        return _meaning(item, "ConceptCodeSequence")
    if kind == "NUM":
        return "; ".join(filter(None, map(_measured, item.get("MeasuredValueSequence") or ())))
    referred = item.get("ReferencedSOPSequence")
    if referred:
        return str(referred[0].get("ReferencedSOPInstanceUID") or "")
    return str(item.get(_PLAIN_VALUES.get(kind, ""), "") or "")


def _measured(value: Dataset) -> str:
    number = str(value.get("NumericValue") or "")
    return " ".join(filter(None, (number, _meaning(value, "MeasurementUnitsCodeSequence"))))


def _meaning(item: Dataset, name: str) -> str:
    codes = item.get(name)
    return str(codes[0].get("CodeMeaning") or codes[0].get("CodeValue") or "") if codes else ""
