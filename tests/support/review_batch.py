"""A sealed batch whose sample waits, as intake leaves it: an image and a text, sealed by the real material."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from dicom_objects import encoded, image

from enclave.deid.job import JobResult, SeenHead
from enclave.deid.provenance import write_provenance
from enclave.deid.tables import CleanTable
from enclave.intake.batches import BatchRegister
from enclave.intake.material import ReviewMaterial
from enclave.intake.review import frontal_of, sample_of
from enclave.keys.box import open_box
from enclave.keys.files import new_symmetric
from enclave.keys.uri import file_uri
from enclave.runtime.home import Home, ensure_private_dir
from enclave.wire.messages.intake import Batch

ID = "b" * 32
PICTURE, TEXT = "1.2.3.4", "visits/remark[0]"
WORDS = "No change since the last look."


def keep_batch(
    home: Home,
    work: Path,
    *,
    submitted_by: str = "stella",
    heads: Mapping[str, SeenHead] = MappingProxyType({}),
    **changes: Any,
) -> Batch:
    """Writes the batch and its material below ``home``; ``work`` holds the image meanwhile. ``heads``: by series."""
    new_symmetric(home.key_file("intake-box"))
    folder = ensure_private_dir(home.state("identified"))
    (work / "dicom").mkdir(parents=True)
    (work / "dicom" / f"{PICTURE}.dcm").write_bytes(encoded(image()))
    faces = {f"dicom/p/1.2/{series}": head for series, head in heads.items()}
    sample = [f"dicom/{PICTURE}.dcm", "tables/visits.csv#remark[0]", *map(frontal_of, faces)]
    table = CleanTable("visits", pa.table({"remark": [WORDS]}), review=("remark",))
    material = ReviewMaterial(folder / "review", box=open_box(file_uri(home.key_file("intake-box"))))
    write_provenance(work / "provenance.parquet", outcomes=[], options=())
    material.keep(ID, sample=sample, work=work, job=JobResult({}, [], [table], faces=faces))
    fields = {
        "id": ID, "dataset": "demo-ct", "recipe": "demo", "state": "sealed", "submitted_by": submitted_by,
        "received": "2026-11-22T10:00:00.000000Z", "progress": 1.0, "version": 1, "review": sample_of(sample),
        "summary": {"quality": {"review": {"required": True}}, "content_root": "ab" * 32},
    }  # fmt: skip
    return BatchRegister(folder / "batches").put(Batch(**{**fields, **changes}))
