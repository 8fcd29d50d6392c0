"""What researchers type inside the enclave::

import enclave_kernel as enclave

enclave.datasets()                          # what this project may open
ds = enclave.open("demo-ct")                # tables, image series, documents
patients = ds.table("patients")             # a pandas DataFrame
volume = ds.array(ds.series[0])             # a read-only NumPy array, without a copy
text = ds.document(ds.documents[0])         # cleaned free text of a report
enclave.save("features", array)             # kept sealed for the project; enclave.load("features")
enclave.submit("figure.png", title="…", purpose="…", description="…")
enclave.egress_status()
enclave.output_budget()                     # how much a cell, this hour, this day may still show
"""

from __future__ import annotations

from enclave_kernel.dataset import Dataset, datasets
from enclave_kernel.dataset import open_dataset as open  # noqa: A004 - enclave.open is the word that people type
from enclave_kernel.egress import egress_status, output_budget, submit
from enclave_kernel.errors import EnclaveError
from enclave_kernel.kept import load, save

__all__ = ["Dataset", "EnclaveError", "datasets", "egress_status", "load", "open", "output_budget", "save", "submit"]
