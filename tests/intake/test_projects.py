"""Pseudonyms per project: the same patient is somebody else in another project's version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from enclave.core.errors import ConflictError, InvalidError, NotFoundError
from enclave.core.ids import VersionName
from enclave.core.secret import Secret
from enclave.deid.keyring import derive_keyring
from enclave.keys.unwrap import open_unwrapper
from enclave.keys.uri import file_uri
from enclave.reidentification.key_map import Entry
from enclave.sealed import reader as sealed_reader
from enclave.sealed.store import SealedStore
from enclave.wire.client import WireClient
from enclave.wire.messages.intake import ListBatches
from enclave.wire.messages.vault import AskState

pytestmark = [pytest.mark.slow, pytest.mark.row("S13.5")]


def patients(stand: Any, version: int) -> set[str]:
    store = SealedStore(stand.home.state("sealed"))
    unwrapper = open_unwrapper(file_uri(stand.home.key_file("kek")))
    opened = sealed_reader.open_version(store, VersionName("demo-ct", version), unwrapper=unwrapper)
    data = bytearray()
    opened.pieces("tables/patients", data.extend)
    return set(pa.ipc.open_file(bytes(data)).read_all().column("patient_id").to_pylist())


def test_each_project_gets_a_version_with_pseudonyms_of_its_own(stand: Any, few_images: Any, tmp_path: Path) -> None:
    stand.change_recipe(tmp_path / "recipes", line='pseudonym_domain = "project"')
    for project in ("lung", "knee", "lung"):
        batch = stand.wait(stand.add(few_images[0], project=project))
        assert (batch.state, batch.project) == ("sealed", project), batch.message
    assert [one.only_for for one in stand.registry.registered] == ["lung", "knee", "lung"]
    lung, knee, again = (patients(stand, version) for version in (1, 2, 3))
    assert lung == again
    assert lung.isdisjoint(knee)
    assert len(lung) == len(knee) > 1
    known = WireClient(stand.home.socket("vaultd")).call(AskState()).datasets
    assert known == {"demo-ct@knee": 14, "demo-ct@lung": 14}
    entries = stand.vault.desk._keys.entries("demo-ct", (min(lung), min(knee)))
    assert all(isinstance(entry, Entry) for entry in entries)
    told = [event["project"] for event in stand.auditd.events(kind="intake.add")]
    assert told == ["lung", "knee", "lung"]


def test_a_project_is_named_when_and_only_when_the_recipe_wants_one(
    stand: Any, few_images: Any, tmp_path: Path
) -> None:
    with pytest.raises(InvalidError, match="wanted no project"):
        stand.add(few_images[0], project="lung")
    stand.change_recipe(tmp_path / "recipes", line='pseudonym_domain = "project"')
    with pytest.raises(InvalidError, match="wanted a project"):
        stand.add(few_images[0])
    with pytest.raises(InvalidError):
        stand.add(few_images[0], project="Not A Name")
    with pytest.raises(ConflictError) as caught:
        stand.add(few_images[0], project="unknown")
    assert caught.value.code == "project_not_open"
    assert stand.ask(ListBatches(token="stella-token")).batches == ()
    refused = stand.auditd.events(kind="intake.add")
    assert [event["outcome"] for event in refused] == ["refused"] * 4


def test_keys_of_projects_have_nothing_in_common() -> None:
    master = Secret(bytes(range(32)))
    rings = [derive_keyring(master, project=project) for project in ("", "lung", "knee")]
    for kind in ("patient", "uid", "date", "number"):
        assert len({getattr(ring, kind) for ring in rings}) == 3
    assert derive_keyring(master, project="lung") == rings[1]


def test_a_pseudonym_of_another_dataset_is_still_unknown(stand: Any, few_images: Any, tmp_path: Path) -> None:
    stand.change_recipe(tmp_path / "recipes", line='pseudonym_domain = "project"')
    stand.wait(stand.add(few_images[0], project="lung"))
    with pytest.raises(NotFoundError):
        stand.vault.desk._keys.entries("demo", (min(patients(stand, 1)),))
