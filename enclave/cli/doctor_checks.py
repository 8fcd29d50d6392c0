"""What a machine needs for an enclave: each check says what it found, what a miss costs and how to mend it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from enclave.audit.ledger_clock import STEP_S
from enclave.cli.doctor_ledger import off_host_witness
from enclave.cli.settings_table import check_settings
from enclave.core.errors import EnclaveError
from enclave.hub.proxy import find_node, find_proxy_script
from enclave.hub.settings import HubSettings
from enclave.runtime.home import DEFAULT_BASE_UID, Home
from enclave.sandbox.installation import find_bwrap, find_installation
from enclave.sandbox.settings import LauncherSettings
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import State
from enclave.wire.messages.watch import AskWatchState, WatchState

Level = Literal["required", "recommended", "optional", "guarantee"]
SYSCTLS: Final = Path("/proc/sys")
_FREE_BYTES: Final = 2 * 1024**3
_WATCH_LATE_S: Final = 120
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw."""

    ok: bool
    found: str


@dataclass(frozen=True, slots=True)
class Check:
    """One prerequisite: what a miss costs, and what to do about it."""

    id: str
    level: Level
    look: Callable[[Home], Finding]
    cost: str
    remedy: str


def python_version(_home: Home) -> Finding:
    """The interpreter of the trusted side."""
    return Finding(sys.version_info >= (3, 11), f"Python {platform.python_version()}")


def kernel_environment(home: Home) -> Finding:
    """The environment that stands inside the sandbox, with the packages of ``requirements/kernel.txt``."""
    settings = (
        home.settings(LauncherSettings, section="launcher") if home.settings_file.exists() else LauncherSettings()
    )
    python = find_installation(kernel_env=settings.kernel_env).kernel_env / "bin" / "python"
    code = "import enclave_kernel, ipykernel, numpy, pandas, pyarrow, matplotlib"
    done = subprocess.run((str(python), "-I", "-c", code), capture_output=True, check=False, timeout=60)
    return Finding(done.returncode == 0, "complete" if done.returncode == 0 else "incomplete")


def bubblewrap(_home: Home) -> Finding:
    """The program that makes sandboxes: the distribution's, else the pinned wheel's."""
    path, version = find_bwrap()
    return Finding(True, f"{'.'.join(map(str, version))} at {path}")


def user_namespaces(_home: Home) -> Finding:
    """Whether an ordinary user may make a sandbox here; tried, not guessed. Never as uid 0."""
    path, _version = find_bwrap()
    identity = {} if os.getuid() else {"user": DEFAULT_BASE_UID, "group": DEFAULT_BASE_UID, "extra_groups": ()}
    with tempfile.TemporaryDirectory(prefix="enclave-doctor-") as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "bwrap"
        shutil.copyfile(path.resolve(), program)  # the wheel may lie where that user cannot go
        program.chmod(0o755)
        argv: tuple[str, ...] = (
            str(program),
            "--unshare-all",
            "--ro-bind",
            "/usr",
            "/usr",
            "--symlink",
            "usr/lib",
            "/lib",
        )
        argv += ("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "/usr/bin/true")
        done = subprocess.run(argv, capture_output=True, check=False, timeout=20, env={}, cwd="/", **identity)  # type: ignore[call-overload]  # the keywords are those of subprocess.run
    return Finding(True, "allowed") if done.returncode == 0 else Finding(False, namespace_blocker())


def namespace_blocker() -> str:
    """The setting that forbids user namespaces, by its name."""
    blockers = (
        ("kernel.unprivileged_userns_clone", "0"),
        ("user.max_user_namespaces", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    )
    for name, value in blockers:
        path = SYSCTLS / name.replace(".", "/")
        if path.exists() and path.read_text("ascii").strip() == value:
            return f"forbidden by sysctl {name} = {value}"
    return "forbidden (container or security module)"


def seccomp(_home: Home) -> Finding:
    """System call filters."""
    path = Path("/proc/sys/kernel/seccomp/actions_avail")
    found = path.read_text("ascii") if path.exists() else ""
    return Finding("errno" in found, "available" if "errno" in found else "not in this kernel")


def decoders(_home: Home) -> Finding:
    """The process in which compressed pixels are decoded, under its filter of system calls."""
    from enclave.deid.decoders import are_confined  # numpy and pydicom: only for this

    ok = are_confined()
    return Finding(ok, "run under a filter of system calls" if ok else "cannot be confined, so none is run")


def sealed_memory(_home: Home) -> Finding:
    """Memory files that nobody can change once sealed."""
    try:
        fd = os.memfd_create("doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        return Finding(False, errno.errorcode.get(error.errno or 0, "an error"))
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    except OSError:
        return Finding(False, "memory files without seals")
    finally:
        os.close(fd)
    return Finding(True, "available")


def proxy(_home: Home) -> Finding:
    """The HTTP proxy in front of the Hub, and a node that is new enough to run it."""
    find_proxy_script()
    node = find_node()
    done = subprocess.run((node, "--version"), capture_output=True, text=True, check=False, timeout=10)
    return Finding(done.returncode == 0, f"node {done.stdout.strip() or 'does not start'}")


def ports(home: Home) -> Finding:
    """The ports of the pages; one that this enclave itself uses is fine."""
    first = home.settings(HubSettings, section="hub").port if home.settings_file.exists() else HubSettings().port
    if _running(home):
        return Finding(True, f"{first} to {first + 5}: this enclave runs")
    for port in range(first, first + 6):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return Finding(False, f"{port} is in use")
    return Finding(True, f"{first} to {first + 5} are free")


def _running(home: Home) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(home.socket("auditd")))
        except OSError:
            return False
        return True


def home_state(home: Home) -> Finding:
    """The enclave home, its format, and that its keys are for its owner only."""
    if not home.format_file.exists():
        return Finding(True, "none yet; `enclave init` or `make demo` makes one")
    try:
        home.check_format()
    except EnclaveError as error:
        return Finding(False, error.message)
    loose = [path.name for path in (home.root / "keys").glob("*.key") if path.stat().st_mode & 0o077]
    return Finding(not loose, f"keys open to others: {', '.join(sorted(loose))}" if loose else str(home.root))


def settings(home: Home) -> Finding:
    """Every table and key of the settings, as the processes will read them."""
    if not home.settings_file.exists():
        return Finding(True, "none yet")
    check_settings(home.read_settings_text())
    return Finding(True, "every key is known")


def disk_space(home: Home) -> Finding:
    """Room for ledger and sealed versions."""
    place = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    return Finding(free >= _FREE_BYTES, f"{free // 1024**2} MiB free")


def open_files(_home: Home) -> Finding:
    """Descriptors per process: each lease and each connection takes some."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= 4096
    return Finding(enough, "unlimited" if hard == resource.RLIM_INFINITY else f"{hard} per process")


def swap(_home: Home) -> Finding:
    """Swap that is not encrypted is a disk on which decrypted bytes may land."""
    lines = Path("/proc/swaps").read_text("utf-8").splitlines()[1:]
    plain = [line.split()[0] for line in lines if not _is_safe_swap(Path(line.split()[0]))]
    return Finding(not plain, f"{len(plain)} not encrypted" if plain else "none, or encrypted")


def _is_safe_swap(device: Path) -> bool:
    name = device.resolve().name
    if name.startswith("zram"):
        return True
    kind = Path("/sys/block") / name / "dm" / "uuid"
    return kind.exists() and kind.read_text("ascii").startswith("CRYPT-")


def clock(_home: Home) -> Finding:
    """Whether the kernel believes its clock (adjtimex(2))."""
    buffer = ctypes.create_string_buffer(512)  # struct timex with modes = 0: only asks
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if state < 0:
        return Finding(False, "not known")
    return Finding(state != _TIME_ERROR, "synchronised" if state != _TIME_ERROR else "not synchronised")


def ledger_clock(home: Home) -> Finding:
    """Whether this machine's clock is behind what the running ledger has already written."""
    client = WireClient(home.socket("auditd"), timeout_s=2.0)
    try:
        behind = float(client.call(State()).behind_s)
    except EnclaveError:
        return Finding(True, "the ledger does not run")
    finally:
        client.close()
    return Finding(
        behind <= STEP_S, f"{behind:.0f} s behind the ledger" if behind > STEP_S else "not behind the ledger"
    )


def fips(_home: Home) -> Finding:
    """Whether the kernel and OpenSSL run in FIPS mode; the wheel of `cryptography` cannot enable it itself."""
    from cryptography.hazmat.backends.openssl import backend

    path = Path("/proc/sys/crypto/fips_enabled")
    kernel = path.exists() and path.read_text("ascii").strip() == "1"
    provider = bool(backend._fips_enabled)  # noqa: SLF001 - the only place where cryptography tells
    return Finding(kernel and provider, f"kernel {'on' if kernel else 'off'}, OpenSSL {'on' if provider else 'off'}")


def _watch_state(home: Home) -> WatchState | None:
    """What the watch says, None where no enclave runs."""
    if not _running(home):
        return None
    client = WireClient(home.socket("watchd"), timeout_s=10.0)
    try:
        state: WatchState = client.call(AskWatchState())
    finally:
        client.close()
    return state


def alerts(home: Home) -> Finding:
    """Whether the watch looks at the ledger, its receivers take alerts, and nobody left a grave one lying."""
    state = _watch_state(home)
    if state is None:
        return Finding(True, "not running")
    if not 0 <= state.looked_s <= _WATCH_LATE_S:
        return Finding(False, "the watch does not reach the ledger")
    if state.failing_rules:
        return Finding(False, f"rules that cannot be evaluated: {', '.join(state.failing_rules)}")
    if state.failing:
        return Finding(False, f"waiting to be sent: {', '.join(state.failing)}")
    grave = state.open_alerts.get("high", 0) + state.open_alerts.get("critical", 0)
    return Finding(not grave, f"{grave} high or critical ones open, {sum(state.open_alerts.values())} in all")


def reviews(home: Home) -> Finding:
    """Whether auditors signed off the weeks that are over."""
    state = _watch_state(home)
    if state is None:
        return Finding(True, "not running")
    if state.unsigned_weeks < 0:
        return Finding(False, "the ledger does not answer")
    late = state.unsigned_weeks
    return Finding(not late, f"{late} weeks unsigned, since {state.oldest_unsigned}" if late else "all signed")


def cgroups(_home: Home) -> Finding:
    """What bounds memory and processes of kernels, as the launcher itself finds it."""
    from enclave.sandbox.cgroups import detect

    backend = detect().backend
    return Finding(backend != "rlimits", backend)


def ledger_elsewhere(home: Home) -> Finding:
    """Somebody off this machine who remembers the ledger."""
    return Finding(*off_host_witness(home))


def _command(*names: str) -> Callable[[Home], Finding]:
    def look(_home: Home) -> Finding:
        found = next((path for name in names if (path := shutil.which(name))), None)
        return Finding(found is not None, found or "none")

    return look


_SETUP: Final = "make setup"
_USERNS_REMEDY: Final = (
    "as root: sysctl -w kernel.unprivileged_userns_clone=1; sysctl -w user.max_user_namespaces=10000; on Ubuntu "
    "with AppArmor: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile that allows bwrap"
)
CHECKS: Final[tuple[Check, ...]] = (
    Check("python", "required", python_version, "nothing starts", "install Python 3.11 or newer"),
    Check("kernel-environment", "required", kernel_environment, "no notebook kernel starts", _SETUP),
    Check(
        "bubblewrap",
        "required",
        bubblewrap,
        "no server and no kernel starts",
        f"apt-get install bubblewrap, or {_SETUP}",
    ),
    Check("user-namespaces", "required", user_namespaces, "no server and no kernel starts", _USERNS_REMEDY),
    Check("seccomp", "required", seccomp, "kernels are refused", "use a kernel with CONFIG_SECCOMP_FILTER"),
    Check(
        "decoders",
        "recommended",
        decoders,
        "files with compressed pixel data are held back",
        "use a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or arm64",
    ),
    Check("sealed-memory", "required", sealed_memory, "no data can be served", "use Linux 3.17 or newer"),
    Check("proxy", "required", proxy, "nobody can sign in", _SETUP),
    Check(
        "ports", "required", ports, "the Hub cannot listen", "end what uses it, or choose others: make demo PORT=9000"
    ),
    Check(
        "home", "required", home_state, "no daemon starts", "chmod 600 the keys named, or use the release that made it"
    ),
    Check(
        "settings", "required", settings, "the process concerned does not start", "edit enclave.toml; docs/settings.md"
    ),
    Check("disk-space", "recommended", disk_space, "a full disk stops the ledger, and with it every act", "free some"),
    Check("open-files", "recommended", open_files, "fewer people and objects at a time", "raise LimitNOFILE to 4096"),
    Check("swap", "recommended", swap, "decrypted bytes may land on a disk", "swapoff, or encrypt the swap"),
    Check("clock-skew", "required", ledger_clock, "leases are refused", "set the clock right, or wait until it is"),
    Check("clock", "recommended", clock, "times in the ledger may be wrong", "run a time service such as chrony"),
    Check(
        "fips",
        "recommended",
        fips,
        "no claim of FIPS 140 validated cryptography",
        "use a FIPS-enabled OpenSSL and kernel",
    ),
    Check("alerts", "recommended", alerts, "what is wrong goes unseen", "enclave audit alerts list"),
    Check("reviews", "recommended", reviews, "nobody vouches for these weeks", "enclave audit review list"),
    Check("cgroups", "recommended", cgroups, "limits of kernels rest on rlimits alone", "boot with unified cgroups"),
    Check(
        "off-host-witness",
        "guarantee",
        ledger_elsewhere,
        "who owns this machine can write the ledger anew and nobody notices",
        "run `enclave audit witness serve` on another machine and name it in [copies]; see docs/settings.md",
    ),
    Check(
        "chromium",
        "optional",
        _command("chromium", "chromium-browser"),
        "browser tests skip",
        "apt-get install chromium",
    ),
    Check(
        "go",
        "optional",
        _command("go"),
        "the Go reference does not verify the ledger in tests",
        "apt-get install golang-go golang-golang-x-mod-dev",
    ),
    Check("softhsm", "optional", _command("softhsm2-util"), "PKCS#11 tests skip", "apt-get install softhsm2"),
)


def run_checks(home: Home) -> list[dict[str, str | bool]]:
    """All checks; one that breaks counts as a miss."""
    return [_run(check, home) for check in CHECKS]


def _run(check: Check, home: Home) -> dict[str, str | bool]:
    try:
        seen = check.look(home)
    except (OSError, ValueError, subprocess.SubprocessError, EnclaveError) as error:
        words = error.message if isinstance(error, EnclaveError) else f"could not be checked ({type(error).__name__})"
        seen = Finding(False, words)
    result: dict[str, str | bool] = {"id": check.id, "level": check.level, "ok": seen.ok, "found": seen.found}
    return result if seen.ok else {**result, "cost": check.cost, "remedy": check.remedy}
