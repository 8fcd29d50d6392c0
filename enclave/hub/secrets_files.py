"""The files below ``HOME/hub`` that Hub, proxy, console and the shell's login share, one secret each."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from enclave.core.errors import DeniedError, InvalidError, NotFoundError
from enclave.runtime.home import Home, ensure_private_dir

COOKIE_SECRET = "cookie.secret"  # noqa: S105 - a file name
PROXY_TOKEN = "proxy.token"  # noqa: S105 - a file name
CONSOLE_TOKEN = "console.token"  # noqa: S105 - a file name
CLI_CLIENT = "cli.client"  # of the shell's OAuth client: a native app keeps no secret (RFC 8252), PKCE protects it
IDP_CLIENT = "idp.client"  # of the embedded development provider only
NAMES = (COOKIE_SECRET, PROXY_TOKEN, CONSOLE_TOKEN, CLI_CLIENT, IDP_CLIENT)


def hub_secrets(home: Home) -> None:
    """Makes each file that is absent (32 random bytes in hex, 0600); touches none that is there."""
    folder = ensure_private_dir(home.state("hub"))
    for name in NAMES:
        try:
            fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")


def read_hub_secret(home: Home, name: str) -> str:
    """The secret in ``HOME/hub/NAME``; raises when it is absent, or open to others."""
    return read_secret_file(home.state("hub") / name)


def read_secret_file(path: Path) -> str:
    """One line of a file that only its owner may read."""
    try:
        with path.open("r", encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            text = file.read(4096).strip()
    except FileNotFoundError:
        raise NotFoundError(f"secret file: wanted {path}, got none; run `enclave init`") from None
    if mode & 0o077:
        raise DeniedError(f"secret file {path}: wanted mode 0600, got {mode:04o}; run chmod 600 on it")
    if not text:
        raise InvalidError(f"secret file {path}: wanted one line, got none")
    return text
