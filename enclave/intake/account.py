"""From a finished run to the account that is sealed with its version."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pyarrow as pa

from enclave.deid.job import JobResult
from enclave.determination.account import RECOUNTED, FileAccount, account_table

_COUNTS: Final = (
    "patients",
    "series_left_out",
    "documents_left_out",
    "texts_withheld",
)  # of the counts, those that a version cannot tell


def intake_account(job: JobResult, summary: dict[str, Any]) -> pa.Table:
    """What became of each file, and what ``summary`` states of the run and the checks over it."""
    files = (
        FileAccount(
            input_sha256=done.input_sha256,
            output_sha256=done.output_sha256 if done.path else "",
            reason=done.reason,
            actions=done.actions,
            redactions=Counter(reason for _, reason in done.redactions) if done.path else {},
        )
        for done in job.outcomes
    )
    told = {name: value for name, value in summary["deidentification"].items() if _is_stated(name)}
    counts = {name: summary["counts"][name] for name in _COUNTS}
    return account_table(files, stated={"counts": counts, "deidentification": told, "quality": summary["quality"]})


def _is_stated(name: str) -> bool:
    return f"deidentification.{name}" not in RECOUNTED
