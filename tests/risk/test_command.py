"""``enclave risk`` as a person calls it: files in, files out, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from enclave.cli.main import main

TOML = """
subject = "patient"
[qi.age]
hierarchy = "age.csv"
[qi.sex]
[sensitive.diagnosis]
distance = "equal"
[model]
k = 2
suppression_limit = 0.0
"""
AGES = "".join(f"{age};{age // 10 * 10}-{age // 10 * 10 + 9};*\n" for age in range(100))
ROWS = [
    ("p1", 31, "f", "x"),
    ("p2", 35, "f", "y"),
    ("p3", 52, "m", "x"),
    ("p4", 58, "m", "y"),
    ("p4", 58, "m", "x"),
]

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*argv: object) -> int:
        monkeypatch.setattr(sys, "argv", ["enclave", *map(str, argv)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return call


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "risk.toml").write_text(TOML)
    (tmp_path / "age.csv").write_text(AGES)
    lines = ["patient;age;sex;diagnosis", *(";".join(map(str, row)) for row in ROWS)]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_assess_writes_every_field_of_its_interface(run: Run, files: Path) -> None:
    out, page = files / "a.json", files / "a.html"
    asked = ("risk", "assess", files / "table.csv", "--config", files / "risk.toml")
    assert run(*asked, "--json", out, "--html", page) == 0
    found = read(out)
    assert set(found) >= {
        *("records", "subjects", "classes", "k", "unique_records", "sample_uniqueness", "prosecutor", "journalist"),
        *("marketer", "population_uniqueness", "l", "t", "beta", "delta", "null_semantics"),
    }
    assert (found["records"], found["subjects"], found["classes"], found["k"]) == (5, 4, 4, 1)
    assert set(found["population_uniqueness"]) == {"pitman", "zayatz", "snb", "dankar"}
    assert found["population_uniqueness"]["pitman"] is None
    assert set(found["l"]["diagnosis"]) == {"distinct", "entropy", "recursive_c"}
    assert "does not hold" in page.read_text("utf-8")
    assert "<script" not in page.read_text("utf-8")


def test_anonymise_writes_a_table_that_holds_the_model(run: Run, files: Path) -> None:
    out, table = files / "b.json", files / "out.parquet"
    asked = ("risk", "anonymise", files / "table.csv", "--config", files / "risk.toml", "--output", table)
    assert run(*asked, "--json", out) == 0
    found = read(out)
    assert (found["node"], found["suppressed"], found["optimal"], found["k"]) == ({"age": 1, "sex": 0}, 0, True, 2)
    assert found["nodes_total"] == 6
    assert found["before"]["k"] == 1
    assert pq.read_table(table).column("age").to_pylist() == ["30-39", "30-39", "50-59", "50-59", "50-59"]


def test_a_table_with_quoted_names_and_leading_zeros_keeps_its_text(run: Run, files: Path) -> None:
    (files / "risk.toml").write_text('[qi."a;b"]\n[model]\nk = 1\n')
    (files / "table.csv").write_text('\ufeff"a;b";c\n007;1\n7;1\n', "utf-8")
    out, table = files / "e.json", files / "out.parquet"
    asked = ("risk", "anonymise", files / "table.csv", "--config", files / "risk.toml", "--output", table)
    assert run(*asked, "--json", out) == 0
    assert pq.read_table(table).column("a;b").to_pylist() == ["007", "7"]


def test_nothing_feasible_is_invalid_with_a_null_node(run: Run, files: Path, capsys: Any) -> None:
    (files / "risk.toml").write_text(TOML.replace("k = 2", "k = 9"))
    out = files / "c.json"
    asked = ("risk", "anonymise", files / "table.csv", "--config", files / "risk.toml", "--output", files / "o.parquet")
    assert run(*asked, "--json", out) == 12
    assert read(out)["node"] is None
    assert not (files / "o.parquet").exists()
    assert "raise the suppression limit" in capsys.readouterr().err


def test_compare_says_what_changed(run: Run, files: Path) -> None:
    table, out = files / "out.parquet", files / "d.json"
    run("risk", "anonymise", files / "table.csv", "--config", files / "risk.toml", "--output", table)
    assert run("risk", "compare", files / "table.csv", table, "--config", files / "risk.toml", "--json", out) == 0
    assert read(out)["change"]["k"] == 1
    assert read(out)["change"]["records"] == 0


def test_compare_says_what_two_releases_tell_together(run: Run, files: Path) -> None:
    (files / "risk.toml").write_text(TOML.replace('[qi.age]\nhierarchy = "age.csv"\n', ""))
    lines = ["patient;sex;diagnosis", "p1;f;x", "p2;m;y", "p3;m;x", "p4;f;y"]
    (files / "later.csv").write_text("\n".join(lines) + "\n")
    (files / "third.csv").write_text("\n".join([*lines[:-1], "p4;f;y", "p9;f;y"]) + "\n")
    out = files / "j.json"
    asked = ("risk", "compare", files / "table.csv", files / "later.csv", "--config", files / "risk.toml")
    assert run(*asked, "--json", out) == 0
    assert (read(out)["joint"]["k"], read(out)["joint"]["k_alone"], read(out)["broken"]) == (1, [2, 2], [])
    assert run(*asked, "--seen", files / "third.csv", "--json", out) == 0
    assert (read(out)["joint"]["releases"], read(out)["joint"]["unique_subjects"]) == (3, 5)


def test_append_ends_with_3_when_rows_break_the_model(run: Run, files: Path) -> None:
    (files / "risk.toml").write_text(TOML.replace('[qi.age]\nhierarchy = "age.csv"\n', ""))
    (files / "good.csv").write_text("patient;sex;diagnosis\np8;f;x\n")
    (files / "bad.csv").write_text("patient;sex;diagnosis\np8;d;x\n")
    out = files / "n.json"
    asked = ("--config", files / "risk.toml", "--json", out)
    assert run("risk", "append", files / "table.csv", files / "good.csv", *asked) == 0
    assert (read(out)["k"], read(out)["breaks"]) == (2, False)
    assert run("risk", "append", files / "table.csv", files / "bad.csv", *asked) == 3
    assert (read(out)["k"], read(out)["small_classes"], read(out)["breaks"]) == (1, 1, True)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[qi.age]\nhierarchi = 'x'", "did you mean 'hierarchy'"),
        ("[qi.nowhere]", "nowhere"),
        ("[model]\nk = 2", "qi"),
        ("[qi.age]\n[model]\nmetric = 'beauty'", "model.metric"),
        ("[qi.age]\n[model]\nt = 0.3", "sensitive"),
        ("[qi.age]\n[sensitive.age]", "one role"),
        ("not toml", "TOML"),
    ],
)
def test_a_bad_configuration_is_named(run: Run, files: Path, capsys: Any, toml: str, words: str) -> None:
    (files / "risk.toml").write_text(toml)
    assert run("risk", "assess", files / "table.csv", "--config", files / "risk.toml") == 12
    assert words in capsys.readouterr().err


def test_files_that_are_not_there_or_no_tables(run: Run, files: Path) -> None:
    assert run("risk", "assess", files / "nowhere.csv", "--config", files / "risk.toml") == 11
    assert run("risk", "assess", files / "table.csv", "--config", files / "nowhere.toml") == 11
    (files / "bad.csv").write_bytes(b"\xff\xfe\x00")
    assert run("risk", "assess", files / "bad.csv", "--config", files / "risk.toml") == 12
    (files / "bad.parquet").write_bytes(b"PAR1 and then nothing")
    assert run("risk", "assess", files / "bad.parquet", "--config", files / "risk.toml") == 12
    (files / "age.csv").unlink()
    assert run("risk", "assess", files / "table.csv", "--config", files / "risk.toml") == 11


def test_a_value_that_its_hierarchy_lacks_is_counted_not_shown(run: Run, files: Path, capsys: Any) -> None:
    (files / "age.csv").write_text("31;30-39;*\n35;30-39;*\n52;50-59;*\n")
    asked = ("risk", "anonymise", files / "table.csv", "--config", files / "risk.toml", "--output", files / "o.parquet")
    assert run(*asked) == 12
    told = capsys.readouterr().err
    assert "1 of 4" in told
    assert "58" not in told


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["p1;31;f;x"], "one row"),
        (["p1;;f;x", "p2;;m;y"], "all null: age"),
        (["p1;31;f;x", "p1;35;f;x"], "subjects with conflicting attributes"),
    ],
)
def test_what_a_reader_has_to_know_is_said_beside_the_numbers(
    run: Run, files: Path, capsys: Any, lines: list[str], words: str
) -> None:
    (files / "odd.csv").write_text("\n".join(["patient;age;sex;diagnosis", *lines]) + "\n")
    assert run("risk", "assess", files / "odd.csv", "--config", files / "risk.toml") == 0
    assert f"Note: {words}." in capsys.readouterr().err


def test_a_search_that_was_bounded_says_so(run: Run, files: Path, capsys: Any) -> None:
    names = [f"c{i}" for i in range(21)]
    (files / "wide.csv").write_text(";".join(names) + "\n" + "\n".join(";".join("01"[i % 2] * 21) for i in range(8)))
    (files / "wide.toml").write_text("".join(f"[qi.{name}]\n" for name in names) + "[model]\nk = 4\n")
    asked = ("--config", files / "wide.toml", "--output", files / "o.parquet", "--json", files / "w.json")
    assert run("risk", "anonymise", files / "wide.csv", *asked) == 0
    assert read(files / "w.json")["optimal"] is False
    assert "2097152 nodes are too many to search whole" in capsys.readouterr().err.replace("\n", " ")


def test_a_place_that_cannot_be_written_is_named_by_its_file_only(run: Run, files: Path, capsys: Any) -> None:
    asked = ("--config", files / "risk.toml", "--output", files / "no-folder" / "o.parquet")
    assert run("risk", "anonymise", files / "table.csv", *asked) == 14
    told = capsys.readouterr().err
    assert "o.parquet: wanted a file to write, got No such file or directory" in told.replace("\n", " ")
    assert str(files) not in told


def test_what_it_would_cost_to_keep_more_rows_is_said_on_request(run: Run, files: Path, capsys: Any) -> None:
    ages = [31] * 8 + [35] * 8 + [52, 58]
    lines = [f"p{i};{age};f;x" for i, age in enumerate(ages)]
    (files / "many.csv").write_text("\n".join(["patient;age;sex;diagnosis", *lines]) + "\n")
    (files / "risk.toml").write_text(TOML.replace("suppression_limit = 0.0", "suppression_limit = 0.2"))
    asked = ("--config", files / "risk.toml", "--output", files / "o.parquet", "--json", files / "w.json")
    assert run("risk", "anonymise", files / "many.csv", *asked) == 0
    assert (read(files / "w.json")["suppressed"], read(files / "w.json")["alternatives"]) == (2, [])
    assert run("risk", "anonymise", files / "many.csv", *asked, "--alternatives") == 0
    (other,) = read(files / "w.json")["alternatives"]
    assert (other["suppressed"], other["node"]) == (0, {"age": 1, "sex": 0})
    assert other["metric_value"] > read(files / "w.json")["metric_value"]
    assert "instead: 0 rows left out" in capsys.readouterr().err


def test_a_release_of_subjects_without_images_breaks_nothing_of_theirs(run: Run, files: Path) -> None:
    (files / "images.csv").write_text("patient;model\np1;m\np2;m\np3;n\np4;n\n")
    (files / "later.csv").write_text("patient;age;sex;diagnosis\nq1;31;f;x\nq2;31;f;y\n")
    (files / "risk.toml").write_text(TOML + '[image]\ntable = "images.csv"\nfingerprint = ["model"]\n')
    asked = ("--config", files / "risk.toml", "--json", files / "i.json")
    (files / "risk.toml").write_text((files / "risk.toml").read_text().replace("k = 2", "k = 1"))
    assert run("risk", "compare", files / "table.csv", files / "later.csv", *asked) == 0
    assert read(files / "i.json")["broken"] == []
