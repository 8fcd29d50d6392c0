"""The runtime as unprivileged processes can reach it: as it is, or bound read-only at neutral paths under root.

A checkout or an interpreter may lie below a 0700 directory, which no unprivileged uid can pass. Root therefore
enters a mount namespace of its own and binds what sandboxes need below ``/run/enclave-…``. Nothing outside of that
namespace sees these mounts, and no mode of the checkout changes.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from enclave.core.errors import UnavailableError
from enclave.runtime.home import Home, ensure_private_dir
from enclave.sandbox.installation import Installation

_CLONE_NEWNS = 0x00020000
_MNT_DETACH = 2
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - below it a folder of our own, and what it is on is looked at
_ENV_PARTS = ("lib", "share", "etc")
_ETC = {
    "passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nperson:x:1000:1000:person:/home/person:/bin/sh\n",
    "group": "root:x:0:\nperson:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Where this launcher's children find things. ``drops`` is whether they get uids of their own (root)."""

    drops: bool
    bwrap: Path
    bwrap_version: tuple[int, ...]
    environment_id: str
    base: Path
    inner_python: str
    host_env: Path
    kernel_env: Path
    packages: dict[str, Path]
    command: tuple[str, ...]
    environment: dict[str, str]
    run: Path
    etc: Path
    neutral: Path | None
    home: Home

    def package_set(self, tree: Path, name: str) -> Path:
        """A built package set as children reach it, read-only; under root it is bound on first use."""
        if self.neutral is None:
            return tree
        target = self.neutral / "envs" / name
        if not os.path.ismount(target):
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
            bind(tree, target)
        return target

    def code_memory(self, folder: str, *, uid: int, size_mb: int) -> Path:
        """A new, empty folder of ``uid`` in memory, as children reach it; raises ``UnavailableError``.

        Under root a file system of its own, of that size, in the launcher's mount namespace; it is gone when the last
        process of that namespace is. Otherwise a folder in the system's shared memory.
        """
        self.forget_code(folder)
        if self.neutral is None:
            _check_shared_memory()
        target = ensure_private_dir(self._code_root, mode=0o711 if self.neutral else 0o700) / folder
        target.mkdir(mode=0o755)
        if self.neutral is not None:
            _mount_memory(target, uid, size_mb)
        return target

    def forget_code(self, folder: str) -> None:
        """Takes it away, with what is in it."""
        target = self._code_root / folder
        if self.neutral is not None:
            while os.path.ismount(target):
                ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(target), _MNT_DETACH)
        shutil.rmtree(target, ignore_errors=True)

    def forget_all_code(self) -> None:
        """All of them, and what an earlier launcher of this home left; under root the namespace does it."""
        if self.neutral is None:
            shutil.rmtree(self._code_root, ignore_errors=True)

    @property
    def _code_root(self) -> Path:
        if self.neutral is not None:
            return self.neutral / "people"
        digest = hashlib.sha256(os.fsencode(self.home.root)).hexdigest()[:12]
        return _SHARED_MEMORY / f"enclave-{os.getuid()}-{digest}"


def prepare(installation: Installation, home: Home) -> Runtime:
    """The runtime for this process. Under root this must be called from a process that has one thread yet."""
    return _enter(installation, home) if os.getuid() == 0 else _as_it_is(installation, home)


def release(runtime: Runtime) -> None:
    """Takes root's neutral folder away again; what still runs on it keeps it until it ends."""
    if runtime.neutral is not None:
        ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(runtime.neutral), _MNT_DETACH)
        with contextlib.suppress(OSError):
            runtime.neutral.rmdir()


def _as_it_is(found: Installation, home: Home) -> Runtime:
    etc = ensure_private_dir(home.run_dir / "etc")
    _write_etc(etc, found)
    return Runtime(
        drops=False,
        bwrap=found.bwrap,
        bwrap_version=found.bwrap_version,
        environment_id=found.environment_id,
        base=found.base,
        inner_python=inner_python(found),
        host_env=found.host_env,
        kernel_env=found.kernel_env,
        packages=found.packages,
        command=(str(found.host_env / "bin" / "python"), "-P"),
        environment={"PYTHONPATH": ":".join(sorted({str(path.parent) for path in found.packages.values()}))},
        run=home.run_dir,
        etc=etc,
        neutral=None,
        home=home,
    )


def _enter(found: Installation, home: Home) -> Runtime:
    neutral = neutral_path(home)
    if threading.active_count() > 1:
        raise RuntimeError("a mount namespace is entered before any thread starts")
    _own_mount_namespace()
    ensure_private_dir(neutral, mode=0o755)
    _mount("tmpfs", neutral, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4m,mode=755")
    base = found.base
    if not under_usr(found.base):
        base = _bound(found.base, neutral / "python")
    host = _bound_env(found.host_env, neutral / "env")
    kernel = _bound_env(found.kernel_env, neutral / "kernel-env")
    packages = {name: _bound(path, neutral / "src" / name) for name, path in found.packages.items()}
    run = neutral / "run"
    run.mkdir()
    bind(home.run_dir, run, read_only=False)
    etc = neutral / "etc"
    etc.mkdir(mode=0o755)
    _write_etc(etc, found)
    executable = base / "bin" / found.python
    (host / "bin").mkdir(mode=0o755)
    (host / "bin" / "python").symlink_to(executable)
    (host / "pyvenv.cfg").write_text(f"home = {base}/bin\ninclude-system-site-packages = false\n", "utf-8")
    return Runtime(
        drops=True,
        bwrap=_bound_bwrap(found.bwrap, neutral),
        bwrap_version=found.bwrap_version,
        environment_id=found.environment_id,
        base=base,
        inner_python=inner_python(found),
        host_env=host,
        kernel_env=kernel,
        packages=packages,
        command=(str(host / "bin" / "python"), "-P"),
        environment={"PYTHONPATH": str(neutral / "src"), **library_path(base)},
        run=run,
        etc=etc,
        neutral=neutral,
        home=home,
    )


def _check_shared_memory() -> None:
    """Raises ``UnavailableError`` where an ordinary user has no file system in memory."""
    kinds = {}
    for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines():
        _, place, kind, *_ = line.split(" ")
        kinds[place] = kind
    if kinds.get(str(_SHARED_MEMORY)) != "tmpfs":
        raise UnavailableError(
            f"code folders: wanted a file system in memory at {_SHARED_MEMORY}, got none; mount a tmpfs there, "
            "for notebooks in use must not lie on a disk"
        )


def _mount_memory(target: Path, uid: int, size_mb: int) -> None:
    options = f"size={size_mb}m,nr_inodes=20000,mode=755,uid={uid},gid={uid}"
    try:
        _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, f"{options},noswap")
    except UnavailableError:  # before Linux 6.4; `enclave doctor` looks at the swap itself
        _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _bound_bwrap(bwrap: Path, neutral: Path) -> Path:
    if under_usr(bwrap):
        return bwrap
    packages = bwrap.parent.parent.parent  # the wheel keeps its library in a folder beside its package
    return _bound(packages, neutral / "bubblewrap") / bwrap.relative_to(packages)


def neutral_path(home: Home) -> Path:
    """Where root binds the runtime of this home, in its own mount namespace."""
    digest = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:8]
    return Path("/run") / f"enclave-{digest}"


def inner_python(found: Installation) -> str:
    """The interpreter's executable as a sandbox sees it."""
    base = str(found.base) if under_usr(found.base) else "/run/enclave-runtime/python"
    return f"{base}/bin/{found.python}"


def library_path(base: Path) -> dict[str, str]:
    """Where a moved interpreter below ``base`` finds its own shared library (ld.so(8)); nothing for the system's."""
    return {} if under_usr(base) else {"LD_LIBRARY_PATH": f"{base}/lib"}


def under_usr(path: Path) -> bool:
    """Whether ``path`` is in every sandbox anyway."""
    return path.is_relative_to("/usr")


def bind(source: Path, target: Path, *, read_only: bool = True) -> None:
    """Bind-mounts ``source`` at ``target`` (mount(2)); raises ``UnavailableError``."""
    _mount(str(source), target, "", _MS_BIND | _MS_REC, "")
    if read_only:
        _mount("", target, "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV, "")


def _bound(source: Path, target: Path) -> Path:
    target.mkdir(mode=0o755, parents=True)
    bind(source, target)
    return target


def _bound_env(source: Path, target: Path) -> Path:
    target.mkdir(mode=0o755)
    for part in _ENV_PARTS:
        if (source / part).is_dir():
            _bound(source / part, target / part)
    return target


def _write_etc(etc: Path, found: Installation) -> None:
    for name, text in _ETC.items():
        (etc / name).write_text(text, "utf-8")
    home = Path(inner_python(found)).parent
    (etc / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n", "utf-8")
    for path in etc.iterdir():
        path.chmod(0o644)


def _own_mount_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise UnavailableError(
            f"launcher: wanted a mount namespace of its own, got {os.strerror(ctypes.get_errno())}; "
            "as root it needs CAP_SYS_ADMIN, or start the enclave as an ordinary user"
        )
    _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE, "")


def _mount(source: str, target: Path, kind: str, flags: int, data: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    if done != 0:
        reason = os.strerror(ctypes.get_errno())
        raise UnavailableError(f"mount {target}: wanted it to succeed, got {reason}; `enclave doctor` says more")
