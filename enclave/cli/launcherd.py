"""``enclave-launcherd``: starts and ends servers, kernels and check sandboxes."""

from __future__ import annotations

import os

from enclave.cli.daemon import hub_resolver, run_daemon
from enclave.runtime.home import Home, ensure_private_dir
from enclave.runtime.log import Log
from enclave.sandbox.daemon import LauncherDaemon
from enclave.sandbox.installation import find_installation
from enclave.sandbox.runtime_mounts import prepare
from enclave.sandbox.settings import LauncherSettings


def make(home: Home, log: Log) -> LauncherDaemon:
    """The launcher over ``home``, after the runtime is prepared (under root in a mount namespace of its own)."""
    settings = home.settings(LauncherSettings, section="launcher")
    ensure_private_dir(home.run_dir, mode=0o711 if os.getuid() == 0 else 0o700)
    runtime = prepare(find_installation(kernel_env=settings.kernel_env), home)
    return LauncherDaemon(runtime, settings, resolve=hub_resolver(home), log=log)


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon("launcherd", what="Starts and ends servers, kernels and check sandboxes.", make=make)


if __name__ == "__main__":
    main()
