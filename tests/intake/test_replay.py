"""A certificate's numbers come out of the sealed version again, and a changed one is found by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from enclave.broker.replay import replay
from enclave.core.errors import IntegrityError, InvalidError
from enclave.determination.certificate import Certificate, parse_certificate
from enclave.determination.completeness import missing
from enclave.determination.replay import not_derivable
from enclave.keys.uri import file_uri
from enclave.sealed.reader import OpenVersion, open_unwrapper, open_version
from enclave.sealed.store import SealedStore

pytestmark = pytest.mark.row("S13.7")


@pytest.fixture
def bound(handed_in: Any) -> tuple[OpenVersion, Certificate]:
    """A sealed candidate and the certificate that intake drafted for it."""
    stand, _ = handed_in
    (text,) = stand.registry.proposed.values()
    certificate = parse_certificate(text.encode())
    unwrapper = open_unwrapper(file_uri(stand.home.key_file("kek")))
    return open_version(SealedStore(stand.home.state("sealed")), certificate.name, unwrapper=unwrapper), certificate


def changed(certificate: Certificate, section: str, path: str, value: Any) -> Certificate:
    document = json.loads(json.dumps(getattr(certificate, section)))
    *outer, last = path.split(".")
    held = document
    for name in outer:
        held = held[name]
    held[last] = value
    return replace(certificate, **{section: document})


def test_intakes_draft_states_all_and_every_number_comes_out_of_the_version_again(bound: Any) -> None:
    version, certificate = bound
    assert missing(certificate) == ()
    found = replay(version, certificate)
    assert [one.name for one in found if not one.ok] == []
    names = {one.name for one in found}
    assert len(names) == len(found) > 40
    for wanted in (
        *("counts.rows", "counts.subjects", "counts.studies", "counts.series", "counts.table_rows.patients"),
        *("results.after.k", "results.after.prosecutor.average", "results.after.null_semantics.wildcard"),
        *("results.profile.after.at_risk_at_k", "results.k_after"),
        *("results.before.k", "results.before.prosecutor.average", "results.profile.before.at_risk_at_k"),
        *(
            "results.images.fingerprint.k",
            "results.images.study_intervals.unique_subjects",
            "results.images.together.k",
        ),
        *("results.k_before", "results.levels.age", "results.suppressed_rows"),
    ):
        assert wanted in names
    beyond = not_derivable(certificate, compared=frozenset(names))
    assert set(beyond) == {"assumptions", "thresholds"}  # what people declared
    sources = {one.name: one.by for one in found}
    assert {sources[f"counts.{name}"] for name in ("files_in", "files_out", "quarantined")} == {"recounted"}
    assert sources["counts.rows"] == sources["results.after.k"] == "derived"
    assert sources["counts.patients"] == sources["quality.residual_hits"] == "account"
    assert any(name.startswith("deidentification.actions.") for name, by in sources.items() if by == "recounted")
    for section, path, value in (
        ("counts", "rows", 41),
        ("counts", "files_in", 7),
        ("counts", "files_out", 7),
        ("counts", "quarantined", 5),
        ("counts", "patients", 1),
        ("quality", "residual_hits", 1),
        ("quality", "canaries.planted", 99),
        ("deidentification", "max_shift_days", 1),
        ("deidentification", "software_sha256", "0" * 64),
        ("counts", "table_rows.patients", 1),
        ("results", "after.prosecutor.average", 0.1),
        ("results", "after.k", 99),
        ("results", "profile.after.at_risk_at_k", None),
        ("results", "after.prosecutor.invented", 1),
        ("results", "before.prosecutor.average", 0.1),
        ("results", "profile.before.classes", 1),
        ("results", "k_before", 99),
        ("results", "suppressed_rows", 999),
        ("results", "images.together.k", 999),
        ("results", "images.holds.image_fingerprint", None),
    ):
        differing = [one.name for one in replay(version, changed(certificate, section, path, value)) if not one.ok]
        assert differing == [f"{section}.{path}"]
    with pytest.raises(IntegrityError):
        replay(version, replace(certificate, content_root="cd" * 32))
    with pytest.raises(IntegrityError):
        replay(version, replace(certificate, version=7))
    with pytest.raises(InvalidError) as caught:
        replay(version, changed(certificate, "methods", "measured_table", "nowhere"))
    assert caught.value.code == "no_table"
    with pytest.raises(InvalidError) as caught:
        replay(version, changed(certificate, "methods", "model", {"k": "many"}))
