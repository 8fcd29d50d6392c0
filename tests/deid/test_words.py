"""Which words stay: clinical ones in several languages, technique and devices; never names, ages over 89, dates."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from enclave.deid.compounds import is_code, is_compound, is_version
from enclave.deid.harvest import Harvest
from enclave.deid.job import JobSpec, run_job
from enclave.deid.names import name_initials
from enclave.deid.pydicom_tree import read_tree
from enclave.deid.recipe import build_recipe
from enclave.deid.sweep import Subject, Sweeper
from enclave.deid.table import stems, technical_words, vocabulary
from enclave.deid.words import Words

HEADERS = build_recipe(
    {"options": ["clean_descriptors", "retain_modified_dates", "retain_patient_characteristics", "retain_safe_private"]}
)
HERE = Path(__file__).parent
DESCRIPTIONS = Words(vocabulary(), stems=stems())
TECHNICAL = Words(technical_words(), stems=stems(), codes=True)


@pytest.mark.parametrize(
    "text",
    [
        "CT Schädel nativ",
        "CT Schaedel mit Kontrastmittel",
        "Farbduplex Halsgefäße",
        "MRT Kniegelenk links, 2 Ebenen",
        "Thorax p.a. im Bett",
        "TDM thoraco-abdomino-pelvienne avec injection",
        "IRM cérébrale",
        "TC tórax con contraste",
        "Radiografía de rodilla izquierda",
        "TC encefalo senza mdc",
        "CT hersenen met contrast",
        "TK klatki piersiowej",
        "МРТ головного мозга",
        "胸部単純",
        "CT ABD/PELVIS W & W/O",
        "LT KNEE 3V",
        "HIP 2-3 VIEWS",
        "t1_mprage_tra_p2_iso",
        "Abdomen 5.0 Br40d",
        "US THYROID",
        "DR CHEST PA",
        "MR BRAIN",
    ],
)
def test_a_description_of_known_words_stays_as_it_is_written(text: str) -> None:
    assert DESCRIPTIONS.keep(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Dr. Head CHEST", "CHEST"),
        ("Dr.Head CHEST", "CHEST"),
        ("CHEST_Dr._Head", "CHEST"),
        ("KNEE ９４ yo", "KNEE"),
        ("per Prof. K. Hand: Knee", "per Knee"),
        ("Frau Hals CT", "CT"),
        ("CT CHEST 94 yo", "CT CHEST"),
        ("age 97 CHEST", "age CHEST"),
        ("SRS ARC/93 y", "SRS ARC y"),
        ("Hals/age 95", "Hals/age"),
        ("93-y-old KNEE", "y old KNEE"),
        ("91 Jahre, Thorax", "Thorax"),
        ("KNEE 64 years", "KNEE 64"),
        ("Thorax Zi. 204", "Thorax"),
        ("CHEST 2 MIN", "CHEST 2 MIN"),
        ("0.625 LUNG", "0.625 LUNG"),
        ("LUNG 0.625 12 34", "LUNG 0.625"),
        ("CHEST 555 123", "CHEST"),
        ("addome/07/01/24", "addome"),
        ("Knee-12-03", "Knee"),
        ("Ga-68 DOTATATE", "Ga-68 DOTATATE"),
    ],
)
def test_a_neighbour_tells_a_name_an_age_and_a_room(text: str, kept: str) -> None:
    assert DESCRIPTIONS.keep(text).replace(" years", "") == kept


def test_most_words_of_descriptions_from_other_hospitals_stay() -> None:
    lines = [line for line in (HERE / "descriptions.txt").read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    words = {line: Counter(re.findall(r"[^\W_]+", line)) for line in lines}
    kept = {line: Counter(re.findall(r"[^\W_]+", DESCRIPTIONS.keep(line))) for line in lines}
    total = sum(count.total() for count in words.values())
    assert total > 1500
    assert sum((words[line] & kept[line]).total() for line in lines) >= 0.96 * total


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Baker cyst", "Baker cyst"),
        ("Baker KNEE", "KNEE"),
        ("Waters view", "Waters view"),
        ("Waters CHEST", "CHEST"),
        ("Hill-Sachs lesion", "Hill-Sachs lesion"),
        ("Hill CHEST", "CHEST"),
        ("Turner syndrome", "Turner syndrome"),
        ("Cross KNEE", "KNEE"),
        ("頭部単純CT", "頭部単純CT"),
        ("胸部CT", "胸部CT"),
        ("山崎CT", ""),
        ("山崎 CT", "CT"),
        ("swi3d1r", "swi3d1r"),
        ("ana3d1r", ""),
        ("MARIE CURIE CHEST", "CHEST"),
    ],
)
def test_an_eponym_that_is_a_common_name_stays_beside_its_noun_only(text: str, kept: str) -> None:
    assert DESCRIPTIONS.keep(text) == kept


def test_common_names_are_no_words() -> None:
    names = (
        "smith johnson brown jones garcia miller davis martinez lopez anderson taylor thomas moore jackson martin lee"
    )
    more = (
        "maria anna peter hans ivan carlos jose yuki wei fatima ahmed mohammed olga juan pierre giulia donna axel sita"
    )
    assert vocabulary().isdisjoint((*names.split(), *more.split()))


@pytest.mark.parametrize("title", ["Dr", "Prof", "Herr", "Frau", "Mme", "Mrs"])
@given(word=st.sampled_from(sorted(word for word in vocabulary() if word.isascii() and len(word) > 3)))
def test_no_word_stays_behind_a_title(title: str, word: str) -> None:
    assert word not in DESCRIPTIONS.keep(f"{title}. {word.title()}").lower().split()
    assert word not in DESCRIPTIONS.keep(f"{title} {word.title()}").lower().split()


@given(st.text(alphabet="0123456789.-/ ", max_size=24))
def test_no_more_than_three_digits_in_a_row_and_no_two_numbers_in_a_row_stay(text: str) -> None:
    kept = DESCRIPTIONS.keep(text).split()
    assert all(len(run) <= 3 for word in kept for run in word.replace(".", "-").replace("/", "-").split("-"))
    assert len([word for word in kept if word.isdigit()]) <= 1


@pytest.mark.parametrize(
    ("value", "stays"),
    [
        ("SOMATOM Definition AS+", True),
        ("AlluraXper FD20", True),
        ("GE Vingmed Ultrasound", True),
        ("FUJI PHOTO FILM Co., ltd.", True),
        ("8.2.17.3", True),
        ("PMS5.1.71.9", True),
        ("AWS:1.8.3.63_R_PXCM:1.4.0.7", True),
        ("SIGNA_LX1.MR29.1_EA_2039.h", True),
        ("*tse2d1_11", True),
        ("Br40d", True),
        ("OSEM3D 4i21s", True),
        ("HeadNeck_64", True),
        ("1H", True),
        ("12.03.2021", False),
        ("12.03.21", False),
        ("2021.03.12", False),
        ("12MAR21", False),
        ("10.20.30.40", False),
        ("555.123.4567", False),
        ("48213975", False),
        ("Branbury1", False),
    ],
)
def test_makers_products_codes_and_versions_stay_in_technical_attributes(value: str, stays: bool) -> None:
    assert (TECHNICAL.keep(value) == value) is stays


@pytest.mark.parametrize("text", ["b_u_x_t_e_h_u_d_e", "B u x t e h u d e", "B.u.x.t.e", "W L C T A"])
def test_a_word_letter_by_letter_does_not_stay(text: str) -> None:
    assert TECHNICAL.keep(f"Br40d {text}") == DESCRIPTIONS.keep(f"Br40d {text}") == "Br40d"


@pytest.mark.parametrize("number", ["19610917", "17091961", "09171961", "610917", "170961", "091761", "91761.00"])
def test_a_birth_date_keyed_in_as_a_number_is_found(number: str) -> None:
    sweeper = Sweeper(Subject(births={date(1961, 9, 17)}), vocabulary=vocabulary())
    assert sweeper.found_in_number(number) is (number != "91761.00")
    assert not sweeper.found_in_number("12.5")


def test_makers_and_products_do_not_stay_in_descriptions() -> None:
    assert DESCRIPTIONS.keep("Leonardo Monaco Marconi") == ""


def test_a_denied_name_stays_neither_in_a_code_nor_in_a_compound() -> None:
    denied = frozenset({"vogt", "halsbein"})
    assert not is_code("vogt12", known=technical_words(), denied=denied)
    assert Words(vocabulary(), denied=denied, stems=stems()).keep("Halsbein CT") == "CT"


def test_a_compound_is_two_known_parts_or_more() -> None:
    assert is_compound("halsgefasse", stems())
    assert is_compound("knochenfenster", stems())
    assert not is_compound("hals", stems())
    assert not is_compound("halsmann", stems())
    assert not is_compound("halsgefasse", frozenset())


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 1, 1)))
def test_no_spelling_of_a_date_is_a_version(day: date) -> None:
    spellings = (f"{day:%d.%m.%Y}", f"{day:%m.%d.%Y}", f"{day:%Y.%m.%d}", f"{day:%d.%m.%y}", f"{day:%y.%m.%d}")
    assert not any(map(is_version, spellings))


def test_the_sweep_takes_the_words_of_an_identifier_and_leaves_the_others() -> None:
    sweeper = Sweeper(
        Subject(names={"Abernathy^Quentin"}, places={"ZI_ 204"}, numbers={"48-21-39-75"}), vocabulary=vocabulary()
    )
    assert sweeper.without("US THYROID Zi 204") == "US THYROID"
    assert sweeper.without("Abernathy CT") == "CT"
    assert sweeper.without("CT 48 21 39 75 HEAD") == "CT HEAD"


def test_a_word_in_place_of_a_number_destroys_no_description() -> None:
    sweeper = Sweeper(Subject(numbers={"UNKNOWN", "Patient ?", "Z4471882"}), vocabulary=vocabulary())
    assert not sweeper.found_in_text("PATIENT PROTOCOL UNKNOWN")
    assert sweeper.found_in_text("CT Z4471882")


def test_what_was_asked_for_is_nobodys_number_and_names_in_codes_are_names() -> None:
    harvest = Harvest(vocabulary())
    dataset = Dataset()
    dataset.PatientID, dataset.PatientName = "90017733", "Someone^Else"
    dataset.RequestedContrastAgent, dataset.StationName = "CT CHEST W CONTRAST", "MR 3T QUORSTED"
    dataset.ImagingServiceRequestComments = "Rule out Hernix"
    person, operator = Dataset(), Dataset()
    person.CodeValue, person.CodingSchemeDesignator, person.CodeMeaning = "4711", "L", "Tessadora Wimble"
    operator.PersonIdentificationCodeSequence = Sequence([person])
    dataset.OperatorIdentificationSequence = Sequence([operator])
    harvest.add_tree(read_tree(file_like(dataset)))
    cohort = harvest.finish()
    assert {"tessadora", "wimble", "quorsted"} <= cohort.denied
    assert cohort.denied.isdisjoint({"3t", "hernix", "contrast"})
    sweeper = Sweeper(cohort.subjects["90017733"], vocabulary=vocabulary())
    assert not sweeper.found_in_text("ct chest w contrast")
    assert sweeper.found_in_text("per Tessadora Wimble")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["Ковалевская", "КОВАЛЕВСКАЯ", "Åkerström", "ÅKERSTRÖM", "Akerstrom", "akerstrom"])
def test_a_name_is_found_in_bytes_of_any_encoding_and_case(name: str, encoding: str) -> None:
    sweeper = Sweeper(Subject(names={"Åkerström^Björn", "Ковалевская^Евдокия"}), vocabulary=vocabulary())
    assert sweeper.found_in_bytes(b"\x01\x02" + name.encode(encoding) + b"\x03")
    assert not sweeper.found_in_bytes("Aktuelles Brustraum-CT".encode(encoding))


@pytest.mark.parametrize("text", ["pt 4815162 ", "4815162", "846-72-4354", "Quillfeather"])
def test_a_record_number_in_compressed_pixels_is_found(text: str) -> None:
    sweeper = Sweeper(Subject(names={"Quillfeather^Ida"}, numbers={"4815162", "846-72-4354"}), vocabulary=vocabulary())
    assert sweeper.found_in_stream(b"\xff\xd8\xff\xfe\x00\x10" + text.encode() + b"\xff\xdb")
    assert not sweeper.found_in_stream(b"\xff\xd8\xff\xfe\x00\x10Lavc 58.91.100\xff\xdb")


def test_initials_that_everybody_writes_are_no_evidence() -> None:
    harvest = Harvest(vocabulary())
    for patient in range(6):
        dataset = Dataset()
        dataset.PatientID, dataset.PatientName = f"9{patient:06d}", f"Someone{patient}^Else"
        dataset.OperatorsName, dataset.InstitutionName = "Quillfeather^Jasper^Rex", "Unity Valley Hospital"
        dataset.SeriesDescription = "CHEST JRQ JQ UVH XQZ"
        harvest.add_tree(read_tree(file_like(dataset)))
    words = harvest.finish().evident_words
    assert "xqz" in words
    assert words.isdisjoint({"jrq", "jq", "uvh"})
    assert name_initials("Quillfeather^Jasper^Rex") == {"jrq", "qjr", "jq", "qj"}


def file_like(dataset: Dataset) -> Dataset:
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding="iso8859")
    return dataset


def written(folder: Path, dataset: Dataset, *, syntax: pydicom.uid.UID = ExplicitVRLittleEndian) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4.5"
    dataset.PatientID, dataset.PatientName = "99887766", "Quartermain^Allan"
    folder.mkdir()
    pydicom.dcmwrite(folder / "one.dcm", dataset, enforce_file_format=True)
    return folder


def cleaned(folder: Path, output: Path, keyring: Any) -> pydicom.FileDataset:
    run_job(JobSpec(inputs=[folder], output=output, recipe=HEADERS, keyring=keyring))
    (found,) = (output / "dicom").rglob("*.dcm")
    return pydicom.dcmread(found)


def test_safe_private_elements_stay_in_implicit_files_too(keyring: Any, tmp_path: Path) -> None:
    dataset = Dataset()
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "800")
    made = cleaned(written(tmp_path / "in", dataset, syntax=ImplicitVRLittleEndian), tmp_path / "out", keyring)
    assert made[0x0019100C].value == 800


def test_every_age_over_89_is_top_coded_and_a_date_in_a_coded_string_goes(keyring: Any, tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.SelectorASValue, dataset.PatientAge = "097Y", "093Y"
    dataset.SelectorCSValue, dataset.LossyImageCompressionMethod = "12_10_2022", "ISO_10918_1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE", "0001"]
    made = cleaned(written(tmp_path / "in", dataset), tmp_path / "out", keyring)
    assert (made.SelectorASValue, made.PatientAge) == ("090Y", "090Y")
    assert not made.get("SelectorCSValue")
    assert made.LossyImageCompressionMethod == "ISO_10918_1"
    assert list(made.ImageType) == ["ORIGINAL", "PRIMARY", "SINGLE PLANE", "0001"]


def test_the_number_of_a_study_denies_no_technical_number(keyring: Any, tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.StudyID, dataset.ManufacturerModelName, dataset.SeriesDescription = "3100", "Innova 3100", "Phase 2"
    made = cleaned(written(tmp_path / "in", dataset), tmp_path / "out", keyring)
    assert made.ManufacturerModelName == "Innova 3100"


@pytest.mark.parametrize(("name", "value"), [("Vu^An", "VU"), ("Parkinson^James", "PARKINSON"), ("Bein^Ada", "BEIN")])
def test_a_patients_own_name_goes_from_coded_values_unless_the_standard_defines_it(
    name: str, value: str, keyring: Any, tmp_path: Path
) -> None:
    dataset = Dataset()
    dataset.SelectorCSValue, dataset.SelectorLOValue, dataset.BodyPartExamined = value, f"{value} seen", "HEAD"
    dataset.OtherPatientNames = name
    made = cleaned(written(tmp_path / "in", dataset), tmp_path / "out", keyring)
    assert not made.get("SelectorCSValue")
    assert value not in made.get("SelectorLOValue", "").split()
    assert made.BodyPartExamined == "HEAD"


@pytest.mark.parametrize("value", ["MAY 2023", "03_12_21", "12 MAR"])
def test_a_date_in_a_coded_string_is_no_term(value: str, keyring: Any, tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.SelectorCSValue = value
    assert not cleaned(written(tmp_path / "in", dataset), tmp_path / "out", keyring).get("SelectorCSValue")


def test_three_letters_in_a_coded_string_stay_where_they_may_be_no_initials(keyring: Any, tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.SelectorCSValue, dataset.RTROIInterpretedType, dataset.ImageType = (
        "JXR",
        "PTV",
        ["ORIGINAL", "PRIMARY", "QZK"],
    )
    made = cleaned(written(tmp_path / "in", dataset), tmp_path / "out", keyring)
    assert not made.get("SelectorCSValue")
    assert made.RTROIInterpretedType == "PTV"
    assert list(made.ImageType) == ["ORIGINAL", "PRIMARY", "QZK"]


TELLING = ["Dr", "MR.", "_mr_", "Frau", "93", "193", "y", "age", "ROOM", "room12", "Bett", "7", "Long", "l5", "-"]


@given(st.lists(st.sampled_from(TELLING), max_size=8), st.sampled_from([" ", "_", "-", "", ", "]))
def test_of_plain_text_the_same_goes_as_beside_other_letters(parts: list[str], between: str) -> None:
    words = Words(vocabulary(), stems=stems())
    text = between.join(parts)
    alone, beside = (re.findall(r"[^\W_]+", words.keep(one)) for one in (text, f"{text} \u00bf"))
    assert alone == beside
