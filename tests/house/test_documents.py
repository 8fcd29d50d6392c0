"""Documents that say what the code does are compared with the code."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib

import pytest
from sources import ROOT, modules, table

from enclave.cli.docs import DOCS, PAGES, page_text
from enclave.cli.settings_table import SECTIONS

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
THREATS = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def words_in_code(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def layers_of_contract() -> list[set[str]]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    lines = parser["importlinter:contract:layers"]["layers"].split("\n")
    return [{name.strip() for name in line.split("|")} for line in lines if line.strip()]


def test_the_process_table_names_exactly_the_processes_that_are_installed() -> None:
    named = {word for row in table(ARCHITECTURE, "## Processes") for word in words_in_code(row[0])}
    assert {word for word in named if word.startswith("enclave-")} == set(PROJECT["scripts"]) - {"enclave"}


def test_every_installed_process_has_its_module() -> None:
    for target in PROJECT["scripts"].values():
        module, _, function = target.partition(":")
        found = next((known for known in modules() if known.name == module), None)
        assert found is not None, module
        assert any(isinstance(node, ast.FunctionDef) and node.name == function for node in found.tree.body), target


def test_the_layer_table_is_the_contract() -> None:
    rows = [words_in_code(row[0]) for row in table(ARCHITECTURE, "## Layers")]
    assert rows == layers_of_contract()


def test_every_package_has_a_layer() -> None:
    packages = {module.name.split(".")[1] for module in modules() if module.name.count(".")}
    assert packages == set().union(*layers_of_contract())


def test_the_architecture_fits_on_two_pages() -> None:
    assert len(ARCHITECTURE.splitlines()) <= 120


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == page_text(name)


def test_every_settings_table_that_a_process_reads_is_in_the_reference() -> None:
    read = {
        ast.literal_eval(keyword.value)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "section" and isinstance(keyword.value, ast.Constant)
    }
    assert read <= set(SECTIONS)


def guarantees() -> list[list[str]]:
    return table(THREATS, "## Guarantees")


def test_the_guarantees_are_numbered_without_a_gap() -> None:
    assert [row[0] for row in guarantees()] == [f"G{number}" for number in range(1, len(guarantees()) + 1)]


@pytest.mark.parametrize("row", guarantees(), ids=lambda row: row[0])
def test_a_guarantee_names_tests_that_exist(row: list[str]) -> None:
    named = words_in_code(row[-1])
    assert named
    for name in named:
        path, _, function = name.partition("::")
        file = ROOT / "tests" / path
        assert file.is_file(), name
        tree = ast.parse(file.read_text("utf-8"))
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        assert any(isinstance(node, kinds) and node.name == function for node in ast.walk(tree)), name


def test_the_decisions_are_numbered_and_short() -> None:
    numbers = [int(path.name[:4]) for path in ADRS]
    assert numbers == list(range(1, len(ADRS) + 1))
    for path in ADRS:
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 40, path.name
        for heading in ("## Decision", "## Given up"):
            assert heading in text, f"{path.name}: {heading}"


LINKS = [
    (path.relative_to(ROOT).as_posix(), target)
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    if "://" not in target
]


@pytest.mark.parametrize(("source", "target"), LINKS)
def test_a_link_between_documents_leads_somewhere(source: str, target: str) -> None:
    assert ((ROOT / source).parent / target).exists()


def test_the_readme_shows_the_two_commands_on_its_first_screen() -> None:
    head = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:40])
    assert "make demo" in head
    assert "make test" in head
