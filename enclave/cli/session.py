"""The sign-in of a shell: one Hub token per enclave home, in a file that only its owner reads."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from enclave.core.errors import DeniedError
from enclave.runtime.home import Home, ensure_private_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A Hub token, whose it is, and when it ends (seconds since 1970)."""

    token: str
    person: str
    expires: int

    def __repr__(self) -> str:
        return f"Session(person={self.person!r})"


def session_file(home: Home) -> Path:
    """``ENCLAVE_SESSION``, else a file below ``~/.config/enclave`` named by the home's path."""
    named = os.environ.get("ENCLAVE_SESSION")
    if named:
        return Path(named).absolute()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "enclave" / f"{hashlib.sha256(os.fsencode(home.root)).hexdigest()[:16]}.json"


def read_session(home: Home) -> Session:
    """The sign-in of this shell; raises ``DeniedError`` (``not_signed_in``) when there is none that counts."""
    path = session_file(home)
    try:
        with path.open("r", encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            text = file.read(65_536)
    except FileNotFoundError:
        raise _sign_in("none") from None
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise DeniedError(
            f"sign-in: wanted {path} readable by its owner only, got mode {found.st_mode & 0o777:04o}; "
            "run `enclave logout`, then `enclave login`",
            code="session_exposed",
        )
    try:
        model = json.loads(text)
        session = Session(token=str(model["token"]), person=str(model["person"]), expires=int(model["expires"]))
    except (ValueError, KeyError, TypeError):
        raise _sign_in("a file of another form") from None
    if session.expires <= time.time():
        raise _sign_in("one that has ended")
    return session


def read_token(home: Home) -> str:
    """The Hub token of this shell; raises ``DeniedError`` telling to run ``enclave login``."""
    return read_session(home).token


def write_session(home: Home, session: Session) -> Path:
    """Keeps ``session``; whole or not at all, 0600."""
    path = session_file(home)
    if not path.parent.exists() or not os.environ.get("ENCLAVE_SESSION"):
        ensure_private_dir(path.parent)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump({"token": session.token, "person": session.person, "expires": session.expires}, file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def forget_session(home: Home) -> str | None:
    """Removes the sign-in and returns its token, so that it can be ended; None when there was none.

    Of a file of another form the token is ''.
    """
    path = session_file(home)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        text = ""
    path.unlink(missing_ok=True)
    try:
        return str(json.loads(text)["token"])
    except (ValueError, KeyError, TypeError):
        return ""


def _sign_in(got: str) -> DeniedError:
    return DeniedError(f"sign-in: wanted one of this shell, got {got}; run `enclave login`", code="not_signed_in")
