"""Tables of many shapes: each column after its role, the same people as in DICOM, and a refusal for what is unclear."""

from __future__ import annotations

import csv
import json
import logging
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from enclave.cli.deid import app
from enclave.core.errors import InvalidError
from enclave.core.secret import Secret
from enclave.deid.check import check_output
from enclave.deid.job import JobResult, JobSpec, run_job
from enclave.deid.keyring import derive_keyring
from enclave.deid.recipe import Recipe, build_recipe, parse_recipe
from enclave.deid.synthetic.cohort import generate_cohort
from enclave.deid.table_dates import is_written_date, order_of, read_moment, shift_column
from enclave.detectors.model import PACKAGE, check_model, model_folder
from enclave.keys.files import new_symmetric

KEYS = derive_keyring(Secret(bytes(range(32))))
ROLES = {
    "patient_id": "link", "name": "direct_identifier", "seen": "date", "age": "age", "finding": "plain",
    "note": "free_text",
}  # fmt: skip
HEAD = list(ROLES)
ROW = ["MRN55501234", "Kelvamark, Annelora", "2021-03-04", "44", "nodule", "no change in the left lung"]


def recipe(columns: dict[str, str], **more: Any) -> Recipe:
    return build_recipe({"tables": {"t": {"columns": columns}}, **more})


def write_rows(path: Path, rows: list[list[Any]], *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def run(source: Path, folder: Path, chosen: Recipe) -> tuple[dict[str, list[Any]], JobResult]:
    """The clean table by column (None where a cell is empty), and the job's result."""
    job = run_job(JobSpec(inputs=[source], output=folder / "out", recipe=chosen, keyring=KEYS))
    (table,) = job.tables
    return {name: table.table.column(name).to_pylist() for name in table.table.column_names}, job


def cleaned(tmp_path: Path, rows: list[list[Any]], roles: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    write_rows(tmp_path / "in" / "t.csv", rows)
    return run(tmp_path / "in", tmp_path, recipe(roles or ROLES, **more))[0]


# ── forms of files ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_every_delimiter_and_encoding_gives_the_same_table(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = [HEAD, ROW, ["MRN55501235", "Östergård", "04.05.2021", "45", "a,b;c|d", "first line\r\nsecond line"]]
    write_rows(tmp_path / "in" / "t.csv", rows, delimiter=delimiter, encoding=encoding)
    got, _ = run(tmp_path / "in", tmp_path, recipe(ROLES))
    assert list(got) == ["patient_id", "seen", "age", "finding", "note"]
    assert got["patient_id"] == [KEYS.patient_id("MRN55501234"), KEYS.patient_id("MRN55501235")]
    assert got["finding"] == ["nodule", "a,b;c|d"]
    assert got["age"] == [44, 45]


@pytest.mark.parametrize("quoted", [True, False])
def test_another_delimiter_within_a_column_name_parts_nothing(tmp_path: Path, quoted: bool) -> None:
    rows = [["patient_id", "a, b, c, d"], ["MRN55501234", "3"]]
    path = write_rows(tmp_path / "in" / "t.csv", rows, delimiter=";")
    if quoted:
        path.write_text('"patient_id";"a, b, c, d"\n"MRN55501234";"3"\n')
    got, _ = run(tmp_path / "in", tmp_path, recipe({"patient_id": "link", "a, b, c, d": "plain"}))
    assert got["a, b, c, d"] == [3]


def test_a_hundred_columns_come_through_in_order(tmp_path: Path) -> None:
    roles = {"patient_id": "link", **{f"lab_{n}": "plain" for n in range(99)}}
    got = cleaned(tmp_path, [list(roles), *[[f"MRN5550{r:04}", *range(r, r + 99)] for r in range(30)]], roles)
    assert list(got) == list(roles)
    assert all(got[f"lab_{n}"] == [r + n for r in range(30)] for n in range(99))


def test_empty_cells_stay_empty_and_rows_without_a_patient_are_left_out_and_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "in" / "t.csv", [HEAD, ["", *ROW[1:]], ["MRN55501234", "", "", "", "", "  "], ROW])
    got, job = run(tmp_path / "in", tmp_path, recipe(ROLES))
    assert got["seen"][0] is got["age"][0] is got["finding"][0] is got["note"][0] is None
    assert len(got["note"]) == 2
    assert job.report["tables"]["t"]["rows_without_patient"] == 1


def test_every_plain_parquet_type_keeps_its_meaning(tmp_path: Path) -> None:
    at = datetime(2021, 3, 4, 23, 30, tzinfo=UTC)
    table = pa.table({
        "patient_id": pa.array([5550123.0, None, 5550124.0]),  # numbers with gaps arrive as floats
        "seen": pa.array([date(2021, 3, 4)] * 3, pa.date32()),
        "at": pa.array([at, at, at + timedelta(hours=2)], pa.timestamp("ns", tz="Europe/Berlin")),
        "dose": pa.array([Decimal("1.50"), None, Decimal("2.25")], pa.decimal128(8, 2)),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "yes": pa.array([True, None, False]),
        "nothing": pa.nulls(3),
    })  # fmt: skip
    (tmp_path / "in").mkdir()
    parquet.write_table(table, tmp_path / "in" / "t.parquet")
    roles = dict.fromkeys(table.column_names, "plain") | {"patient_id": "link", "seen": "date", "at": "date"}
    got, _ = run(tmp_path / "in", tmp_path, recipe(roles))
    days = [timedelta(days=KEYS.offset_days(one, max_shift_days=730)) for one in ("5550123", "5550124")]
    assert got["patient_id"] == [KEYS.patient_id("5550123"), KEYS.patient_id("5550124")]
    assert got["seen"] == [date(2021, 3, 4) + shift for shift in days]
    assert got["at"] == [at + days[0], at + timedelta(hours=2) + days[1]]
    assert got["dose"] == [Decimal("1.50"), Decimal("2.25")]
    assert (got["kind"], got["yes"], got["nothing"]) == (["x", "x"], [True, False], [None, None])


@pytest.mark.parametrize(
    "odd",
    [
        pa.array([["Kelvamark"]]),
        pa.array([{"name": "Kelvamark"}]),
        pa.array([b"Kelvamark"]),
        pa.array([timedelta(days=1)]),
    ],
)
def test_columns_of_other_types_are_refused_by_name_and_type(tmp_path: Path, odd: pa.Array) -> None:
    (tmp_path / "in").mkdir()
    parquet.write_table(pa.table({"patient_id": ["MRN55501234"], "odd": odd}), tmp_path / "in" / "t.parquet")
    with pytest.raises(InvalidError) as caught:
        run(tmp_path / "in", tmp_path, recipe({"patient_id": "link", "odd": "plain"}))
    assert caught.value.code == "table_types"
    assert "odd is " in caught.value.message
    assert "Kelvamark" not in caught.value.message
    assert not (tmp_path / "out").exists()
    got, _ = run(tmp_path / "in", tmp_path, recipe({"patient_id": "link", "odd": "direct_identifier"}))
    assert list(got) == ["patient_id"]


# ── columns ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "head",
    [
        [*HEAD, "ward"],
        [*HEAD[1:]],
        [*HEAD[:-1], "remark"],
        [*HEAD, "note"],
        [*HEAD, " note "],
        [*HEAD, ""],
    ],
    ids=["unknown", "subject missing", "renamed", "twice", "twice but for spaces", "nameless"],
)
def test_columns_that_do_not_fit_the_recipe_are_refused_before_anything_is_written(
    tmp_path: Path, head: list[str]
) -> None:
    with pytest.raises(InvalidError) as caught:
        cleaned(tmp_path, [head, ["MRN55501234"] * len(head)])
    assert caught.value.code == "table_columns"
    assert "MRN" not in caught.value.message
    assert not (tmp_path / "out").exists()


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    table = pa.Table.from_arrays([pa.array(["MRN55501234"])] * 3, names=["patient_id", "a", "a"])
    parquet.write_table(table, tmp_path / "in" / "t.parquet")
    with pytest.raises(InvalidError, match="wanted each column name once"):
        run(tmp_path / "in", tmp_path, recipe({"patient_id": "link", "a": "plain"}))


def test_a_column_of_dates_needs_the_role_date(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    table = pa.table({"patient_id": ["MRN55501234"], "born": pa.array([date(1950, 1, 2)])})
    parquet.write_table(table, tmp_path / "in" / "t.parquet")
    with pytest.raises(InvalidError, match="wanted the role date for columns of dates, got another for born"):
        run(tmp_path / "in", tmp_path, recipe({"patient_id": "link", "born": "plain"}))


def test_single_dates_in_another_column_are_removed(tmp_path: Path) -> None:
    roles = {"patient_id": "link", "value": "sensitive"}
    cells = ["2021-03-04", "4 March 2021", "13/04/2021", "120/80", "20", "stage 3"]
    got = cleaned(tmp_path, [list(roles), *[["MRN55501234", cell] for cell in cells]], roles)
    assert got["value"] == [None, None, None, "120/80", "20", "stage 3"]


# ── dates and ages ──────────────────────────────────────────────────────────


def test_dates_of_mixed_forms_move_alike_and_what_is_none_goes_with_its_reason(tmp_path: Path) -> None:
    forms = ["2021-03-14", "20210314", "2021/3/14", "14.3.2021", "14 March 2021", "14-Mar-2021", "March 14, 2021",
             "14/03/2021", "2021-03-14 10:15", "sometime"]  # fmt: skip
    write_rows(tmp_path / "in" / "t.csv", [["patient_id", "seen"], *[["MRN55501234", form] for form in forms]])
    got, job = run(tmp_path / "in", tmp_path, recipe({"patient_id": "link", "seen": "date"}))
    moved = date(2021, 3, 14) + timedelta(days=KEYS.offset_days("MRN55501234", max_shift_days=730))
    assert got["seen"] == [moved] * (len(forms) - 1) + [None]
    assert job.tables[0].redactions == ((f"seen[{len(forms) - 1}]", "no date"),)


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_slashed_dates_are_read_as_their_column_says_or_not_at_all(one: date, other: date) -> None:
    for write in ("{0.day}/{0.month}/{0.year}", "{0.month}/{0.day}/{0.year}"):
        texts = [write.format(one), write.format(other)]
        read = [read_moment(text, order=order_of(texts)) for text in texts]
        assert read in ([one, other], [None, None])
        if one.day > 12 and other.day > 12:
            assert read == [one, other]


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1), st.integers(-730, -1))
def test_intervals_survive_to_the_microsecond(moments: list[datetime], days: int) -> None:
    moments = [
        moment.replace(year=max(1900, moment.year)) for moment in moments if (moment.month, moment.day) != (2, 29)
    ]
    moved = shift_column([moment.isoformat() for moment in moments], days=[days] * len(moments))
    assert moved == [moment + timedelta(days=days) for moment in moments]


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert isinstance(is_written_date(text), bool)
    shift_column([text, None], days=[-3, -3])


def test_ages_over_89_are_one_group_whatever_their_form_and_what_is_no_age_goes(tmp_path: Path) -> None:
    ages = ["44", "89", "90", "93 years", "101y", "093Y", "006M", "44.7", "unknown", "-3", ""]
    got = cleaned(tmp_path, [["patient_id", "age"], *[["MRN55501234", age] for age in ages]],
                  {"patient_id": "link", "age": "age"})  # fmt: skip
    assert got["age"] == [44, 89, 90, 90, 90, 90, 0, 44, None, None, None]


@pytest.mark.parametrize(
    ("option", "expected"), [(["retain_full_dates"], date(2021, 3, 4)), (["clean_descriptors"], None)]
)
def test_dates_follow_the_options_that_rule_dicom(tmp_path: Path, option: list[str], expected: date | None) -> None:
    got = cleaned(tmp_path, [HEAD, ROW], options=option)
    assert got["seen"] == [expected]


# ── identifiers ─────────────────────────────────────────────────────────────


def test_cells_that_name_somebody_go_from_every_kept_column_with_their_reason(tmp_path: Path) -> None:
    rows = [
        HEAD,
        [*ROW[:4], "seen with kelvamark", "stable"],
        ["MRN55501299", "Dorathi, Ingolf", "2021-03-04", "50", "as Kelvamark had", "stable"],
        ["MRN55501300", "Ilvezell, Corvina", "2021-03-04", "50", "number 5550-1300", "stable"],
        ["MRN55501301", "Marvorath, Corvina", "2021-03-04", "50", "mass of 3 cm", "stable"],
    ]
    write_rows(tmp_path / "in" / "t.csv", rows)
    got, job = run(tmp_path / "in", tmp_path, recipe(ROLES))
    assert got["finding"] == [None, None, None, "mass of 3 cm"]
    assert [r for r in job.tables[0].redactions if r[0].startswith("finding")] == [
        (f"finding[{row}]", "identifier_sweep") for row in range(3)
    ]


def test_numbers_of_a_parquet_column_are_searched_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    table = pa.table({"patient_id": ["MRN55501234", "MRN55501234"], "order": pa.array([55501234, 17])})
    parquet.write_table(table, tmp_path / "in" / "t.parquet")
    got, _ = run(tmp_path / "in", tmp_path, recipe({"patient_id": "link", "order": "plain"}))
    assert got["order"] == [None, 17]


def test_a_table_without_a_patient_column_is_searched_for_everybody(tmp_path: Path) -> None:
    write_rows(tmp_path / "in" / "people.csv", [["patient_id", "name"], ROW[:2]])
    write_rows(tmp_path / "in" / "t.csv", [["site", "text"], ["north", "spoke to Annelora on MRN-5550-1234"]])
    chosen = build_recipe({"tables": {
        "people": {"columns": {"patient_id": "link", "name": "direct_identifier"}},
        "t": {"columns": {"site": "plain", "text": "free_text"}},
    }})  # fmt: skip
    job = run_job(JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=chosen, keyring=KEYS))
    text = (tmp_path / "out" / "tables" / "t.csv").read_text().lower()
    assert "annelora" not in text
    assert "1234" not in text
    assert "north" in text
    assert job.report["files_out"] == 2


# ── running text ────────────────────────────────────────────────────────────

LONG = (
    "Findings are consistent with Hodgkin lymphoma at L5-S1; T1 FLAIR was repeated, the owl was amused. "
    "Annelora Kelvamark (MRN 55501234) met Dr. Petra Sommerfeld on 3/14/2019 and is 93 years old."
)


def test_short_text_keeps_known_words_only_and_each_cell_says_why(tmp_path: Path) -> None:
    rows = [HEAD, [*ROW[:5], "Annelora's chest CT of 12 May 2020, zebrafish, 93 years old"], [*ROW[:5], "chest CT"]]
    write_rows(tmp_path / "in" / "t.csv", rows)
    got, job = run(tmp_path / "in", tmp_path, recipe(ROLES))
    words = (got["note"][0] or "").lower()
    assert "chest" in words
    assert not {"annelora", "zebrafish", "12", "may", "2020", "93"} & set(words.split())
    assert got["note"][1] == "chest CT"
    assert job.tables[0].redactions == (("note[0]", "vocabulary"),)


def test_a_note_that_is_the_patients_own_name_loses_it_even_if_it_is_a_clinical_word(tmp_path: Path) -> None:
    rows = [HEAD, ["MRN55501234", "Chest, Mary", "2021-03-04", "44", "nodule", "chest CT"]]
    got = cleaned(tmp_path, rows)
    assert got["note"] == ["CT"]


@pytest.mark.row("S13.3")
def test_long_text_is_cleaned_by_detectors_where_the_recipe_turns_them_on_and_a_person_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write_rows(tmp_path / "in" / "t.csv", [HEAD, [*ROW[:5], LONG]])
    chosen = recipe(ROLES, long_text="detectors")
    got, job = run(tmp_path / "in", tmp_path, chosen)
    (text,) = got["note"]
    assert "Hodgkin lymphoma at L5-S1; T1 FLAIR was repeated, the owl was amused" in text
    for gone in ("Annelora", "Kelvamark", "55501234", "Petra", "Sommerfeld", "2019", "93"):
        assert gone not in text
    assert job.tables[0].redactions == (("note[0]", "review"),)
    assert job.tables[0].review == ("note",)
    assert job.report["tables"]["t"]["cells_for_review"] == 1
    found = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=KEYS, recipe=chosen)
    assert found["ok"], found
    assert found["review_sample"] == ["tables/t.csv#note[0]"]
    assert "owl" not in json.dumps([found, job.report]) + caplog.text
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    tools = json.loads(row["tools"])
    assert {"spacy", "presidio-analyzer", PACKAGE} < set(tools)
    assert tools[f"{PACKAGE} sha256"] == check_model(model_folder())


def test_each_redaction_of_a_table_stands_in_the_provenance_without_its_value(tmp_path: Path) -> None:
    write_rows(tmp_path / "in" / "t.csv", [HEAD, [*ROW[:4], "Kelvamark", "Annelora came"]])
    run(tmp_path / "in", tmp_path, recipe(ROLES, long_text="vocabulary"))
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    packages = {"enclave", "pydicom", "pyarrow", "numpy", "scipy", "rapidocr", "onnxruntime", "openvino", "pypdf"}
    assert set(json.loads(row["tools"])) == {*packages, "decoder filter sha256", "ps3.3", "long_text"}
    assert json.loads(row["redactions"]) == [
        {"cell": "finding[0]", "reason": "identifier_sweep"},
        {"cell": "note[0]", "reason": "vocabulary"},
    ]


# ── links ───────────────────────────────────────────────────────────────────


@pytest.fixture
def imaged(tmp_path: Path) -> tuple[Path, list[pydicom.FileDataset]]:
    """Three patients' images without their tables; what pydicom knows of one image of each."""
    folder = tmp_path / "in"
    generate_cohort(folder, seed=5, patients=3)
    for table in folder.glob("*.csv"):
        table.unlink()
    found = {
        str(ds.PatientID): ds
        for path in sorted(folder.rglob("*.dcm"))
        if (ds := pydicom.dcmread(path)).Modality == "CT"
    }
    return folder, list(found.values())


@pytest.mark.parametrize(("role", "keyword"), [("accession", "AccessionNumber"), ("uid", "StudyInstanceUID")])
def test_a_table_that_knows_only_accession_or_study_has_the_same_people_and_dates(
    imaged: tuple[Path, list[pydicom.FileDataset]], tmp_path: Path, role: str, keyword: str
) -> None:
    folder, datasets = imaged
    rows = [[ds[keyword].value, f"{ds.StudyDate[:4]}-{ds.StudyDate[4:6]}-{ds.StudyDate[6:]}",
             f"{ds.PatientName.family_name} came", "5"] for ds in datasets]  # fmt: skip
    write_rows(folder / "t.csv", [["acc", "seen", "said", "score"], *rows, ["NOBODY123", "2020-01-01", "x", "1"]])
    chosen = recipe({"acc": role, "seen": "date", "said": "free_text", "score": "plain"})
    job = run_job(JobSpec(inputs=[folder], output=tmp_path / "out", recipe=chosen, keyring=KEYS))
    left = {str(ds[keyword].value): ds for path in (tmp_path / "out").rglob("*.dcm") if (ds := pydicom.dcmread(path))}
    table = job.tables[0].table.to_pylist()
    assert len(table) == len(datasets) == 3
    assert job.report["tables"]["t"]["rows_without_patient"] == 1
    assert {row["acc"] for row in table} <= set(left)
    assert job.tables[0].owners == tuple(str(left[row["acc"]].PatientID) for row in table)
    for row, ds in zip(table, datasets, strict=True):
        assert f"{row['seen']:%Y%m%d}" == left[row["acc"]].StudyDate
        assert str(ds.PatientName.family_name).lower() not in (row["said"] or "").lower()
    found = check_output(tmp_path / "out", against=[folder], keyring=KEYS, recipe=chosen)
    assert found["ok"], found


def test_an_accession_number_that_two_patients_share_says_whose_a_row_is_to_nobody(
    imaged: tuple[Path, list[pydicom.FileDataset]], tmp_path: Path
) -> None:
    folder, _ = imaged
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        ds.AccessionNumber = "ACC1234567"
        ds.save_as(path)
    write_rows(folder / "t.csv", [["acc", "seen"], ["ACC1234567", "2020-01-01"]])
    job = run_job(JobSpec(inputs=[folder], output=tmp_path / "out", recipe=recipe({"acc": "accession", "seen": "date"}),
                          keyring=KEYS))  # fmt: skip
    assert job.report["tables"]["t"]["rows_without_patient"] == 1
    assert job.tables[0].table.num_rows == 0


def test_the_check_finds_what_a_table_should_not_have(tmp_path: Path) -> None:
    write_rows(tmp_path / "in" / "t.csv", [HEAD, ROW])
    run(tmp_path / "in", tmp_path, recipe(ROLES))
    for head, row in (
        (["patient_id", "finding"], [KEYS.patient_id(ROW[0]), "kelvamark"]),
        (["patient_id", "name"], [KEYS.patient_id(ROW[0]), "x"]),
    ):
        write_rows(tmp_path / "out" / "tables" / "t.csv", [head, row])
        found = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=KEYS, recipe=recipe(ROLES))
        wrong = {check["id"] for check in found["checks"] if not check["ok"]}
        assert wrong == {"residual", "intervals"}  # the column of dates is gone, too
    write_rows(tmp_path / "out" / "tables" / "t.csv", [["patient_id", "finding"], ["P-SOMEBODYELSE000", "x"]])
    found = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=KEYS, recipe=recipe(ROLES))
    assert {check["id"] for check in found["checks"] if not check["ok"]} == {"origin", "intervals"}


# ── one recipe file for intake and the stand-alone command ──────────────────


def test_the_tables_that_only_intake_reads_are_left_to_it_and_everything_else_must_be_known() -> None:
    both = '[risk]\ntable = "t"\nconfig = "r.toml"\n[determination]\nconfig = "d.toml"\n'
    assert parse_recipe(both) == parse_recipe("")
    for text in ("risk = 3", 'determination = "d.toml"', "[risks]\na = 1", f"{both}[other]\na = 1"):
        with pytest.raises(InvalidError):
            parse_recipe(text)


def test_each_recipe_that_intake_ships_can_be_given_to_the_command(source: Any, tmp_path: Path) -> None:
    new_symmetric(tmp_path / "key")
    recipes = sorted(Path(str(files("enclave.intake").joinpath("recipes"))).glob("*.toml"))
    recipes = [path for path in recipes if "[risk]" in path.read_text()]
    assert recipes
    one = min((source[0] / "dicom").rglob("*.dcm"))
    for path in recipes:
        output = tmp_path / path.stem
        arguments = ["run", one, "--output", output, "--key-file", tmp_path / "key", "--recipe", path]
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code in (0, 3), done.output
        assert (output / "provenance.parquet").exists()


def test_a_role_goes_by_the_names_that_people_use() -> None:
    said = {"id": "link to DICOM", "name": "Direct Identifier", "seen": "DATE", "sex": "QI", "note": "free-text"}
    meant = {"id": "link", "name": "direct_identifier", "seen": "date", "sex": "quasi_identifier", "note": "free_text"}
    assert recipe(said).tables == recipe(meant).tables
    with pytest.raises(InvalidError, match="wanted one of"):
        recipe({"id": "whatever"})
