"""The committed notebooks, run by a real kernel of the kernel environment against a lease on a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
import pytest
from lease import Lease, arrow_bytes, objects

import enclave
from enclave.reports.page import render_page

ROOT = Path(enclave.__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
REPORT = ROOT / "notebooks" / "reports" / "dataset_validation.ipynb"
FIRST_LOOK = ROOT / "notebooks" / "demo" / "first_look.ipynb"


@pytest.fixture
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    """The two sockets, and a kernelspec ``enclave-python`` that starts the kernel environment's interpreter."""
    (tmp_path / "home" / "work").mkdir(parents=True)
    spec = tmp_path / "jupyter" / "kernels" / "enclave-python"
    spec.mkdir(parents=True)
    python = ROOT / ".venv-kernel" / "bin" / "python"
    environment = {
        "PYTHONPATH": str(ROOT / "kernels"),
        "ENCLAVE_RUN_DIR": str(tmp_path),
        "HOME": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    text = json.dumps({"argv": argv, "display_name": "x", "language": "python", "env": environment})
    (spec / "kernel.json").write_text(text)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    stand = Lease()
    stand.serve_lease(tmp_path)
    stand.serve_submit(tmp_path)
    yield stand
    stand.close()


def validated(**parameters: str) -> str:
    notebook = papermill.execute_notebook(REPORT, None, parameters=parameters, progress_bar=False, log_output=False)
    return render_page(notebook, title="t")


@pytest.mark.slow
def test_the_validation_report_says_that_a_good_version_is_good(lease: Lease) -> None:
    page = validated(dataset="demo-ct")
    assert "demo-ct@1 until 2027-01-01" in page
    assert "look at it" not in page
    assert page.count("data:image/png;base64,") == 2


@pytest.mark.slow
def test_the_validation_report_finds_a_class_below_k_and_does_not_say_its_size(lease: Lease) -> None:
    lease.objects = objects(smallest=2)
    page = validated(dataset="demo-ct")
    assert "smallest class: fewer than 5" in page
    assert "look at it" in page


@pytest.mark.slow
def test_the_validation_report_finds_a_series_that_is_not_as_described(lease: Lease) -> None:
    kind, header, _ = lease.objects["series/1.2.0"]
    lease.objects["series/1.2.0"] = (kind, header, bytes(4 * 8 * 8 * 2))
    assert "1 of 6 have one value only" in validated(dataset="demo-ct")


@pytest.mark.slow
def test_the_validation_report_counts_documents_by_kind_and_says_how_many_wait_for_a_person(lease: Lease) -> None:
    lease.objects |= documents({"pdf": 9, "report": 12}, flagged={"pdf": 9, "report": 6})
    page = " ".join(validated(dataset="demo-ct").split())
    for kind, modality, cells in (("pdf", "DOC", ("9", "9", "all")), ("report", "SR", ("12", "10", "6"))):
        row = page[page.index(f"<th>{kind}</th>") :].partition("</tr>")[0]
        assert [cell.partition("</td>")[0] for cell in row.split("<td>")[1:]] == [modality, *cells]
    assert "look at it" not in page
    assert "pleural effusion" not in page


@pytest.mark.slow
def test_the_validation_report_finds_documents_that_are_not_as_the_version_says(lease: Lease) -> None:
    lease.objects |= documents({"pdf": 9, "report": 12}, flagged={"pdf": 8, "report": 6})
    del lease.objects["documents/1.3.report.0"]
    lease.objects["documents/1.3.report.1"] = ("document", {"form": "report", "modality": "SR"}, b" ")
    page = " ".join(validated(dataset="demo-ct").split())
    assert page.count("look at it") == 4
    assert "all but fewer than 5" in page
    assert page.count("fewer than 5 differ") == page.count("fewer than 5 have none") == 1


def documents(counts: dict[str, int], *, flagged: dict[str, int]) -> dict[str, Any]:
    """Documents of ten people, those of each kind that are flagged first, and the table of them."""
    found: dict[str, Any] = {}
    rows: dict[str, list[str]] = {"document": [], "patient_id": [], "form": []}
    for form, count in counts.items():
        for number in range(count):
            name, modality = f"1.3.{form}.{number}", {"pdf": "DOC", "report": "SR"}[form]
            header = {"form": form, "modality": modality, "flagged": number < flagged[form]}
            found[f"documents/{name}"] = ("document", header, b"A small pleural effusion.\n")
            for column, value in (("document", name), ("patient_id", f"p{number % 10:03d}"), ("form", form)):
                rows[column].append(value)
    return {**found, "tables/documents": ("table", None, arrow_bytes(rows))}


@pytest.mark.slow
def test_the_first_look_runs_from_top_to_bottom_and_submits_a_figure(lease: Lease) -> None:
    notebook = nbformat.read(FIRST_LOOK, as_version=4)
    nbclient.NotebookClient(notebook, kernel_name="enclave-python", timeout=60).execute()
    assert [message.names for message in lease.submitted] == [("figure.png",)]
    kinds = {kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= kinds


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_committed_notebook_has_our_kernel_and_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "enclave-python"
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
