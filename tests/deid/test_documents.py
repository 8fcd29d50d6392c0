"""A PDF leaves as a new one with cleaned text and nothing else of the old one; what cannot be read is held back."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import all_bytes, encoded, instance
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pypdf import PdfReader

from benchmarks.deid.pdf_pages import make_pdf
from enclave.deid import documents, fork_client
from enclave.deid.check import check_output
from enclave.deid.check_texts import recorded_texts, running_text
from enclave.deid.documents import cleaned_pdf
from enclave.deid.fork_client import client_of
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.plain_pdf import WIDTH, read_pdf, share_written, write_pdf
from enclave.deid.reasons import Quarantined
from enclave.deid.recipe import Recipe, build_recipe

PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
SERVER = "enclave.deid.document_process"
PATIENT, NUMBER = "Zanaryquist^Ida", "MRN48104488"
PAGES = [
    ["Patient: Zanaryquist, Ida   MRN48104488", "Report of 2023-05-12", ""],
    ["Findings: there is a small pleural effusion on the left without change.",
     "No evidence of Hodgkin lymphoma at L5-S1.",
     "The images were discussed with Dr. Oswinthal Brekkeby by telephone; Zana-", "ryquist was informed."],
]  # fmt: skip
HIDDEN = "Velkomar told by Oswinthal"


def holding(
    document: bytes, *, sop_class: str = PDF_CLASS, mime: str = "application/pdf", syntax: UID | None = None
) -> Dataset:
    ds = instance(Modality="DOC", StudyDate="20230512", PatientName=PATIENT, PatientID=NUMBER)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    ds.MIMETypeOfEncapsulatedDocument, ds.DocumentTitle = mime, f"Report of {PATIENT}"
    ds.BurnedInAnnotation, ds.EncapsulatedDocumentLength = "YES", len(document)
    ds.EncapsulatedDocument = document
    return ds


def run(folder: Path, ds: Dataset, keyring: Keyring, recipe: Recipe | None = None) -> Any:
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.dcm").write_bytes(encoded(ds))
    return run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe or Recipe(), keyring=keyring))


def only(folder: Path) -> pydicom.FileDataset:
    (path,) = (folder / "out").rglob("*.dcm")
    return pydicom.dcmread(path)


@pytest.mark.row("S13.2")
@pytest.mark.parametrize("long_text", ["detectors", "vocabulary"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_text_of_a_pdf_leaves_cleaned_and_nothing_else_of_it(
    syntax: UID, long_text: str, keyring: Keyring, tmp_path: Path
) -> None:
    recipe = build_recipe({"long_text": long_text})
    job = run(tmp_path, holding(make_pdf(PAGES, hidden=HIDDEN), syntax=syntax), keyring, recipe)
    assert job.report["reasons"] == {}
    clean = only(tmp_path)
    document = bytes(clean.EncapsulatedDocument)[: clean.EncapsulatedDocumentLength]
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(document)).pages)
    for gone in ("Zanaryquist", "48104488", "Oswinthal", "Brekkeby", "Velkomar", "ryquist"):
        assert gone.lower() not in text.lower()
        assert gone.lower().encode() not in all_bytes(tmp_path / "out").lower()
    assert not {"ida", "zana", "2023"} & set(re.findall(r"\w+", text.lower()))
    for kept in ("small pleural effusion", "left without change", "Hodgkin lymphoma at L5-S1"):
        assert kept in " ".join(text.split())
    assert (clean.MIMETypeOfEncapsulatedDocument, clean.BurnedInAnnotation) == ("application/pdf", "NO")
    assert not set(PdfReader(io.BytesIO(document)).trailer["/Root"]) - {"/Type", "/Pages"}
    for part in (b"/JavaScript", b"/EmbeddedFile", b"/AcroForm", b"/Metadata", b"/Info", b"/Image", b"/Annots"):
        assert part not in document


def test_a_document_waits_for_a_person_who_reads_what_leaves(keyring: Keyring, tmp_path: Path) -> None:
    run(tmp_path, holding(make_pdf(PAGES)), keyring)
    checked = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=Recipe())
    assert checked["ok"], checked["checks"]
    (shown,) = [item for item in checked["review_sample"] if item.endswith("#text")]
    name = shown.partition("#")[0]
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    assert {"tag": "00420011", "reason": "review"} in json.loads(row["redactions"])
    assert "pypdf" in json.loads(row["tools"])
    text = running_text(tmp_path / "out" / name, tags=recorded_texts(tmp_path / "out" / "provenance.parquet")[name])
    assert "pleural effusion" in text
    assert "anaryquist" not in text


def test_the_same_document_and_key_give_the_same_bytes(keyring: Keyring, tmp_path: Path) -> None:
    for name in ("one", "other"):
        run(tmp_path / name, holding(make_pdf(PAGES, hidden=HIDDEN)), keyring)
    one, other = (next((tmp_path / name / "out").rglob("*.dcm")).read_bytes() for name in ("one", "other"))
    assert one == other


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (make_pdf([[], []], hidden=HIDDEN), "document_without_text"),
        (make_pdf([["of three pages one has text"], [], []]), "document_without_text"),
        (make_pdf(PAGES, encrypted=True), "document_unreadable"),
        (b"%PDF-1.4 (Zanaryquist) %%EOF", "document_unreadable"),
        (b"Zanaryquist", "document_unreadable"),
        (make_pdf(PAGES)[:400], "document_unreadable"),
        (make_pdf([["word"]] * 501), "document_unreadable"),
        (make_pdf([["some words before", "x" * 4_001]]), "document_unreadable"),
    ],
    ids=["scan", "mostly scan", "encrypted", "no pdf", "words", "truncated", "too many pages", "endless word"],
)
def test_a_pdf_that_cannot_be_cleaned_is_held_back(
    document: bytes, reason: str, keyring: Keyring, tmp_path: Path
) -> None:
    job = run(tmp_path, holding(document), keyring)
    assert job.report["reasons"] == {reason: 1}
    assert b"anaryquist" not in all_bytes(tmp_path / "out")


@pytest.mark.parametrize(
    ("sop_class", "mime"),
    [
        ("1.2.840.10008.5.1.4.1.1.104.2", "text/XML"),
        ("1.2.840.10008.5.1.4.1.1.104.3", "model/stl"),
        (PDF_CLASS, "text/html"),
        ("1.2.840.10008.5.1.4.1.1.7", "application/pdf"),
    ],
)
def test_other_documents_are_held_back(sop_class: str, mime: str, keyring: Keyring, tmp_path: Path) -> None:
    job = run(tmp_path, holding(make_pdf(PAGES), sop_class=sop_class, mime=mime), keyring)
    assert job.report["reasons"] == {"encapsulated_document": 1}


def test_without_the_option_for_free_text_no_document_leaves(keyring: Keyring, tmp_path: Path) -> None:
    recipe = build_recipe({"options": ["retain_modified_dates"]})
    job = run(tmp_path, holding(make_pdf(PAGES)), keyring, recipe)
    assert job.report["reasons"] == {"encapsulated_document": 1}


# ── the process that reads ──────────────────────────────────────────────────


@pytest.fixture
def with_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Starts the process with other code in the place of the reader."""

    def start(body: str) -> None:
        head = "import os, signal, sys, time, enclave.deid.document_process as one"
        code = f"{head}\ndef read(request, *, value, answer):\n    {body}\none.read_pages = read\none.main()\n"
        script = tmp_path / "stand_in.py"
        script.write_text(code, "utf-8")
        real = fork_client.subprocess.Popen
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(fork_client, "_clients", {})
        monkeypatch.setattr(
            fork_client.subprocess,
            "Popen",
            lambda command, **more: real([command[0], str(script), command[-1]], **more),
        )

    yield start
    client_of(SERVER).end()


@pytest.mark.parametrize(
    "body",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os._exit(0)",
        "held = bytearray(4 << 30)",
        "os.write(answer, b'[1, 2]')",
        "os.write(answer, b'{}')",
        "os.write(answer, b'[' * 100000)",
        "[os.write(answer, bytes(1 << 16)) for _ in range(1000)]",
        "open('written', 'wb', 0).write(b'x')",
        "os.write(answer, b'[\"' + open('/etc/hostname', 'rb').read(1) + b'\"]')",
    ],
    ids=["crash", "no answer", "memory", "numbers", "another form", "nested", "too much", "a file", "another's file"],
)
def test_a_reader_that_goes_wrong_holds_the_document_back(body: str, with_reader: Any, tmp_path: Path) -> None:
    with_reader(body)
    with pytest.raises(Quarantined) as verdict:
        cleaned_pdf(("OB", make_pdf(PAGES)), clean=str)
    assert verdict.value.reason == "document_unreadable"
    assert not (tmp_path / "written").exists()


def test_the_reader_loads_no_codec_and_no_cipher_and_finds_no_program() -> None:
    code = (
        "import shutil, sys, enclave.deid.document_process as one, enclave.deid.fork_server as server\n"
        "def serve(*_, libraries, **__):\n"
        "    server._load(libraries)\n"
        "    loaded = [name for name, module in sys.modules.items() if module is not None]\n"
        "    print(shutil.which('sh'), [name for name in loaded if name.split('.')[0] in ('PIL', 'cryptography')])\n"
        "one.serve = serve\n"
        "one.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "None []"


def test_a_reader_that_hangs_is_ended(with_reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_SECONDS", 1.0)
    with_reader("while True: pass")
    with pytest.raises(Quarantined):
        cleaned_pdf(("OB", make_pdf(PAGES)), clean=str)
    assert client_of(SERVER)._running is None


def test_a_reader_that_works_on_after_too_much_is_ended(with_reader: Any) -> None:
    with_reader("for _ in range(257): os.write(answer, bytes(1 << 16))\n    while True: pass")
    with pytest.raises(Quarantined):
        cleaned_pdf(("OB", make_pdf(PAGES)), clean=str)
    running = client_of(SERVER)._running
    assert running is not None
    forks = Path(f"/proc/{running[0].pid}/task/{running[0].pid}/children")
    end = time.monotonic() + 10
    while forks.read_text("ascii") and time.monotonic() < end:
        time.sleep(0.01)
    assert forks.read_text("ascii") == ""


def test_after_a_crash_of_the_process_the_next_document_is_read() -> None:
    cleaned_pdf(("OB", make_pdf(PAGES)), clean=str)
    running = client_of(SERVER)._running
    assert running is not None
    os.kill(running[0].pid, signal.SIGKILL)
    running[0].wait()
    assert cleaned_pdf(("OB", make_pdf(PAGES)), clean=str)


def test_more_text_than_anybody_reads_is_held_back() -> None:
    with pytest.raises(Quarantined) as verdict:
        cleaned_pdf(("OB", make_pdf([["xxxx " * 2_000] * 110])), clean=str)
    assert verdict.value.reason == "document_unreadable"


# ── any document ────────────────────────────────────────────────────────────

WHOLE = make_pdf(PAGES, hidden=HIDDEN)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE)), st.binary(max_size=8), st.integers(0, 12)), min_size=1, max_size=6)
)
def test_a_damaged_document_is_read_or_held_back_and_carries_nothing_over(
    damages: list[tuple[int, bytes, int]],
) -> None:
    document = WHOLE
    for at, new, gone in damages:
        document = document[:at] + new + document[at + gone :]
    try:
        clean = cleaned_pdf(("OB", document), clean=lambda block: "REMOVED " * len(block.split()))
    except Quarantined as verdict:
        assert verdict.reason in ("document_unreadable", "document_without_text")
        return
    words = set(read_pdf(clean).split())
    assert words <= {"REMOVED", *documents._HEAD.split(), *documents._NO_TEXT.split()}
    assert b"Velkomar" not in clean


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_document_or_held_back(data: bytes, begun: bool) -> None:
    try:
        cleaned_pdf(("OB", b"%PDF-1.7\n" + data if begun else data), clean=str)
    except Quarantined as verdict:
        assert verdict.reason in ("document_unreadable", "document_without_text")


LINES = st.lists(st.text(st.characters(codec="cp1252", exclude_categories=["C"]), max_size=200), max_size=80)


@given(st.lists(LINES, max_size=4))
def test_what_was_written_can_be_read_and_is_shown_whole(pages: list[list[str]]) -> None:
    document = write_pdf(pages)
    assert document == write_pdf(pages)
    assert read_pdf(document).split() == " ".join(line for page in pages for line in page).split() or any(
        len(word) > WIDTH for page in pages for line in page for word in line.split()
    )
    reader = PdfReader(io.BytesIO(document), strict=True)
    assert len(reader.pages) >= max(1, len(pages))


@given(st.text(max_size=200))
def test_of_any_text_the_share_that_can_be_written_is_known(text: str) -> None:
    assert 0.0 <= share_written(text) <= 1.0
    write_pdf([[text]])


@given(st.text(max_size=300))
def test_blocks_hold_every_word_of_a_page(page: str) -> None:
    readable = documents._readable(page)
    assert " ".join(documents._blocks(readable)).split() == readable.split()


@given(st.lists(st.text("ab1 \t", min_size=1, max_size=30), max_size=8), st.sampled_from([5, 40]))
def test_no_word_is_cut_whatever_the_length_of_its_line(lines: list[str], limit: int) -> None:
    page = "\n".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_BLOCK_CHARS", limit)
        try:
            found = documents._blocks(page)
        except Quarantined as verdict:
            assert verdict.reason == "document_unreadable"
            assert max(map(len, page.split())) >= limit
            return
    assert [word for block in found for word in block.split()] == page.split()
    assert all(len(block) <= limit for block in found)


@pytest.mark.parametrize("before", range(3_988, 4_001))
def test_a_number_at_the_end_of_a_block_is_judged_whole(before: int) -> None:
    line = ("finding " * 500)[: before - 1] + " 48104488 was seen again in the clinic"
    blocks = documents._blocks(line)
    assert len(blocks) == 2
    assert sum("48104488" in block.split() for block in blocks) == 1


def test_a_script_that_cannot_be_written_is_known() -> None:
    assert share_written("Заключение без изменений") == 0.0
    assert share_written("Befund unverändert, ≥ 3 mm") == 1.0
