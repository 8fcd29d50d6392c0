"""``python -m enclave.reports.run``: one papermill run in a process of its own, which can be ended at any time.

Reads one JSON object on stdin ``{notebook, parameters, title, time_limit_s, page_fd}``; writes the page to the
descriptor ``page_fd`` and one JSON object on stdout: ``{ok, cells}`` or ``{ok, code, cell, error}``. Of an error
in a cell only its class and the cell's number are told: its text may hold data.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from enclave.core.errors import EnclaveError, UnavailableError
from enclave.reports.cells import NamingClient, ids_in
from enclave.reports.page import render_page

KERNEL = "enclave-python"
ENGINE = "enclave"


class _Client(NamingClient, PapermillNotebookClient):  # type: ignore[misc]  # papermill is untyped
    """papermill's, and each cell is named."""


class ReportEngine(Engine):  # type: ignore[misc]  # papermill is untyped
    """Runs the cells as papermill's own engine does."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """papermill's signature; ``options`` are those that ``_run_and_write`` gives it."""
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            timeout=options["execution_timeout"],
            startup_timeout=options["start_timeout"],
        )
        client.stated_ids = ids_in(Path(options["input_path"]))
        return client.execute()


papermill_engines.register(ENGINE, ReportEngine)


def run_notebook(task: dict[str, Any]) -> dict[str, Any]:
    """Runs the notebook and writes its page; returns what goes to stdout."""
    try:
        cells = _run_and_write(task)
    except PapermillExecutionError as error:
        # papermill puts a cell with the parameters in front: its index is the number in the file
        return _failed("cell_failed", cell=max(1, error.cell_index), error=_class_name(error.ename))
    except CellTimeoutError:
        return _failed("cell_timeout")
    except DeadKernelError:
        return _failed("kernel_died")
    except Exception as error:  # noqa: BLE001 - whatever the kernel's side did, only its class may be told
        return _not_run(error)
    return {"ok": True, "cells": cells}


def _run_and_write(task: dict[str, Any]) -> int:
    notebook = papermill.execute_notebook(
        Path(task["notebook"]),
        None,  # no copy on any disk
        parameters=task["parameters"],
        engine_name=ENGINE,
        kernel_name=KERNEL,
        language="python",
        progress_bar=False,
        log_output=False,
        start_timeout=60,
        execution_timeout=task["time_limit_s"],
    )
    cells = sum(1 for cell in notebook.cells if cell.cell_type == "code")
    with os.fdopen(int(task["page_fd"]), "wb") as page:
        page.write(render_page(notebook, title=task["title"]).encode("utf-8"))
    return cells


def main() -> None:
    """The process's entry."""
    json.dump(run_notebook(json.load(sys.stdin)), sys.stdout)


def _not_run(error: BaseException) -> dict[str, Any]:
    """An error of ours says why in its code; of any other only the class is told."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, EnclaveError):
        found = found.__cause__ or found.__context__
    if isinstance(found, EnclaveError) and not isinstance(found, UnavailableError):
        return _failed(found.code)
    if isinstance(found, UnavailableError) or isinstance(error, RuntimeError):  # jupyter_client's: it did not answer
        return _failed("kernel_unavailable")
    return _failed("run_crashed", error=_class_name(type(error).__name__))


def _failed(code: str, *, cell: int = 0, error: str = "") -> dict[str, Any]:
    return {"ok": False, "code": code, "cell": cell, "error": error}


def _class_name(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", text) else "an error"


if __name__ == "__main__":
    main()
