"""Tries every door of a sandbox from inside, as a notebook's code would, and harms nothing.

A door is opened for writing but not written to, and a system call gets arguments with which it fails anyway: what
counts is which error comes back. Runs without `enclave`; the host's part of an attempt comes in ``facts``: ``secret``
(a readable file), ``port`` (listeners on loopback), ``abstract`` (a socket's name), ``host_pid``, ``hostname_sha256``;
``link`` (a link in the code folder), ``dataset`` and ``tap`` where there are such.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import resource
import runpy
import socket
import stat
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from typing import Any

Facts = dict[str, Any]
Outcome = tuple[bool, str]
_LIBC = ctypes.CDLL(None, use_errno=True)
_REFUSED = ("EPERM", "ENOSYS")
_DEVICES = {
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "fd", "stdin", "stdout",
    "stderr", "core",
}  # fmt: skip
# What the launcher, python, ipykernel and matplotlib set; any other name would have come from the host.
ENVIRONMENT = {
    "HOME", "USER", "PATH", "LANG", "LC_CTYPE", "PWD", "TERM", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE",
    "PYDEVD_DISABLE_FILE_VALIDATION", "PYDEVD_USE_FRAME_EVAL", "IPYTHONDIR", "MPLCONFIGDIR", "MPLBACKEND",
    "ENCLAVE_PROJECT", "LD_LIBRARY_PATH", "JPY_PARENT_PID", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "PAGER",
    "GIT_PAGER",
}  # fmt: skip
_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - plain, as a notebook would
_O_TMPFILE = 0o20000000 | os.O_DIRECTORY


def run(facts: Facts) -> list[dict[str, Any]]:
    """``[{id, what, expected, got, ok}]``, one row per attempt."""
    doors = runpy.run_path(f"{_HERE}/doors.py")["rows"]
    rows = []
    for name, what, expected, attempt in [*_attempts(facts), *doors(facts)]:
        try:
            ok, got = attempt()
        except OSError as fault:
            ok, got = True, _name(fault.errno)
        except Exception as fault:  # noqa: BLE001 - an attempt that breaks is a finding, not the end of the others
            ok, got = False, f"broken: {type(fault).__name__}"
        rows.append({"id": name, "what": what, "expected": expected, "got": got, "ok": ok})
    return rows


def _attempts(facts: Facts) -> list[tuple[str, str, str, Callable[[], Outcome]]]:
    rows: list[tuple[str, str, str, Callable[[], Outcome]]] = []
    for path in ("/etc/shadow", "/root", "/var/log", "/boot", "/sys/kernel", "/proc/kcore", facts["secret"]):
        shown = "a readable file of the host" if path == facts["secret"] else path
        rows.append(("file.read." + _slug(shown), f"open {shown}", "refused or absent", partial(_opens, path)))
    if facts.get("link"):
        rows.append(("file.link", "follow a link in the code folder to a file of the host", "absent",
                     lambda: _opens("/home/person/code/" + facts["link"])))  # fmt: skip
    folders = ("/", "/usr", "/etc", "/dev", "/home/person/code", "/run/enclave", "/run/enclave-runtime")
    rows += [
        (f"file.write.{_slug(path)}", f"make a nameless file in {path}", "refused",
         partial(_opens, path, _O_TMPFILE | os.O_RDWR))
        for path in folders
    ]  # fmt: skip
    for path in ("sys/kernel/core_pattern", "sysrq-trigger", "sys/kernel/modprobe", "sys/fs/protected_symlinks",
                 "1/mem", "1/environ", "1/root/etc"):  # fmt: skip
        flags = os.O_RDONLY if path.startswith("1/environ") or path.endswith("etc") else os.O_WRONLY
        rows.append((f"proc.{_slug(path)}", f"open /proc/{path}", "refused, or without anything of the host",
                     partial(_proc, path, flags)))  # fmt: skip
    rows += _process_rows(facts) + _network_rows(facts) + _call_rows() + _state_rows(facts)
    return rows


def _process_rows(facts: Facts) -> list[tuple[str, str, str, Callable[[], Outcome]]]:
    return [
        ("process.list", "see processes of anyone else in /proc", "own processes only", _processes),
        ("process.signal", "send a signal to the launcher", "no such process",
         lambda: _signal(facts["host_pid"])),
        ("process.caps", "hold a capability", "none", _capabilities),
        ("process.new_privileges", "gain rights by a set-user-id program", "no_new_privs is set", _no_new_privs),
        ("process.seccomp", "run without a filter", "filtered", _seccomp),
        ("process.uid", "be mapped to uid 0 of the host", "another uid", _uid_map),
        ("process.environment", "find the host's environment", "nothing of the host", _environment),
        ("process.descriptors", "find an inherited folder or file of the host", "none", _descriptors),
    ]  # fmt: skip


def _network_rows(facts: Facts) -> list[tuple[str, str, str, Callable[[], Outcome]]]:
    port = facts["port"]
    rows: list[tuple[str, str, str, Callable[[], Outcome]]] = [
        ("net.loopback4", "connect to a listener on the host's 127.0.0.1", "refused",
         lambda: _connect(socket.AF_INET, ("127.0.0.1", port))),
        ("net.loopback6", "connect to a listener on the host's ::1", "refused",
         lambda: _connect(socket.AF_INET6, ("::1", port))),
        ("net.abstract", "connect to an abstract Unix socket of the host", "refused",
         lambda: _connect(socket.AF_UNIX, "\0" + facts["abstract"])),
        ("net.names", "resolve a name", "fails", _resolve),
        ("net.interfaces", "find an interface", "lo only", _interfaces),
        ("net.routes", "find a route", "none", _routes),
        ("net.sockets", "find sockets of other processes", "lease and submit only", _sockets),
    ]  # fmt: skip
    families = (
        ("vsock", 40, 1, 0), ("alg", 38, 5, 0), ("packet", 17, 3, 0), ("raw4", 2, 3, 1), ("raw6", 10, 3, 58),
        ("bluetooth", 31, 3, 0), ("netlink_audit", 16, 3, 9), ("netlink_kobject", 16, 3, 15), ("sctp", 2, 1, 132),
        ("mptcp", 2, 1, 262), ("xdp", 44, 3, 0), ("can", 29, 3, 1), ("tipc", 30, 1, 0),
    )  # fmt: skip
    rows += [
        (f"net.family.{name}", f"make a {name} socket", "refused by the filter", partial(_socket, *numbers))
        for name, *numbers in families
    ]
    return rows


def _calls() -> dict[str, int]:
    """The numbers of this architecture, from the filter's own profile beside this folder."""
    with open(f"{_HERE}/../profiles/syscalls.toml", "rb") as file:  # noqa: PTH123 - plain, as a notebook would
        return dict(tomllib.load(file)[os.uname().machine]["calls"])


def _call_rows() -> list[tuple[str, str, str, Callable[[], Outcome]]]:
    calls = _calls()
    bad = 2**22 - 1  # no process has this id
    arguments: dict[str, tuple[int, ...]] = {
        "ptrace": (16, bad, 0, 0), "process_vm_readv": (bad, 0, 0, 0, 0, 0), "process_vm_writev": (bad, 0, 0, 0, 0, 0),
        "kcmp": (bad, bad, 0, 0, 0), "pidfd_getfd": (-1, 0, 0), "keyctl": (0xFFFF, 0, 0, 0, 0),
        "add_key": (0, 0, 0, 0, 0), "request_key": (0, 0, 0, 0), "io_uring_setup": (0, 0),
        "io_uring_enter": (-1, 0, 0, 0, 0, 0), "userfaultfd": (0xFFFFFFF,), "bpf": (0xFFFF, 0, 0),
        "perf_event_open": (0, 0, 0, -1, 0), "fanotify_init": (0xFFFFFFF, 0), "name_to_handle_at": (-1, 0, 0, 0, 0),
        "open_by_handle_at": (-1, 0, 0), "mount": (0, 0, 0, 0, 0), "umount2": (0, 0), "pivot_root": (0, 0),
        "chroot": (0,), "open_tree": (-1, 0, 0), "move_mount": (-1, 0, -1, 0, 0xFFFFFFF), "fsopen": (0, 0),
        "fsmount": (-1, 0, 0), "mount_setattr": (-1, 0, 0, 0, 0), "setns": (-1, 0), "clone3": (0, 0),
        "kexec_load": (0, 0, 0, 0xFFFF), "init_module": (0, 0, 0), "finit_module": (-1, 0, 0),
        "swapon": (0, 0), "quotactl": (0xFFFF, 0, 0, 0), "reboot": (0, 0, 0, 0), "sethostname": (0, -1),
        "syslog": (0xFFFF, 0, 0), "move_pages": (bad, 0, 0, 0, 0, 0),
    }  # fmt: skip
    rows: list[tuple[str, str, str, Callable[[], Outcome]]] = [
        (f"call.{name}", f"call {name}", "refused by the filter", partial(_call, calls, name, *words))
        for name, words in arguments.items()
        if name in calls
    ]
    for name, flag in (("user", 0x10000000), ("net", 0x40000000), ("mount", 0x20000), ("pid", 0x20000000)):
        rows.append((f"call.unshare.{name}", f"make a {name} namespace", "refused by the filter",
                     partial(_call, calls, "unshare", flag)))  # fmt: skip
    rows += [
        ("call.clone.user", "clone into a user namespace", "refused by the filter",
         lambda: _call(calls, "clone", 0x10000000 | 0xFF000000000, 0, 0, 0, 0)),
        ("call.unknown", "call what this filter does not know", "does not exist", lambda: _number(1000)),
        ("call.tiocsti", "type into a terminal", "refused by the filter",
         lambda: _call(calls, "ioctl", -1, 0x5412, 0)),
        ("call.personality", "change the process's personality", "refused by the filter",
         lambda: _call(calls, "personality", 0x0040000)),
    ]  # fmt: skip
    return rows


def _state_rows(facts: Facts) -> list[tuple[str, str, str, Callable[[], Outcome]]]:
    return [
        ("device.list", "find a device of the machine", "the usual seven", _devices),
        ("device.make", "make a device", "refused", _make_device),
        ("limit.core", "leave a core dump", "limit 0", _core),
        ("limit.processes", "start processes without end", "a limit", lambda: _limit(resource.RLIMIT_NPROC)),
        ("limit.files", "open files without end", "a limit", lambda: _limit(resource.RLIMIT_NOFILE)),
        ("limit.tmp", "fill the machine's memory through /tmp", "a size", lambda: _size("/tmp")),  # noqa: S108 - in the sandbox
        ("limit.shm", "fill the machine's memory through /dev/shm", "a size", lambda: _size("/dev/shm")),  # noqa: S108 - in the sandbox
        ("limit.work", "fill the machine's memory through ~/work", "a size", lambda: _size("/home/person/work")),
        ("host.name", "learn the host's name", "a neutral one",
         lambda: (hashlib.sha256(socket.gethostname().encode()).hexdigest() != facts["hostname_sha256"], "neutral")),
        ("host.dump", "read own memory through a debugger of the same user", "not dumpable",
         lambda: (_LIBC.prctl(3, 0, 0, 0, 0) == 0, "not dumpable")),
    ]  # fmt: skip


# ── single attempts: (closed?, what came back) ──────────────────────────────


def _opens(path: str, flags: int = os.O_RDONLY) -> Outcome:
    os.close(os.open(path, flags, 0o600))
    return False, "opened"


def _proc(path: str, flags: int) -> Outcome:
    full = f"/proc/{path}"
    if path == "1/environ":
        with open(full, "rb") as file:  # noqa: PTH123 - as a notebook would
            found = file.read(4096)
        return not found, "empty" if not found else f"{len(found)} bytes"
    if path.endswith("root/etc"):
        return "shadow" not in os.listdir(full), "the sandbox's own"  # noqa: PTH208 - plain, as a notebook would
    return _opens(full, flags)


def _processes() -> Outcome:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - plain, as a notebook would
    foreign = [pid for pid in pids if pid > 1 and _session_of(pid) is None]
    return len(pids) <= 8 and not foreign, f"{len(pids)} processes"


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _signal(pid: int) -> Outcome:
    os.kill(pid, 0)
    return False, "reached"


def _status(field: str) -> str:
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - plain, as a notebook would
        return next(line.split(":")[1].strip() for line in file if line.startswith(field + ":"))


def _capabilities() -> Outcome:
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(_status(name), 16)]
    return not held, ",".join(held) or "none"


def _no_new_privs() -> Outcome:
    return _status("NoNewPrivs") == "1", f"no_new_privs={_status('NoNewPrivs')}"


def _seccomp() -> Outcome:
    return _status("Seccomp") == "2", f"mode {_status('Seccomp')}"


def _uid_map() -> Outcome:
    with open("/proc/self/uid_map", encoding="ascii") as file:  # noqa: PTH123 - plain, as a notebook would
        rows = [line.split() for line in file]
    return len(rows) == 1 and rows[0][2] == "1" and os.getuid() != 0, f"{len(rows)} range"


def _environment() -> Outcome:
    names = sorted(set(os.environ) - ENVIRONMENT)
    return not names, ",".join(names) or "none"


def _descriptors() -> Outcome:
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - plain, as a notebook would
        try:
            mode = os.fstat(int(name)).st_mode
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - plain, as a notebook would
        except OSError:
            continue
        if stat.S_ISDIR(mode) and not target.startswith("/proc/"):
            found.append(name)
    return not found, f"{len(found)} folders"


def _connect(family: int, address: Any) -> Outcome:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        sock.connect(address)
    return False, "connected"


def _resolve() -> Outcome:
    try:
        socket.getaddrinfo("example.org", 443)
    except socket.gaierror:
        return True, "no answer"
    return False, "resolved"


def _interfaces() -> Outcome:
    names = [name for _, name in socket.if_nameindex()]
    return names == ["lo"], ",".join(names)


def _routes() -> Outcome:
    with open("/proc/net/route", encoding="ascii") as file:  # noqa: PTH123 - plain, as a notebook would
        count = len(file.readlines()) - 1
    with open("/proc/net/ipv6_route", encoding="ascii") as file:  # noqa: PTH123 - plain, as a notebook would
        count += sum(not line.rstrip().endswith(" lo") for line in file)
    return count <= 0, f"{max(count, 0)} routes"


def _sockets() -> Outcome:
    found = []
    for top in ("/run", "/tmp", "/home", "/dev"):  # noqa: S108 - in the sandbox
        for folder, _, files in os.walk(top):
            for name in files:
                path = os.path.join(folder, name)  # noqa: PTH118 - plain, as a notebook would
                if stat.S_ISSOCK(os.lstat(path).st_mode) and "/zmq/" not in path:
                    found.append(path)
    return set(found) <= {"/run/enclave/lease.sock", "/run/enclave/submit.sock"}, f"{len(found)} sockets"


def _socket(family: int, kind: int, protocol: int) -> Outcome:
    try:
        socket.socket(family, kind, protocol).close()
    except OSError as fault:
        return fault.errno in (errno.EAFNOSUPPORT, errno.EPERM), _name(fault.errno)
    return False, "made"


def _call(calls: dict[str, int], name: str, *arguments: int) -> Outcome:
    return _number(calls[name], *arguments)


def _number(number: int, *arguments: int) -> Outcome:
    ctypes.set_errno(0)
    words = [ctypes.c_long(one) for one in arguments]
    if _LIBC.syscall(ctypes.c_long(number), *words) >= 0:
        return False, "done"
    got = _name(ctypes.get_errno())
    return got in _REFUSED, got


def _devices() -> Outcome:
    extra = set(os.listdir("/dev")) - _DEVICES  # noqa: PTH208 - plain, as a notebook would
    return not extra, ",".join(sorted(extra)) or "the usual"


def _make_device() -> Outcome:
    os.mknod("/tmp/device", stat.S_IFCHR | 0o600, os.makedev(1, 1))  # noqa: S108 - in the sandbox
    os.unlink("/tmp/device")  # noqa: PTH108, S108 - plain, as a notebook would
    return False, "made"


def _core() -> Outcome:
    return resource.getrlimit(resource.RLIMIT_CORE) == (0, 0), "0"


def _limit(which: int) -> Outcome:
    hard = resource.getrlimit(which)[1]
    return hard != resource.RLIM_INFINITY, str(hard)


def _size(path: str) -> Outcome:
    info = os.statvfs(path)
    size = info.f_blocks * info.f_frsize
    return 0 < size <= 4 << 30, f"{size >> 20} MB"


def _slug(text: str) -> str:
    return text.strip("/").replace("/", "_").replace(" ", "_") or "root"


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(json.loads(sys.stdin.read()))))
