"""The enclave home: where each process keeps its state, and the short path of its sockets."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from enclave.core.errors import ConflictError, DeniedError, NotFoundError
from enclave.core.settings import parse_settings

HOME_FORMAT = 1
DEFAULT_BASE_UID = 210_000  # taps and gates; servers and kernels have uids above it
SOCKET_PATH_LIMIT = 107  # sun_path holds 108 bytes with its end mark (unix(7))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one enclave home. Knows names only; makes nothing by being looked at."""

    root: Path

    @property
    def settings_file(self) -> Path:
        """The one TOML document."""
        return self.root / "enclave.toml"

    @property
    def format_file(self) -> Path:
        """Holds the number of the home's layout."""
        return self.root / "format"

    def key_file(self, name: str) -> Path:
        """``keys/NAME.key``; each is read by one process only."""
        return self.root / "keys" / f"{name}.key"

    def state(self, process: str) -> Path:
        """The folder that one process writes (``audit``, ``sealed``, ``registry`` …)."""
        return self.root / process

    @property
    def run_dir(self) -> Path:
        """Where sockets are: ``HOME/run`` if short enough, else a folder below /tmp named by the home's hash."""
        direct = self.root / "run"
        if len(os.fsencode(direct)) <= 40:
            return direct
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path("/tmp") / f"enclave-{os.getuid()}-{digest}"  # noqa: S108 - owner and mode are checked by ensure_private_dir

    def socket(self, name: str) -> Path:
        """The socket of one daemon (``auditd``, ``brokerd`` …)."""
        return self.run_dir / f"{name}.sock"

    def settings(self, cls: type[T], *, section: str) -> T:
        """This process's settings; raises ``NotFoundError`` when the home was never initialised."""
        return parse_settings(self.read_settings_text(), cls, section=section)

    def read_settings_text(self) -> str:
        """The settings document, after the home's format was checked."""
        self.check_format()
        return self.settings_file.read_text("utf-8")

    def check_format(self) -> None:
        """Raises when there is no home here or it is of a newer layout."""
        try:
            found = int(self.format_file.read_text("ascii"))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"enclave home: wanted one at {self.root}, got none; run `enclave init`") from None
        except ValueError:
            raise ConflictError("enclave home: wanted a number in its format file, got something else") from None
        if found > HOME_FORMAT:
            raise ConflictError(
                f"enclave home: wanted format {HOME_FORMAT} or older, got {found}; "
                "this home was made by a newer release, use that one"
            )


def ensure_private_dir(path: Path, *, mode: int = 0o700) -> Path:
    """Makes ``path`` ours alone; raises ``DeniedError`` when somebody else owns it or it is a link."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise DeniedError(f"folder {path}: wanted a folder of our own, got one of uid {found.st_uid}; remove it")
    path.chmod(mode)
    return path


def home_from(option: Path | None) -> Home:
    """``--home``, else ``ENCLAVE_HOME``, else ``./.enclave``."""
    return Home((option or Path(os.environ.get("ENCLAVE_HOME") or ".enclave")).absolute())


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """``[peers]``: uids besides our own that are daemons of this enclave (one per process in production)."""

    uids: tuple[int, ...] = ()


def service_uids(home: Home) -> frozenset[int]:
    """The host uids of this enclave's services, of the Hub and of the console."""
    return frozenset({os.getuid(), *home.settings(PeerSettings, section="peers").uids})


def daemon_uids(home: Home) -> frozenset[int]:
    """Those of the services, and of the taps and gates that they start: for who has something to say to these, too.

    Started by root, taps and gates run as one unprivileged uid. They stand in front of hostile code, so that a socket
    on which they have nothing to ask takes ``service_uids`` only.
    """
    doors = {_launcher_base_uid(home)} if os.getuid() == 0 else set()
    return service_uids(home) | doors


def door_uid(home: Home) -> int | None:
    """The uid of taps and gates where it is theirs alone, as under a launcher that root started; else None."""
    base = _launcher_base_uid(home)
    return None if base == os.getuid() else base


def _launcher_base_uid(home: Home) -> int:
    table = tomllib.loads(home.read_settings_text()).get("launcher", {})
    return int(table.get("base_uid", DEFAULT_BASE_UID))
