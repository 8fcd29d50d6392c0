"""A cohort and what the default run with the demo's table roles makes of it, shared by the tests of this package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from made_once import made_once

from enclave.core.secret import Secret
from enclave.deid.job import JobResult, JobSpec, run_job
from enclave.deid.keyring import Keyring, derive_keyring
from enclave.deid.profile import DEFAULT_OPTIONS, PIXEL_OPTIONS
from enclave.deid.recipe import Recipe, build_recipe
from enclave.deid.synthetic.cohort import Planted, generate_cohort

TABLES: dict[str, Any] = {
    "patients": {
        "columns": {
            "patient_id": "link", "name": "direct_identifier", "birth_date": "direct_identifier",
            "national_id": "direct_identifier", "address": "direct_identifier", "phone": "direct_identifier",
            "email": "direct_identifier", "referring_physician": "direct_identifier", "age": "age",
            "sex": "quasi_identifier", "zip": "quasi_identifier", "smoking_status": "plain", "height_cm": "plain",
            "weight_kg": "plain", "first_seen": "date", "note": "free_text",
        }
    },
    "visits": {
        "columns": {
            "visit_id": "pseudonym", "patient_id": "link", "accession_number": "pseudonym", "admission_date": "date",
            "discharge_date": "date", "department": "plain", "diagnosis": "sensitive", "crp_mg_l": "plain",
            "attending": "direct_identifier", "remark": "free_text",
        }
    },
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """One finished job."""

    source: Path
    output: Path
    planted: Planted
    recipe: Recipe
    keyring: Keyring
    result: JobResult


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """A fixed key, so that a failure can be looked into."""
    return derive_keyring(Secret(bytes(range(32))))


@pytest.fixture(scope="session")
def headers_recipe() -> Recipe:
    """The recipe of the benchmarks: pixel data pass unchanged."""
    return build_recipe({"options": [o for o in DEFAULT_OPTIONS if o not in PIXEL_OPTIONS], "tables": TABLES})


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """44 patients, all modalities; of each series two instances, for speed."""

    def make(folder: Path) -> Planted:
        planted = generate_cohort(folder, seed=3)
        for series in (folder / "dicom").glob("*/*"):
            for surplus in sorted(series.glob("*.dcm"))[2:]:
                surplus.unlink()
        return planted

    return made_once(tmp_path_factory, "deid-cohort", make)


@pytest.fixture(scope="session")
def ran(source: tuple[Path, Planted], keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The default options and the tables' roles, with two canaries.

    All patients, but fewer of the images that take a second each: of two radiographs every other patient has the one
    with text, of ultrasounds one, a second CT only some.
    """
    recipe = build_recipe({"tables": TABLES, "canaries": {"count": 2}})
    folder = tmp_path_factory.mktemp("clean")
    shutil.copytree(source[0], folder / "in")
    for number, series in enumerate(sorted((folder / "in" / "dicom").glob("*/*_CR"))):
        sorted(series.glob("*.dcm"))[number % 2].unlink()
    for series in (folder / "in" / "dicom").glob("*/*_US"):
        max(series.glob("*.dcm")).unlink()
    for patient in sorted((folder / "in" / "dicom").iterdir())[4:]:
        for later in sorted(patient.glob("*_CT"))[1:]:
            shutil.rmtree(later)
    result = run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe, keyring=keyring))
    return Ran(folder / "in", folder / "out", source[1], recipe, keyring, result)


@pytest.fixture(scope="session")
def real_files() -> Iterator[Path]:
    """275 real files of public collections; absent on most machines."""
    shared = Path(os.environ.get("ENCLAVE_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not (shared / "dicom").is_dir():
        pytest.skip("real DICOM files are not here; set ENCLAVE_SHARED_DATA to the folder that holds dicom/")
    yield shared / "dicom"
