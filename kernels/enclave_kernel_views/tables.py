"""Arrow IPC bytes as tables."""

from __future__ import annotations

import mmap
from typing import Any

import pandas as pd
import pyarrow as pa


def arrow_table(memory: mmap.mmap | bytes) -> Any:
    """The table over the mapped bytes, without a copy."""
    return pa.ipc.open_file(pa.py_buffer(memory)).read_all()


def data_frame(memory: mmap.mmap | bytes) -> pd.DataFrame:
    """The table as a DataFrame; text and columns with gaps are copied, plain numbers are not."""
    frame: pd.DataFrame = arrow_table(memory).to_pandas()
    return frame
