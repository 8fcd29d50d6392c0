"""The public Adult data where it is, and a slow, plain second opinion on every measure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from enclave.risk.config import Model, Population, Qi, RiskConfig
from enclave.risk.engine import read_table
from enclave.risk.hierarchy import parse_hierarchy

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def adult() -> tuple[Any, RiskConfig]:
    """The table and the configuration of the published reference values."""
    shared = Path(os.environ.get("ENCLAVE_SHARED_DATA") or ROOT.parent / "shared" / "data") / "adult"
    if not (shared / "adult.csv").exists():
        pytest.skip("Adult data set: not there; set ENCLAVE_SHARED_DATA to the folder that holds adult/")
    table = read_table(shared / "adult.csv")
    qis = tuple(
        Qi(
            name,
            parse_hierarchy(
                (shared / "adult_hierarchies" / f"adult_hierarchy_{name}.csv").read_text("utf-8"), name=name
            ),
        )
        for name in table.column_names
    )
    model = Model(k=5, suppression_limit=0.04, metric="entropy")
    return table, RiskConfig(qis=qis, model=model, population=Population(size=301_620))
