"""The command ``enclave``: a table of groups, each loaded only when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer
import typer.core
import typer.main

from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError

# name → (module:attribute, one line of help). A group's attribute is a Typer; a single command's is a function.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("enclave.cli.init:init", "Make a new enclave home."),
    "demo": ("enclave.cli.demo:app", "The whole enclave on this machine, with a synthetic cohort."),
    "doctor": ("enclave.cli.doctor:doctor", "Check all prerequisites and say what a missing one costs."),
    "login": ("enclave.cli.login:login", "Sign in with a browser, to act from this shell."),
    "logout": ("enclave.cli.login:logout", "Forget the sign-in of this shell."),
    "whoami": ("enclave.cli.login:whoami", "Who this shell acts for."),
    "project": ("enclave.cli.project:app", "Projects and their members."),
    "intake": ("enclave.cli.intake:app", "Bring identified images and tables in."),
    "deid": ("enclave.cli.deid:app", "De-identify DICOM and tables, stand-alone."),
    "risk": ("enclave.cli.risk:app", "Measure and lower re-identification risk, stand-alone."),
    "determination": ("enclave.cli.determination:app", "Draft, sign, verify and revoke expert determinations."),
    "release": ("enclave.cli.release:app", "Release a version to a project."),
    "agreement": ("enclave.cli.agreement:app", "Agreements under which projects work."),
    "security-key": ("enclave.cli.security_key:app", "Enrol and end security keys."),
    "dataset": ("enclave.cli.dataset:app", "Sealed dataset versions."),
    "grant": ("enclave.cli.grant:app", "Who may open what, until when."),
    "reidentify": ("enclave.cli.reidentify:app", "Break-glass: learn who is behind pseudonyms."),
    "kernel": ("enclave.cli.kernel:app", "Run notebooks in sandboxed kernels; list and end kernels."),
    "env": ("enclave.cli.env:app", "Build and list package sets for kernels."),
    "sandbox": ("enclave.cli.sandbox:app", "Try to get out of the sandbox."),
    "audit": ("enclave.cli.audit:app", "Query, verify and export the ledger."),
    "egress": ("enclave.cli.egress:app", "Check, review and deliver results."),
    "report": ("enclave.cli.report:app", "Scheduled validation reports."),
}


class LazyGroup(typer.core.TyperGroup):
    """Lists all commands from the table and imports a module only to run it: ``--help`` stays quick."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # typer's context is click's
        """All names, in the order in which an enclave is used."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # as above
        """A stand-in that knows its one line of help: enough for a listing."""
        del ctx
        known = COMMANDS.get(cmd_name)
        return typer.core.TyperCommand(cmd_name, help=known[1]) if known else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Loads what is about to run; an unknown name gets the usual usage error with the nearest match."""
        if args and args[0] in COMMANDS:
            return args[0], load(args[0]), args[1:]
        return super().resolve_command(ctx, args)


def load(name: str) -> Any:
    """The command behind ``name``."""
    path, summary = COMMANDS[name]
    module, _, attribute = path.partition(":")
    found: Any = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    single = typer.Typer(add_completion=False)
    single.command(name, help=found.__doc__ or summary)(found)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="A place where research on de-identified medical images is possible.",
    epilog="Examples:  enclave demo up   ·   enclave audit verify   ·   enclave deid explain --tag 0010,0010",
)


@app.callback()
def _root(home: str = typer.Option("", "--home", help="The enclave home (default ./.enclave).")) -> None:
    if home:
        os.environ["ENCLAVE_HOME"] = home


def main() -> None:
    """Runs one command; every error of ours becomes its message and its exit code."""
    try:
        app()
    except EnclaveError as error:
        sys.exit(tell_error(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
