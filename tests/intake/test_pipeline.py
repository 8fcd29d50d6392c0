"""From an identified folder to a sealed candidate, with real daemons."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import ahocorasick
import numpy as np
import pyarrow as pa
import pytest

from enclave.broker.residual import count_survivors
from enclave.core.errors import DeniedError, InvalidError, NotFoundError
from enclave.core.ids import VersionName
from enclave.deid.synthetic.cohort import Planted
from enclave.keys.unwrap import open_unwrapper
from enclave.keys.uri import file_uri
from enclave.sealed import reader as sealed_reader
from enclave.sealed.store import SealedStore
from enclave.wire.messages.intake import ListBatches, ShowBatch


def found_in(data: bytes, planted: Planted) -> int:
    automaton = ahocorasick.Automaton()
    for pattern in planted.patterns():
        automaton.add_word(pattern.decode("latin-1"), 1)
    automaton.make_automaton()
    return sum(1 for _ in automaton.iter(data.decode("latin-1")))


def read(version: Any, name: str) -> bytes:
    data = bytearray()
    version.pieces(name, data.extend)
    return bytes(data)


@pytest.mark.slow
def test_a_cohort_becomes_a_registered_candidate_without_a_planted_identifier(
    stand: Any, demo_cohort: tuple[Path, Planted], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, planted = demo_cohort
    batch = stand.wait(stand.add(folder))
    assert (batch.state, batch.message) == ("sealed", "")
    assert batch.version == 1
    (registered,) = stand.registry.registered
    assert registered.steward == "stella"
    summary = registered.summary
    assert summary["results"]["k_after"] >= 5 > summary["results"]["k_before"]
    assert summary["counts"]["patients"] == 44
    assert summary["quality"]["residual_hits"] == 0
    assert count_survivors(stand.home, "demo-ct", 1, planted.patterns()) == 0
    # Neither the logs, nor the ledger, nor the batch's record hold anything planted.
    captured = capfd.readouterr()
    records = b"".join(path.read_bytes() for path in (stand.home.state("audit") / "segments").rglob("*.seg"))
    register = b"".join(path.read_bytes() for path in (stand.home.state("identified")).rglob("*.json"))
    vault = b"".join(path.read_bytes() for path in stand.home.state("vault").rglob("*") if path.is_file())
    for held in (captured.err.encode(), records, register, vault, json.dumps(summary).encode()):
        assert found_in(held, planted) == 0


def test_each_act_is_in_the_ledger_before_and_after(handed_in: Any) -> None:
    stand, batch = handed_in
    told = [(e["kind"], e["outcome"]) for e in stand.auditd.events() if e.get("ticket") == batch.id]
    assert told == [
        ("intake.add", "ok"),
        ("intake.deidentify", "intent"),
        ("intake.deidentify", "ok"),
        ("intake.measure", "intent"),
        ("intake.measure", "ok"),
        ("vault.store", "intent"),
        ("vault.store", "ok"),
        ("intake.seal", "intent"),
        ("intake.seal", "ok"),
    ]


def test_nothing_stays_in_the_identified_folder_after_sealing(handed_in: Any) -> None:
    stand, batch = handed_in
    folder = stand.home.state("identified")
    left = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    sealed = [path for path in left if path.parts[:2] == ("review", batch.id)]  # what a reviewer has still to see
    assert len(sealed) == len(batch.review)
    assert {path.parts[0] for path in left if path not in sealed} == {"batches"}


def test_a_second_batch_of_a_dataset_has_the_same_pseudonyms(handed_in: Any, cohort: tuple[Path, Planted]) -> None:
    stand, first = handed_in
    second = stand.wait(stand.add(cohort[0]))
    assert (first.version, second.version) == (1, 2)
    from enclave.wire.client import WireClient
    from enclave.wire.messages.vault import AskState

    assert WireClient(stand.home.socket("vaultd")).call(AskState()).datasets == {"demo-ct": 14}


@pytest.mark.parametrize("token", ["rosa-token", "hana-token", "nobody"])
def test_only_a_data_steward_may_hand_in(stand: Any, cohort: tuple[Path, Planted], token: str) -> None:
    with pytest.raises(DeniedError) as caught:
        stand.add(cohort[0], token=token)
    (event,) = stand.auditd.events(kind="intake.add")
    assert (event["outcome"], event["reason"]) == ("refused", caught.value.code)
    assert stand.ask(ListBatches(token="stella-token")).batches == ()


def test_a_researcher_may_not_look_at_batches(stand: Any) -> None:
    with pytest.raises(DeniedError):
        stand.ask(ListBatches(token="rosa-token"))
    assert stand.auditd.events(kind="intake.list")[0]["outcome"] == "refused"


@pytest.mark.parametrize("name", ["keys", "vault", "audit", "."])
def test_the_enclaves_own_folders_are_not_taken_in(stand: Any, name: str) -> None:
    with pytest.raises(DeniedError):
        stand.add(stand.home.root / name)


def test_an_unknown_recipe_names_the_known_ones(stand: Any, cohort: tuple[Path, Planted]) -> None:
    with pytest.raises(NotFoundError, match="demo"):
        stand.add(cohort[0], recipe="other")


def test_a_batch_with_unknown_columns_fails_and_says_why_without_a_value(
    stand: Any, cohort: tuple[Path, Planted], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    patients = (cohort[0] / "patients.csv").read_text()
    (folder / "patients.csv").write_text("\n".join(line + ",Canaryquist" for line in patients.splitlines()) + "\n")
    shutil.copytree(next(iter((cohort[0] / "dicom").iterdir())), folder / "dicom")
    batch = stand.wait(stand.add(folder))
    assert batch.state == "failed"
    assert "1 without one" in batch.message
    assert "Canaryquist" not in batch.message
    assert stand.registry.registered == []
    assert not list(stand.home.state("sealed").rglob("manifest")) if stand.home.state("sealed").exists() else True
    assert stand.auditd.events(kind="intake.deidentify", outcome="failed")[0]["reason"] == "table_columns"


def test_a_vault_that_is_away_stops_the_batch_before_anything_is_sealed(
    stand: Any, few_images: tuple[Path, Planted]
) -> None:
    stand.vault.close()
    batch = stand.wait(stand.add(few_images[0]))
    assert batch.state == "failed"
    assert "vaultd" in batch.message
    assert stand.registry.registered == []
    assert stand.auditd.events(kind="intake.seal") == []


def test_a_ledger_that_is_away_means_that_nothing_is_taken_in(stand: Any, cohort: tuple[Path, Planted]) -> None:
    stand.auditd.stop()
    with pytest.raises(Exception, match=r"ledger|auditd"):
        stand.add(cohort[0])
    stand.auditd.start()
    assert stand.ask(ListBatches(token="stella-token")).batches == ()


def test_a_batch_that_a_restart_interrupted_is_marked_failed(stand: Any, cohort: tuple[Path, Planted]) -> None:
    stand.stop()
    record = {
        "id": "a" * 32, "dataset": "demo-ct", "recipe": "demo", "state": "deidentifying", "submitted_by": "stella",
        "received": "2026-11-22T12:00:00.000000Z", "progress": 0.2, "summary": {}, "message": "",
    }  # fmt: skip
    (stand.home.state("identified") / "batches" / f"{'a' * 32}.json").write_text(json.dumps(record))
    left = stand.home.state("identified") / "work" / ("a" * 32) / "dicom"
    left.mkdir(parents=True)
    stand.start()
    batch = stand.ask(ShowBatch(token="stella-token", id="a" * 32))
    assert batch.state == "failed"
    assert "restart" in batch.message
    assert not left.exists()
    assert stand.auditd.events(kind="intake.deidentify")[0]["reason"] == "interrupted"


def test_a_batch_that_was_sealed_before_a_restart_is_registered_after_it(
    stand: Any, few_images: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave.intake.pipeline._PAUSES_S", ())
    stand.registry.stop()
    batch = stand.wait(stand.add(few_images[0]), until=lambda b: "not registered" in b.message or b.state == "failed")
    assert batch.state == "sealing"
    stand.stop()
    stand.registry.start()
    stand.start()
    assert stand.ask(ShowBatch(token="stella-token", id=batch.id)).state == "sealed"
    assert [r.version for r in stand.registry.registered] == [1]
    assert len(stand.registry.proposed) == 1


def test_what_is_sealed_can_be_read_as_tables_and_arrays(handed_in: Any) -> None:
    stand, _ = handed_in
    store = SealedStore(stand.home.state("sealed"))
    unwrapper = open_unwrapper(file_uri(stand.home.key_file("kek")))
    version = sealed_reader.open_version(store, VersionName("demo-ct", 1), unwrapper=unwrapper)
    entries = {entry.name: entry for entry in version.manifest.entries}
    assert {"tables/patients", "tables/visits", "tables/imaging"} <= set(entries)
    patients = pa.ipc.open_file(read(version, "tables/patients")).read_all()
    assert "name" not in patients.column_names
    imaging = pa.ipc.open_file(read(version, "tables/imaging")).read_all().to_pylist()
    assert {row["patient_id"] for row in imaging} <= set(patients.column("patient_id").to_pylist())
    ct = next(entry for entry in entries.values() if entry.header.get("modality") == "CT")
    volume = np.frombuffer(read(version, ct.name), ct.header["dtype"]).reshape(ct.header["shape"])
    assert ct.header["units"] == "HU"
    assert volume.ndim == 3
    assert volume.min() < -900 < 300 < volume.max()


def test_a_recipe_that_lets_pixels_pass_is_refused(stand: Any, cohort: tuple[Path, Planted], tmp_path: Path) -> None:
    from enclave.intake.recipe import read_intake_recipe

    (tmp_path / "headers.toml").write_text('options = ["clean_descriptors"]\n[risk]\ntable = "t"\nconfig = "r.toml"\n')
    with pytest.raises(InvalidError) as caught:
        read_intake_recipe("headers", folder=str(tmp_path))
    assert caught.value.code == "pixels_not_cleaned"
