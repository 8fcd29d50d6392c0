"""A PDF in another script than the Latin one leaves with the words that the vocabulary knows, and no others."""

from __future__ import annotations

import html
import io
import subprocess
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import all_bytes, encoded, instance
from hypothesis import given
from hypothesis import strategies as st
from optional import need
from pydicom.uid import UID
from pypdf import PdfReader

from enclave.deid.check import check_output
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.plain_pdf import WIDTH, has_other_script, read_pdf, share_shown, write_pdf
from enclave.deid.recipe import Recipe, build_recipe
from enclave.deid.table import vocabulary
from enclave.deid.words import Words

PDF_CLASS = UID("1.2.840.10008.5.1.4.1.1.104.1")
# Each a text with names, dates and numbers of people who do not exist; what leaves; what does not.
TEXTS = {
    "Russian": (
        [
            "Пациент: Зинаида Орлова, 12.03.1961, карта 48104488",
            "Брюшная полость и печень без изменений, 93 года, плечо норма, сообщено орловой. Врач Бреккебиев.",
        ],
        ["Брюшная полость", "печень без", "плечо"],
        ["орлов", "бреккебиев", "1961", "48104488", "93", "пациент"],
    ),
    "Greek": (
        [
            "Ασθενής: Ίων Ζαναρίδης, 48104488, 91 ετών",
            "Αξονική θώρακος με σκιαγραφικό. Ο Ζαναρίδης ενημερώθηκε σήμερα.",
        ],
        ["Αξονική θώρακος με σκιαγραφικό"],
        ["ζαναρ", "ίων", "48104488", "91"],
    ),
    "Chinese": (
        [
            "患者王小伟 1961年3月12日 病历号48104488 住院",
            "胸部 平扫 增强 膝关节 报告医师王小伟 已通知患者本人并建议随访复查",
        ],
        ["平扫", "增强", "膝关节"],
        ["王小伟", "1961", "48104488"],
    ),
    "Japanese": (
        [
            "患者 大和田サキ 1961年3月12日生 番号48104488",
            "腹部 単純 造影 断層 担当医 大和田ケンジが患者に説明しました 位置決め",
        ],
        ["腹部", "単純", "造影", "断層", "位置決め"],
        ["大和田", "サキ", "ケンジ", "1961", "48104488"],
    ),
    "Korean": (
        ["환자 오르세윤 1961년 3월 12일 번호 48104488", "복부 조영 측면 흉추 검사 판독의 브레케비가 환자에게 설명함"],
        ["복부", "조영", "측면", "흉추"],
        ["오르세윤", "브레케비", "1961", "48104488"],
    ),
}


def run(folder: Path, document: bytes, keyring: Keyring, recipe: Recipe | None = None) -> Any:
    ds = instance(Modality="DOC", StudyDate="20230512")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = PDF_CLASS
    ds.MIMETypeOfEncapsulatedDocument, ds.BurnedInAnnotation = "application/pdf", "YES"
    ds.EncapsulatedDocument, ds.EncapsulatedDocumentLength = document, len(document)
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.dcm").write_bytes(encoded(ds))
    return run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe or Recipe(), keyring=keyring))


def left(folder: Path) -> str:
    """The text of the one document that left, as somebody else reads it."""
    (path,) = (folder / "out").rglob("*.dcm")
    clean = pydicom.dcmread(path)
    document = bytes(clean.EncapsulatedDocument)[: clean.EncapsulatedDocumentLength]
    seen = " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(document)).pages).split())
    assert seen == " ".join(read_pdf(document).split())
    return seen


@pytest.mark.row("S13.2")
@pytest.mark.parametrize(
    ("language", "long_text"), [("Russian", "detectors"), *((language, "vocabulary") for language in TEXTS)]
)
def test_known_words_leave_and_no_others(language: str, long_text: str, keyring: Keyring, tmp_path: Path) -> None:
    lines, kept, gone = TEXTS[language]
    job = run(tmp_path, write_pdf([lines]), keyring, build_recipe({"long_text": long_text}))
    assert job.report["reasons"] == {}
    text = left(tmp_path)
    for word in kept:
        assert word in text
    data = all_bytes(tmp_path / "out")
    for word in gone:
        assert word not in text.casefold()
        assert word.encode("utf-16-be") not in data
    recipe = build_recipe({"long_text": long_text})
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=recipe)["ok"]


@pytest.mark.slow
def test_so_it_is_with_a_document_that_a_browser_printed(keyring: Keyring, tmp_path: Path) -> None:
    """Of its fonts only the parts that are shown are in it, and a table of what they mean."""
    lines, kept, gone = TEXTS["Russian"]
    page, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text("<meta charset=utf-8>" + "".join(f"<p>{html.escape(line)}</p>" for line in lines), "utf-8")
    asked = [need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    asked += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer"]
    subprocess.run([*asked, f"--print-to-pdf={printed}", page.as_uri()], check=True, capture_output=True, timeout=60)
    assert run(tmp_path / "run", printed.read_bytes(), keyring).report["reasons"] == {}
    text = left(tmp_path / "run")
    assert all(word in text for word in kept)
    assert not any(word in text.casefold() for word in gone)


@pytest.mark.parametrize("text", ["المريض فحص الصدر بالأشعة المقطعية", "החולה נבדק בבית החולים", "ผู้ป่วยได้รับการตรวจ"])
def test_a_script_without_a_vocabulary_or_a_font_is_held_back(text: str, keyring: Keyring, tmp_path: Path) -> None:
    font = b"<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UCS2-H"
    document = write_pdf([["печень " * 20]])
    shown = f"{text} {text}".encode("utf-16-be").translate(None, delete=b"\\()\n\r")
    assert font in document
    start, end = document.index(b"/F2 9 Tf ("), document.index(b"ET\n")
    made = document[:start] + (b"/F2 9 Tf (" + shown + b") Tj T*\n").ljust(end - start, b" ") + document[end:]
    assert run(tmp_path, made, keyring).report["reasons"] == {"document_unreadable": 1}


def test_of_which_scripts_there_is_a_font_is_known() -> None:
    assert all(share_shown("".join(lines)) == 1 for lines, _, _ in TEXTS.values())
    assert share_shown("المريض") == share_shown("החולה") == 0
    assert all(has_other_script("".join(lines)) for lines, _, _ in TEXTS.values())
    assert not has_other_script("a nodule of 3 µm, β, in Łódź")


LETTERS = st.sampled_from("abc ()\\éß≥-1") | st.characters(min_codepoint=0x391, max_codepoint=0x44F)
LETTERS |= st.sampled_from("膝关节断層位置決め복부조\u4e0a\u0a0d\u5c28\u280d\u2e5c")  # of which bytes look like marks


@given(st.lists(st.lists(st.text(LETTERS, max_size=160), max_size=9), max_size=4))
def test_what_was_written_can_be_read_in_any_script(pages: list[list[str]]) -> None:
    document = write_pdf(pages)
    written = " ".join(line for page in pages for line in page)
    if share_shown(written) == 1 and max(map(len, written.split()), default=0) <= WIDTH // 2:
        assert read_pdf(document).replace("?", "").split() == written.replace("≥", "").split() or "≥" in written
    reader = PdfReader(io.BytesIO(document), strict=True)
    assert sum(1 for _ in reader.pages) >= max(1, len(pages))


@pytest.mark.parametrize("text", ["93 года", "ηλικία 91 ετών", "возраст 90", "95 лет"])
def test_an_age_of_the_oldest_goes_in_other_scripts_too(text: str) -> None:
    assert not any(char.isdigit() for char in Words(vocabulary()).keep(text))
