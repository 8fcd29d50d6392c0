"""What researchers type inside the enclave::

import enclave_kernel as enclave

enclave.datasets()                          # what this project may open
ds = enclave.open("demo-ct")                # tables and image series
patients = ds.table("patients")             # a pandas DataFrame
volume = ds.array(ds.series[0])             # a read-only NumPy array, without a copy
enclave.submit("figure.png", title="…", purpose="…", description="…")
enclave.egress_status()
"""

from __future__ import annotations

from typing import Any, NoReturn

from enclave_kernel.dataset import Dataset, datasets
from enclave_kernel.dataset import open_dataset as open  # noqa: A004 - enclave.open is the word that people type
from enclave_kernel.egress import egress_status, submit
from enclave_kernel.errors import EnclaveError

__all__ = ["Dataset", "EnclaveError", "datasets", "egress_status", "load", "open", "save", "submit"]


def save(name: str, value: Any) -> NoReturn:
    """Will keep an intermediate result, sealed for the project."""
    del name, value
    raise EnclaveError(
        "keeping intermediate results is not part of this release. What a notebook computes lives until its kernel "
        "ends; write the code so that it can be run again",
        family="unavailable",
        code="not_in_this_release",
    )


def load(name: str) -> NoReturn:
    """Will get back what ``save`` kept."""
    save(name, None)
