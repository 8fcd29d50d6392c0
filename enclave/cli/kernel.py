"""``enclave kernel``: notebooks in sandboxed kernels from the shell, under one's own name."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.errors import EnclaveError, NotFoundError
from enclave.runtime.home import Home
from enclave.wire.client import WireClient, call_once
from enclave.wire.messages import launcher

app = typer.Typer(no_args_is_help=True, help="Run notebooks in sandboxed kernels; list and end kernels.")


class CellFailedError(EnclaveError):
    """A cell of a notebook failed; the output file shows which and how."""

    family = "cell_failed"
    exit_code = 3


@contextlib.contextmanager
def person_socket(home: Home) -> Iterator[Path]:
    """A launcher socket bound to the signed-in person; it and its kernels end with this block."""
    from enclave.cli.session import read_token

    client = WireClient(home.socket("launcherd"))
    try:
        yield Path(client.call(launcher.OpenPersonSocket(token=read_token(home))).socket)
    finally:
        client.close()


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="The notebook to run.")],
    project: Annotated[str, typer.Option(help="The project it works for.")],
    output: Annotated[Path, typer.Option(help="Where the executed notebook goes.")],
    home: HomeOption = None,
    timeout_s: Annotated[int, typer.Option("--timeout", help="Longest time of one cell in seconds.")] = 3600,
    environment: Annotated[
        str, typer.Option(metavar="NAME@V", help="The package set (`enclave env list`); without it the project's.")
    ] = "",
) -> None:
    """Run NOTEBOOK in a kernel of your own; every cell is recorded. Exit 3 when a cell failed."""
    if not notebook.is_file():
        raise NotFoundError(f"notebook {notebook}: wanted a file, got none")
    with person_socket(home_of(home)) as socket:
        execute(notebook, output, socket=socket, project=project, timeout_s=timeout_s, environment=environment)
    words().print(f"Wrote {output}.")


def execute(notebook: Path, output: Path, *, socket: Path, project: str, timeout_s: int, environment: str = "") -> None:
    """Runs all cells; ``output`` is written in any case. Raises ``CellFailedError``."""
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from enclave.reports.cells import NamingClient, ids_in
    from enclave.server.kernelspecs import KERNEL_NAME, EnclaveKernelSpecManager

    os.environ |= {
        "ENCLAVE_LAUNCHER_SOCKET": str(socket),
        "ENCLAVE_PROJECT": project,
        "ENCLAVE_ENVIRONMENT": environment,
    }
    document: Any = nbformat.read(notebook, as_version=4)
    manager = AsyncKernelManager(kernel_name=KERNEL_NAME, kernel_spec_manager=EnclaveKernelSpecManager())
    client = NamingClient(document, km=manager, kernel_name=KERNEL_NAME, timeout=timeout_s)
    client.stated_ids = ids_in(notebook)
    try:
        client.execute(env={**os.environ, "JPY_SESSION_NAME": str(notebook)})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise CellFailedError(
            f"notebook {notebook.name}: wanted all cells to run, got {type(error).__name__}; {output} shows where"
        ) from None
    finally:
        nbformat.write(document, output)
        if manager.has_kernel:
            asyncio.run(manager.shutdown_kernel(now=True))


@app.command("list")
def list_kernels(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Your kernels; an operator or a data steward sees everybody's."""
    with person_socket(home_of(home)) as socket:
        kernels = call_once(socket, launcher.ListOwnKernels()).kernels
    if json_path:
        write_json([dataclasses.asdict(one) for one in kernels], json_path)
        return
    for one in kernels:
        line = f"{one.kernel}  {one.person}  {one.project}  uid {one.host_uid}  since {one.started}  {one.state}"
        words().print(line, markup=False)
    words().print(f"{len(kernels)} kernels")


@app.command()
def kill(
    kernel: Annotated[str, typer.Argument(help="The kernel's id.")],
    ticket: Annotated[
        str | None, typer.Option("--ticket", metavar="ID", help="Ending another's: what asks for it.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """End one of your kernels; an operator may end anybody's, a frozen one only an operator or a data steward."""
    with person_socket(home_of(home)) as socket:
        _check_known(kernel, socket)
        call_once(socket, launcher.StopKernel(kernel=kernel, ticket=ticket))
    words().print("Ended.")


@app.command()
def freeze(kernel: Annotated[str, typer.Argument(help="The kernel's id.")], home: HomeOption = None) -> None:
    """Stop a kernel for good and keep what it has (operator or data steward); `kill` ends it."""
    with person_socket(home_of(home)) as socket:
        call_once(socket, launcher.FreezeKernel(kernel=kernel))
    words().print("Frozen.")


def _check_known(kernel: str, socket: Path) -> None:
    if kernel not in {one.kernel for one in call_once(socket, launcher.ListOwnKernels()).kernels}:
        raise NotFoundError("kernel: wanted one of yours that runs, got another id; see `enclave kernel list`")
