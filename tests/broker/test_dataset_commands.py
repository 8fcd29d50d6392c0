"""``enclave dataset``: what an operator sees of sealed versions, with the broker running and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dicom_objects import encoded
from document_cohort import report
from typer.testing import CliRunner

from enclave.cli.dataset import app
from enclave.core.errors import InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import VersionName

Stand = Any  # tests/broker/conftest.py: BrokerStand


def run(broker: Stand, *argv: str) -> tuple[int, Any]:
    """The exit code and the JSON; an error of ours is raised as the root command would get it."""
    result = CliRunner().invoke(app, [*argv, "--home", str(broker.audit.home.root), "--json", "-"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


def test_versions_are_listed_and_shown_without_any_key(broker: Stand) -> None:
    code, found = run(broker, "list")
    assert code == 0
    assert [(item["dataset"], item["version"], item["objects"]) for item in found["versions"]] == [("demo-ct", 1, 3)]
    assert run(broker, "show", "demo-ct@1") == (0, found["versions"][0])
    with pytest.raises(NotFoundError):
        run(broker, "show", "demo-ct@2")
    with pytest.raises(InvalidError):
        run(broker, "show", "demo-ct")


@pytest.mark.row("S6.3")
@pytest.mark.parametrize("running", [True, False])
def test_verify_says_what_is_damaged_and_exits_15(broker: Stand, running: bool) -> None:
    if not running:
        broker.stop()
    assert run(broker, "verify", "demo-ct@1") == (0, {"ok": True, "bad": []})
    path = broker.store.object_file(VersionName("demo-ct", 1), 0)
    path.write_bytes(path.read_bytes()[:-1])
    bad = [{"object": "review/qc.png", "reason": "stream_damaged"}]
    assert run(broker, "verify", "demo-ct@1") == (15, {"ok": False, "bad": bad})
    outcomes = [event["outcome"] for event in broker.events(kind="dataset.verify")]
    assert outcomes == (["intent", "ok", "intent", "failed"] if running else [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tables = tmp_path / "clean" / "tables"
    tables.mkdir(parents=True)
    (tables / "patients.csv").write_text("patient,age\np1,40\np2,50\n")
    return tmp_path / "clean"


def test_a_folder_is_sealed_as_a_candidate_that_opens_for_nobody_yet(broker: Stand, folder: Path) -> None:
    code, done = run(broker, "seal", str(folder), "--name", "other-ct")
    assert code == 0
    assert (done["dataset"], done["version"], done["objects"]) == ("other-ct", 1, 1)
    assert run(broker, "verify", "other-ct@1")[0] == 0
    kernel = broker.kernel()
    assert kernel.refused(lambda: kernel.open("other-ct")).code == "not_released"
    assert [event["outcome"] for event in broker.events(kind="dataset.seal")] == ["intent", "ok"]


def test_a_cleaned_document_is_sealed_as_text(broker: Stand, folder: Path) -> None:
    cleaned = folder / "dicom" / "p1" / "1.2.3" / "1.2.3.4"
    cleaned.mkdir(parents=True)
    (cleaned / "5.dcm").write_bytes(encoded(report({"name": "A, B", "patient_id": "1", "age": "60"}, 5)))
    assert run(broker, "seal", str(folder), "--name", "letters")[1]["objects"] == 2
    assert run(broker, "verify", "letters@1")[0] == 0


def test_nothing_is_sealed_without_a_ledger_or_from_what_is_no_data(
    broker: Stand, folder: Path, tmp_path: Path
) -> None:
    (folder / "tables" / "note.docx").write_text("x")
    with pytest.raises(InvalidError):
        run(broker, "seal", str(folder), "--name", "other-ct")
    (folder / "tables" / "note.docx").unlink()
    for where in (tmp_path / "absent", tmp_path):
        with pytest.raises(InvalidError):
            run(broker, "seal", str(where), "--name", "other-ct")
    broker.audit.stop()
    with pytest.raises(UnavailableError):
        run(broker, "seal", str(folder), "--name", "other-ct")
    assert [info.dataset for info in broker.store.versions()] == ["demo-ct"]
