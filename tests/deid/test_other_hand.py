"""What the generator of another hand plants survives as little as what ours does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.deid.other_hand import make_cohort, pairs, score
from enclave.deid.job import JobSpec, run_job


@pytest.mark.row("S13.2")
def test_nothing_of_a_cohort_that_shares_nothing_with_ours_survives(
    keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    made = make_cohort(tmp_path / "in", seed=40, files=75)
    assert pairs(tmp_path / "in", made.strings) > 500
    spec = JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=headers_recipe, keyring=keyring)
    assert run_job(spec).report["reasons"] == {}
    found = score(tmp_path / "out", made)
    assert (found["survivors"], found["distinct_patients"], found["documents_out"]) == (0, 25, made.letters)
    assert found["words_kept_in_documents"] > 0.95
