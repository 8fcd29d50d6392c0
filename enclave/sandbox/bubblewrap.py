"""What a sandbox is made of, and the bwrap arguments that make it. Pure but for looking which host paths exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enclave.sandbox.runtime_mounts import Runtime, library_path, under_usr

INNER = "/run/enclave-runtime"
INNER_PYTHON = f"{INNER}/env/bin/python"
INSIDE = f"{INNER}/inside"
_FIRST = (INNER_PYTHON, "-P", f"{INSIDE}/first.py")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC_OF_HOST = ("ld.so.cache", "fonts", "alternatives", "localtime")
_ETC_OF_OURS = ("passwd", "group", "hosts", "nsswitch.conf", "resolv.conf")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bind:
    """``source`` on the host (as the launcher's children see it) at ``target`` in the sandbox."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """Memory at ``target`` that dies with the sandbox."""

    target: str
    size_mb: int
    mode: str = "0700"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One sandbox: program, environment, what is mounted. Everything that is not named is absent.

    ``program`` is a script and its words, or ``-m`` and a module; ``limits`` are rlimits as ``NAME=VALUE``.
    ``env`` is the folder whose packages the interpreter finds. ``files`` are copied from open descriptors to read-only
    files at their targets. ``devices`` are nodes of the host's ``/dev``; each must be there.
    """

    program: tuple[str, ...]
    environment: dict[str, str]
    env: Path
    limits: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    binds: tuple[Bind, ...] = ()
    files: tuple[tuple[int, str], ...] = ()
    devices: tuple[str, ...] = ()
    cwd: str = "/"
    tmp_mb: int = 256
    shm_mb: int = 64
    hostname: str = "enclave"


def options(spec: SandboxSpec, runtime: Runtime, *, seccomp_fd: int, info_fd: int, block_fd: int) -> list[str]:
    """bwrap's options. The descriptors are those that bwrap inherits.

    They hold the program's environment, and with it a server's token: they travel by ``--args``, for every user of
    the host can read another's command line.
    """
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--assert-userns-disabled"),
        *("--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--uid", "1000", "--gid", "1000", "--hostname", spec.hostname),
        *_system(),
        *_etc(runtime),
        *_devices(spec),
        *_runtime(spec, runtime),
        *_memory(spec),
        *_mounts(spec),
        *("--remount-ro", "/"),
        *("--chdir", spec.cwd, "--clearenv"),
        *(word for name, value in sorted(_environment(spec, runtime).items()) for word in ("--setenv", name, value)),
        *("--seccomp", str(seccomp_fd), "--info-fd", str(info_fd), "--block-fd", str(block_fd)),
    ]


def command(spec: SandboxSpec, runtime: Runtime, *, args_fd: int) -> list[str]:
    """bwrap's command line: where its options are, and the program behind our own pid 1."""
    return [str(runtime.bwrap), "--args", str(args_fd), "--", *_FIRST, *spec.limits, "--", *spec.program]


def _environment(spec: SandboxSpec, runtime: Runtime) -> dict[str, str]:
    """What the program gets.

    An interpreter from elsewhere finds its libpython by a path of the host, which is
    absent inside; without the hint the loader would take another one's from /usr.
    """
    return {**library_path(Path(runtime.inner_python).parent.parent), **spec.environment}


def _system() -> list[str]:
    words: list[str] = []
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    return words


def _etc(runtime: Runtime) -> list[str]:
    words = ["--perms", "0755", "--dir", "/etc"]
    for name in _ETC_OF_HOST:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in _ETC_OF_OURS:
        words += ["--ro-bind", str(runtime.etc / name), f"/etc/{name}"]
    return words


def _devices(spec: SandboxSpec) -> list[str]:
    """``/dev`` is made read-only after ``/dev/shm`` got its size; bwrap's defaults are half the memory each."""
    shm = ["--perms", "1777", "--size", str(spec.shm_mb * _MIB), "--tmpfs", "/dev/shm"]  # noqa: S108 - in the sandbox
    own = [word for one in spec.devices for word in ("--dev-bind", one, one)]
    return ["--proc", "/proc", "--dev", "/dev", *own, *shm, "--remount-ro", "/dev"]


def _runtime(spec: SandboxSpec, runtime: Runtime) -> list[str]:
    words = ["--perms", "0755", "--dir", INNER]
    if not under_usr(runtime.base):
        words += ["--ro-bind", str(runtime.base), f"{INNER}/python"]
    for part in ("lib", "share", "etc"):
        words += ["--ro-bind-try", str(spec.env / part), f"{INNER}/env/{part}"]
    words += ["--ro-bind", str(runtime.etc / "pyvenv.cfg"), f"{INNER}/env/pyvenv.cfg"]
    words += ["--symlink", runtime.inner_python, INNER_PYTHON]
    words += ["--ro-bind", str(runtime.packages["enclave"] / "sandbox" / "inside"), INSIDE]
    words += ["--ro-bind", str(runtime.packages["enclave"] / "sandbox" / "profiles"), f"{INNER}/profiles"]
    for name in spec.packages:
        words += ["--ro-bind", str(runtime.packages[name]), f"{INNER}/src/{name}"]
    return words


def _memory(spec: SandboxSpec) -> list[str]:
    words: list[str] = []
    for one in (Tmpfs("/tmp", spec.tmp_mb, "1777"), *spec.tmpfs):  # noqa: S108 - in the sandbox
        words += ["--perms", one.mode, "--size", str(one.size_mb * _MIB), "--tmpfs", one.target]
    return words


def _mounts(spec: SandboxSpec) -> list[str]:
    words: list[str] = []
    for one in spec.binds:
        words += ["--bind" if one.writable else "--ro-bind", str(one.source), one.target]
    for fd, target in spec.files:
        words += ["--ro-bind-data", str(fd), target]
    return words
