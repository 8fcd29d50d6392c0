"""``enclave init``: a new home, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import typer

from enclave.cli.output import HomeOption, words
from enclave.core.errors import ConflictError
from enclave.hub.secrets_files import hub_secrets
from enclave.keys.files import new_ed25519, new_symmetric, new_x25519
from enclave.runtime.home import HOME_FORMAT, Home, ensure_private_dir, home_from

FOLDERS = ("keys", "audit", "identified", "sealed", "registry", "airlock", "reports", "vault", "people", "hub", "logs")
SYMMETRIC_KEYS = ("audit-body", "audit-store", "vault", "airlock-box", "reports-box", "intake-box")
SIGNING_KEYS = ("audit-checkpoint", "registry-sign", "airlock-sign")

DEMO_KEYS = "allow_demo_keys = true  # this is a demonstration: its expert's key protects nothing\n"
SETTINGS = """\
# Settings of one enclave. A table per process; an unknown key is an error. See docs/settings.md.

[hub]
port = {port}          # the page people open: http://localhost:{port}; the next five ports are used on 127.0.0.1

[audit]

[registry]
{demo_keys}
[intake]

[vault]

[broker]

[airlock]

[launcher]

[reports]

[console]
"""


def init(home: HomeOption = None, port: int = typer.Option(8000, help="The port of the sign-in page.")) -> None:
    """Make a new enclave home: folders, keys, settings."""
    made = make_home(home_from(home).root, port=port)
    words().print(f"Made an enclave home at {made.root}. Next: `enclave doctor`, then `enclave demo up`.")


def make_home(root: Path, *, port: int, demo: bool = False) -> Home:
    """Makes the home beside its place and moves it there in one step; raises ``ConflictError`` when one exists.

    Only a ``demo`` home accepts determinations signed with a demonstration's key.
    """
    final = Home(root)
    if final.format_file.exists() or (root.exists() and any(root.iterdir())):
        raise ConflictError(f"enclave home: wanted an empty place, got one in use at {root}; choose another --home")
    part = Home(root.with_name(f".{root.name}.{secrets.token_hex(4)}.part"))
    try:
        _fill(part, port=port, demo=demo)
        if root.exists():
            root.rmdir()
        part.root.rename(root)
    except BaseException:
        shutil.rmtree(part.root, ignore_errors=True)
        raise
    ensure_private_dir(final.run_dir, mode=0o711)
    return final


def _fill(home: Home, *, port: int, demo: bool) -> None:
    ensure_private_dir(home.root)
    for folder in FOLDERS:
        ensure_private_dir(home.root / folder)
    for name in SYMMETRIC_KEYS:
        new_symmetric(home.key_file(name))
    for name in SIGNING_KEYS:
        new_ed25519(home.key_file(name))
    new_x25519(home.key_file("kek"))
    _write(home.root / "audit" / "origin", f"enclave.local/{secrets.token_hex(8)}\n")
    hub_secrets(home)
    _write(home.settings_file, SETTINGS.format(port=port, demo_keys=DEMO_KEYS if demo else ""))
    _write(home.format_file, f"{HOME_FORMAT}\n")


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
