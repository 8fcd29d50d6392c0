"""``enclave-launcherd``: starts and ends servers, kernels and check sandboxes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from enclave.core.errors import EnclaveError
from enclave.hub.settings import HubSettings
from enclave.identity.hub import HubIdentity
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import ensure_private_dir, home_from
from enclave.runtime.log import Log
from enclave.sandbox.daemon import LauncherDaemon
from enclave.sandbox.installation import find_installation
from enclave.sandbox.runtime_mounts import prepare
from enclave.sandbox.settings import LauncherSettings


def run(home: Annotated[Path | None, typer.Option(help="The enclave home.")] = None) -> None:
    """Prepares the runtime (under root in a mount namespace of its own), then serves."""
    log = Log("launcherd")
    try:
        place = home_from(home)
        settings = place.settings(LauncherSettings, section="launcher")
        ensure_private_dir(place.run_dir, mode=0o711 if os.getuid() == 0 else 0o700)
        runtime = prepare(find_installation(kernel_env=settings.kernel_env), place)
        identity = HubIdentity(place.settings(HubSettings, section="hub").api_url)
        daemon = LauncherDaemon(runtime, settings, resolve=identity.resolve, log=log)
        daemon.start()
    except EnclaveError as error:
        sys.stderr.write(f"enclave-launcherd: {error.message}\n")
        sys.exit(error.exit_code)
    run_until_signal(log, close=daemon.close)


def main() -> None:
    """The script's entry point."""
    typer.run(run)


if __name__ == "__main__":
    main()
