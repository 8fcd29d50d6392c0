"""Builds a package set: fetch with hashes, install without network, hash the result, make it read-only."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from enclave.core.canonical import canonical_bytes
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, InvalidError, UnavailableError
from enclave.runtime.durable import write_whole
from enclave.runtime.home import HOME_FORMAT, Home, ensure_private_dir
from enclave.sandbox.bubblewrap import INNER, INSIDE, Bind, SandboxSpec
from enclave.sandbox.installation import find_installation
from enclave.sandbox.package_set import Description, Lock, SetName, parse_lock
from enclave.sandbox.places import make_dir
from enclave.sandbox.runtime_mounts import Runtime, prepare, release
from enclave.sandbox.sandboxed import Births, HostUser, Streams, start
from enclave.sandbox.set_store import (
    ENVS,
    RECORD,
    TREE,
    BuiltSet,
    Package,
    interpreter,
    set_folder,
    tree_digest,
)
from enclave.sandbox.settings import LauncherSettings
from enclave.sandbox.uids import Uids
from enclave.wire.messages.schema import to_json

BUILD_S: Final = 1800.0
_MAX_WORDS: Final = 64 << 10
_NO_KERNEL: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to build. ``lock`` is the lock's text; ``wheels`` a folder that has them all, None: fetch them."""

    description: Description
    lock: str
    wheels: Path | None = None

    @property
    def lock_digest(self) -> str:
        """SHA-256 (hex) of the lock."""
        return hashlib.sha256(self.lock.encode("utf-8")).hexdigest()


def check_new(home: Home, name: SetName) -> None:
    """Raises ``ConflictError`` when this version was built before: a version never changes."""
    if set_folder(home, name).exists():
        raise ConflictError(f"package set {name}: wanted a new version, got one that is built; raise its version")


def build_set(home: Home, order: Order, *, at: datetime) -> BuiltSet:
    """Builds it below ``HOME/envs``; there is a whole set or none.

    Under root this process enters a mount namespace of its own, so it must have one thread yet. Raises
    ``InvalidError`` (lock, wheels), ``UnavailableError`` (index, sandbox) or ``ConflictError``.
    """
    check_new(home, order.description.name)
    lock = parse_lock(order.lock)
    with tempfile.TemporaryDirectory(prefix="enclave-env-") as folder:
        place = Path(folder)
        place.chmod(0o711)
        given = make_dir(place / "in", mode=0o755)
        wheels = make_dir(given / "wheels", mode=0o755)
        (given / "lock.txt").write_text(order.lock, "utf-8")
        if order.wheels is None:
            _fetch(given / "lock.txt", wheels)
        else:
            _take(order.wheels, wheels)
        packages = _check(wheels, lock)
        runtime = prepare(find_installation(), _own_home(place / "home"))
        try:
            _install(runtime, place)
            python = interpreter(runtime)
        finally:
            release(runtime)
        return _publish(home, order, place, packages=packages, python=python, at=at)


def _fetch(lock: Path, wheels: Path) -> None:
    """Lets pip fetch what the lock pins, as this machine is set up to (index, proxy, mirror)."""
    argv = (sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "download", "--quiet",
            "--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels),
            "--requirement", str(lock))  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=BUILD_S)
    if done.returncode:
        words = _last_line(done.stderr)
        raise UnavailableError(f"package set: wanted every wheel of the lock, got: {words}", code="not_fetched")


def _take(source: Path, wheels: Path) -> None:
    for path in sorted(source.glob("*.whl")):
        shutil.copyfile(path, wheels / path.name)


def _check(wheels: Path, lock: Lock) -> tuple[Package, ...]:
    """Looks at every file itself before anything opens it."""
    found: list[Package] = []
    for path in sorted(wheels.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name, version = lock.check_wheel(path.name, sha256=digest)
        path.chmod(0o644)
        found.append(Package(name=name, version=version, sha256=digest))
    if not found:
        raise InvalidError("package set: wanted wheels, got none; --wheels names a folder that has them")
    return tuple(found)


def _own_home(root: Path) -> Home:
    """Where this build's sandbox has its run folder, apart from a launcher's that may be at work."""
    home = Home(root)
    ensure_private_dir(home.root, mode=0o711)
    home.format_file.write_text(str(HOME_FORMAT), "ascii")
    home.settings_file.write_text("", "utf-8")
    ensure_private_dir(home.run_dir, mode=0o711)
    return home


def _install(runtime: Runtime, place: Path) -> None:
    births = Births()
    state = ensure_private_dir(place / "state")
    user = Uids(state, base=LauncherSettings().base_uid, drops=runtime.drops).kernel()
    out = make_dir(place / "out", mode=0o755, owner=user)
    try:
        code, said = _run(_spec(runtime, place / "in", out), runtime, user, births=births)
    finally:
        births.close()
    if code == _NO_KERNEL:
        words = "package set: wanted one with ipykernel and all that it needs, got another; complete its lock"
        raise InvalidError(words, code="no_kernel")
    if code != 0:
        raise InvalidError(f"package set: wanted its wheels to install, got: {_last_line(said)}", code="not_installed")


def _spec(runtime: Runtime, given: Path, out: Path) -> SandboxSpec:
    return SandboxSpec(
        program=(f"{INSIDE}/install_set.py",),
        limits=(f"DATA={4 << 30}", "NPROC=64", f"FSIZE={4 << 30}", "NOFILE=4096"),
        environment={
            "HOME": "/tmp",  # noqa: S108 - in the sandbox
            "PATH": f"{INNER}/env/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        env=runtime.host_env,
        binds=(Bind(given, "/build/in"), Bind(out, "/build/out", writable=True)),
        cwd="/tmp",  # noqa: S108 - in the sandbox
        tmp_mb=1024,
    )


def _run(spec: SandboxSpec, runtime: Runtime, user: HostUser, *, births: Births) -> tuple[int, str]:
    """The exit code and what pip said."""
    sandbox = start(spec, runtime, user, births=births, streams=Streams(stdout=subprocess.PIPE))
    late = threading.Timer(BUILD_S, sandbox.kill)
    late.start()
    try:
        stdout = sandbox.process.stdout
        said = stdout.read(_MAX_WORDS) if stdout is not None else b""
        while stdout is not None and stdout.read(_MAX_WORDS):
            continue
        return sandbox.process.wait(), said.decode("utf-8", "replace")
    finally:
        late.cancel()
        sandbox.close()


def _publish(
    home: Home, order: Order, place: Path, *, packages: Sequence[Package], python: str, at: datetime
) -> BuiltSet:
    """Copies tree, lock and wheels to a folder beside its place, then gives it its name: a whole set or none."""
    envs = ensure_private_dir(home.root / ENVS)
    name = order.description.name
    part = envs / f".part-{secrets.token_hex(8)}"
    try:
        part.mkdir(mode=0o700)
        shutil.copytree(place / "out", part / TREE, symlinks=True)
        shutil.copytree(place / "in" / "wheels", part / "wheels")
        digest, files, size = tree_digest(part / TREE)
        built = BuiltSet(
            name=name.name,
            version=name.version,
            title=order.description.title,
            python=python,
            lock=order.lock_digest,
            tree=digest,
            files=files,
            bytes=size,
            built=format_time(at),
            packages=tuple(packages),
            devices=order.description.devices,
        )
        write_whole(part / "lock.txt", order.lock.encode("utf-8"), mode=0o444)
        record: Any = to_json(built)
        write_whole(part / RECORD, canonical_bytes(record), mode=0o444)
        _make_read_only(part / TREE)
        check_new(home, name)
        part.rename(set_folder(home, name))
    except BaseException:
        _remove(part)
        raise
    return built


def _make_read_only(tree: Path) -> None:
    for folder, _, files in os.walk(tree, topdown=False):
        for file in files:
            (Path(folder) / file).chmod(0o444)
        Path(folder).chmod(0o555)


def _remove(part: Path) -> None:
    for folder, _, _ in os.walk(part):
        Path(folder).chmod(0o700)
    shutil.rmtree(part, ignore_errors=True)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
