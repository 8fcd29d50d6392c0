"""Where a launcher's sockets and folders lie below the run folder; short, for a socket path ends at 107 bytes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from enclave.core.ids import check_principal
from enclave.runtime.home import ensure_private_dir
from enclave.sandbox.runtime_mounts import Runtime
from enclave.sandbox.sandboxed import HostUser


def short(token: str) -> str:
    """The part of an id that names its folder."""
    return token[:12]


def person_folder(person: str) -> str:
    """A principal as a folder's name (``service:reports`` → ``service_reports``)."""
    return check_principal(person).replace(":", "_")


def make_dir(path: Path, *, mode: int, owner: HostUser | None = None) -> Path:
    """A new folder of ours, or of ``owner``; raises when something else is there."""
    path.mkdir(mode=0o700)
    if owner is not None and owner.uid is not None:
        os.chown(path, owner.uid, owner.uid)
    path.chmod(mode)
    return path


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of one launcher."""

    runtime: Runtime

    @property
    def run(self) -> Path:
        """The run folder as the other daemons see it."""
        return self.runtime.home.run_dir

    def prepare(self) -> None:
        """Makes the folders; what an earlier launcher left there is taken away."""
        for name in ("kernels", "servers", "persons"):
            shutil.rmtree(self.run / name, ignore_errors=True)
            ensure_private_dir(self.run / name, mode=0o711)
        self.runtime.forget_all_code()

    def child_view(self, path: Path) -> Path:
        """``path`` below the run folder as the launcher's children reach it."""
        return self.runtime.run / path.relative_to(self.run)
