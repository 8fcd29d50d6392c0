"""Values as bytes and back: never pickled, so that loading one runs nothing."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from enclave_kernel.errors import EnclaveError


def parts_of(value: Any) -> tuple[str, dict[str, Any], Sequence[Any]]:
    """Kind, header and bytes of a value; raises ``EnclaveError`` for one that is kept by pickling only."""
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", {}, [bytes(value)]
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        whole = np.ascontiguousarray(value)
        return "array", {"dtype": whole.dtype.str, "shape": list(value.shape)}, [whole.reshape(-1).view(np.uint8)]
    if isinstance(value, pd.DataFrame):
        sink = pa.BufferOutputStream()
        try:
            table = pa.Table.from_pandas(value)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise EnclaveError("a column of the table holds objects of several kinds; convert it first") from None
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return "table", {}, [sink.getvalue()]
    raise EnclaveError("enclave.save keeps bytes, NumPy arrays of numbers or text, and pandas DataFrames")


def value_of(kind: str, header: dict[str, Any], memory: mmap.mmap | bytes) -> Any:
    """The value; an array is read-only over the mapped memory."""
    if kind == "array":
        return np.frombuffer(memory, dtype=np.dtype(header["dtype"])).reshape(tuple(header["shape"]))
    if kind == "table":
        return pa.ipc.open_file(pa.py_buffer(memory)).read_all().to_pandas()
    return bytes(memory)
