"""``enclave init``: a new home, whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tomllib
from pathlib import Path

import typer

from enclave.cli.output import HomeOption, words
from enclave.core.errors import ConflictError
from enclave.hub.secrets_files import hub_secrets
from enclave.keys.files import new_ed25519, new_symmetric, new_x25519
from enclave.runtime.durable import write_whole
from enclave.runtime.home import HOME_FORMAT, Home, ensure_private_dir, home_from

FOLDERS = (
    "keys",
    "audit",
    "identified",
    "sealed",
    "registry",
    "airlock",
    "reports",
    "vault",
    "people",
    "broker",
    "launcher",
    "hub",
    "logs",
    "watch",
)
SYMMETRIC_KEYS = ("audit-body", "audit-store", "vault", "airlock-box", "reports-box", "intake-box")
SIGNING_KEYS = ("audit-checkpoint", "registry-sign", "airlock-sign")

DEMO_KEYS = "allow_demo_keys = true  # this is a demonstration: its expert's key protects nothing\n"
_PORT_LINE = re.compile(r"^(\[hub\]\s*\n(?:(?!\[).*\n)*?port\s*=\s*)\d+(?!\w)", re.MULTILINE)
SETTINGS = """\
# Settings of one enclave. A table per process; an unknown key is an error. See docs/settings.md.

[hub]
port = {port}          # the page people open: http://localhost:{port}; the next five ports are used on 127.0.0.1

[audit]

[watch]

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


def init(
    home: HomeOption = None,
    port: int = typer.Option(8000, help="The port of the sign-in page."),
    demo: bool = typer.Option(False, "--demo", help="For a demonstration: its expert's key is accepted."),
) -> None:
    """Make a new enclave home: folders, keys, settings."""
    made = make_home(home_from(home).root, port=port, demo=demo)
    then = "`enclave demo up`" if demo else "the units in hub_config/systemd/, or `enclave demo up` to try it out"
    words().print(f"Made an enclave home at {made.root}. Next: `enclave doctor`, then {then}.")


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


def become_demo(home: Home) -> bool:
    """Lets a home that was made and never used take the demonstration's expert; False when it was used.

    An event in its ledger is use, and so is a choice that somebody wrote into its settings.
    """
    text = home.read_settings_text()
    used = any((home.root / "audit" / "segments").glob("*.seg")) or any((home.root / "registry").iterdir())
    if used or "allow_demo_keys" in tomllib.loads(text).get("registry", {}) or "\n[registry]\n" not in text:
        return False
    write_whole(home.settings_file, text.replace("\n[registry]\n", f"\n[registry]\n{DEMO_KEYS}", 1).encode())
    return True


def move_port(home: Home, port: int) -> None:
    """Writes another ``port`` into the settings of a home; everything else in them stays as it is.

    Raises ``ConflictError`` when the settings do not say it in one plain line.
    """
    text = home.read_settings_text()
    before = tomllib.loads(text)
    if before.get("hub", {}).get("port") == port:
        return
    changed = _PORT_LINE.sub(rf"\g<1>{port}", text, count=1)
    if tomllib.loads(changed) != {**before, "hub": {**before.get("hub", {}), "port": port}}:
        raise ConflictError(
            f"--port: wanted to write {port} into {home.settings_file}, got settings without a plain line for it; "
            "change [hub] port there"
        )
    write_whole(home.settings_file, changed.encode())


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
