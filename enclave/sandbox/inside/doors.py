"""Tries the doors that a kernel does have: its two sockets, its connection to the tap, and the memory it is lent.

As ``attempts``: what fails anyway shows whether a door is open, and nothing is changed. Runs without `enclave`.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import json
import mmap
import os
import socket
import stat
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

Facts = dict[str, Any]
Outcome = tuple[bool, str]
Row = tuple[str, str, str, Callable[[], Outcome]]
_RUN = "/run/enclave"
_LIBC = ctypes.CDLL(None, use_errno=True)
_ADD_SEALS, _GET_SEALS, _FUTURE_WRITE = 1033, 1034, 0x10
_ALL_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, SHRINK, GROW, WRITE (fcntl(2))
_WAIT_S = 20.0


def rows(facts: Facts) -> list[Row]:
    """What can be tried here: frames where a socket is, messages where a tap is, memory where a dataset is named."""
    found = _connection_rows()
    for name in ("lease", "submit"):
        if os.path.exists(f"{_RUN}/{name}.sock"):  # noqa: PTH110 - plain, as a notebook would
            found += _frame_rows(name)
    if facts.get("dataset"):
        found += _memory_rows(facts["dataset"])
    if facts.get("tap"):
        found += _message_rows()
    return found


# ── the connection file and the tap's sockets ───────────────────────────────


def _connection_rows() -> list[Row]:
    return [
        ("tap.connection.write", "change the kernel's connection file", "refused",
         partial(_opens, f"{_RUN}/connection.json", os.O_WRONLY)),
        ("tap.connection.replace", "put another file beside it, to take its place", "refused",
         partial(_opens, _RUN, 0o20000000 | os.O_DIRECTORY | os.O_RDWR)),
        ("tap.connection.others", "find the connection file of anything else", "only its own", _connection_files),
        ("tap.front", "find the sockets on which the tap listens to the person", "none", _front_sockets),
        ("tap.sockets.parent", "leave the folder of its sockets by a link", "stays inside", _leads_outside),
    ]  # fmt: skip


def _opens(path: str, flags: int) -> Outcome:
    os.close(os.open(path, flags, 0o600))
    return False, "opened"


def _connection_files() -> Outcome:
    found = []
    for top in ("/run", "/tmp", "/home", "/dev/shm"):  # noqa: S108 - in the sandbox
        for folder, _, files in os.walk(top):
            found += [f"{folder}/{name}" for name in files if name.endswith(".json") and _has_key(f"{folder}/{name}")]
    return set(found) <= {f"{_RUN}/connection.json"}, f"{len(found)} files"


def _has_key(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - plain, as a notebook would
            value = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and "signature_scheme" in value


def _front_sockets() -> Outcome:
    names = sorted(name for name in os.listdir(f"{_RUN}/zmq") if stat.S_ISSOCK(os.lstat(f"{_RUN}/zmq/{name}").st_mode))  # noqa: PTH208 - plain, as a notebook would
    extra = [name for name in names if name not in {f"k-{number}" for number in range(1, 6)}]
    return not extra, f"{len(names)} own sockets, {len(extra)} others"


def _leads_outside() -> Outcome:
    """A path of the host, followed through a link in the one folder of ``/run/enclave`` that can be written."""
    link = f"{_RUN}/zmq/leads-out"
    os.symlink("../../../../../proc/1/root/etc/shadow", link)  # noqa: PTH211 - plain, as a notebook would
    try:
        return _opens(link, os.O_RDONLY)
    finally:
        os.unlink(link)  # noqa: PTH108 - plain, as a notebook would


# ── frames ──────────────────────────────────────────────────────────────────


def _frame_rows(name: str) -> list[Row]:
    good = _frame({"body": {}, "id": "a", "type": "lease.list", "v": 1})
    cases: dict[str, tuple[str, bytes]] = {
        "endless": ("a frame of four gigabytes", b"\xff\xff\xff\xff" + b"x" * 999),
        "empty": ("a frame of no bytes", struct.pack(">I", 0)),
        "deep": ("a frame of 400,000 open brackets", struct.pack(">I", 400_000) + b"[" * 400_000),
        "twice": ("a frame with one key twice", _raw(b'{"body":{},"id":"a","id":"b","type":"lease.list","v":1}')),
        "spelling": ("a frame in another spelling", _raw(good[4:] + b" ")),
        "not_a_number": ("a frame with NaN", _raw(b'{"body":{"dataset":NaN},"id":"a","type":"lease.open","v":1}')),
        "version": ("a frame of another version", _frame({"body": {}, "id": "a", "type": "lease.list", "v": 9})),
        "no_object": ("a frame that is a list", _raw(b"[1,2,3]")),
        "bytes": ("a frame that is no text", _raw(b"\xff\xfe\x00\x01")),
        "http": ("a request of HTTP", b"GET / HTTP/1.1\r\nHost: lease\r\n\r\n"),
        "zmtp": ("a greeting of ZeroMQ", b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)),
        "unknown": ("a request of another service",
                    _frame({"body": {"kernel": "0" * 32, "reason": "x"}, "id": "a", "type": "launcher.kernel_end",
                            "v": 1})),
        "extra": ("a request with a field that says who asks",
                  _frame({"body": {"person": "somebody"}, "id": "a", "type": "lease.list", "v": 1})),
    }  # fmt: skip
    found: list[Row] = [
        (f"frame.{name}.{case}", f"send {words} to the {name} socket", "refused or closed", partial(_send, name, data))
        for case, (words, data) in cases.items()
    ]
    found += [
        (f"frame.{name}.descriptors", f"send descriptors that nobody asked for to the {name} socket",
         "refused or closed", partial(_send, name, good, fds=64)),
        (f"frame.{name}.half", f"send half a frame to the {name} socket and go", "it goes on answering",
         partial(_half, name)),
    ]  # fmt: skip
    return found


def _frame(value: dict[str, Any]) -> bytes:
    return _raw(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _raw(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _send(name: str, data: bytes, *, fds: int = 0) -> Outcome:
    """Open means: answered as if it were a request. A refusal, a closed connection and an error are closed doors."""
    with _connected(name) as sock:
        try:
            if fds:
                one = os.open("/dev/null", os.O_RDONLY)
                try:
                    socket.send_fds(sock, [data], [one] * fds)
                finally:
                    os.close(one)
            else:
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.recv(1 << 16)
        except (BrokenPipeError, ConnectionResetError):
            return True, "closed"
    if not answer:
        return True, "closed"
    try:
        said = json.loads(answer[4:])
    except ValueError:
        return False, "something else"
    refused = said.get("ok") is False
    return refused, str(said.get("error", {}).get("family", "refused")) if refused else "answered"


def _half(name: str) -> Outcome:
    with _connected(name) as sock:
        sock.sendall(struct.pack(">I", 1000) + b'{"body":')
    with _connected(name) as sock:
        sock.sendall(_frame({"body": {}, "id": "a", "type": "nothing.known", "v": 1}))
        return bool(sock.recv(1 << 16)), "it goes on answering"


def _connected(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_WAIT_S)
    sock.connect(f"{_RUN}/{name}.sock")
    return sock


# ── memory that others may hold, too ────────────────────────────────────────


def _memory_rows(dataset: str) -> list[Row]:
    cases: tuple[tuple[str, str, str, Callable[[int, int], Outcome]], ...] = (
        ("seals", "find a seal missing from lent memory", "all four", _seals),
        ("seal", "add a seal to it", "refused", _seal),
        ("map", "map it for writing", "refused", _map_writable),
        ("protect", "make its mapping writable", "refused", _protect),
        ("reopen", "open it anew for writing through /proc", "without effect", _reopen),
        ("memory", "write to its mapping through /proc/self/mem", "refused", _through_memory),
        ("punch", "punch a hole into it", "refused", _punch),
        ("grow", "make it longer", "refused", _grow),
        ("link", "give it a name in a folder", "refused", _link),
        ("own_place", "move another reader's place in it", "own place", lambda fd, _: _own_place(fd, dataset)),
        ("directory", "leave it by ..", "no folder", _walk_from),
    )
    return [
        (f"memory.{name}", what, expected, partial(_with_memory, dataset, attempt))
        for name, what, expected, attempt in cases
    ]


def _lent(dataset: str) -> tuple[int, int]:
    """A descriptor of the dataset's first object that is not empty, and its size."""
    lease = importlib.import_module("enclave_kernel.connection").Connection("lease")  # there is one inside only
    body, _ = lease.ask("lease.open", {"dataset": dataset})
    one = next(item for item in body["objects"] if item["size_bytes"])
    reply, fds = lease.ask("lease.read", {"lease": body["lease"], "names": [one["name"]]}, max_descriptors=1)
    return fds[0], int(reply["sizes"][0])


def _with_memory(dataset: str, attempt: Callable[[int, int], Outcome]) -> Outcome:
    fd, size = _lent(dataset)
    try:
        return attempt(fd, size)
    finally:
        os.close(fd)


def _seals(fd: int, _: int) -> Outcome:
    held = fcntl.fcntl(fd, _GET_SEALS)
    return held & _ALL_SEALS == _ALL_SEALS, f"{held:#x}"


def _seal(fd: int, _: int) -> Outcome:
    fcntl.fcntl(fd, _ADD_SEALS, _FUTURE_WRITE)
    return False, "added"


def _map_writable(fd: int, size: int) -> Outcome:
    mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE).close()
    return False, "mapped"


def _mapped_at(fd: int, size: int) -> tuple[mmap.mmap, int]:
    view = mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    inode = os.fstat(fd).st_ino
    with open("/proc/self/maps", encoding="utf-8") as file:  # noqa: PTH123 - plain, as a notebook would
        line = next(line for line in file if line.split()[4] == str(inode))
    return view, int(line.split("-")[0], 16)


def _protect(fd: int, size: int) -> Outcome:
    view, address = _mapped_at(fd, size)
    try:
        ctypes.set_errno(0)
        done = _LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), mmap.PROT_READ | mmap.PROT_WRITE) == 0
        return not done, "writable" if done else os.strerror(ctypes.get_errno())
    finally:
        view.close()


def _reopen(fd: int, size: int) -> Outcome:
    """A description that could write exists only if a writable mapping of it does (memfd_create(2))."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    try:
        return _map_writable(again, size)
    except OSError as fault:
        return True, os.strerror(fault.errno or 0)
    finally:
        os.close(again)


def _through_memory(fd: int, size: int) -> Outcome:
    """Writes what stands there already, so that even an open door changes nothing."""
    view, address = _mapped_at(fd, size)
    memory = os.open("/proc/self/mem", os.O_RDWR)
    try:
        os.pwrite(memory, view[:1], address)
    except OSError as fault:
        return True, os.strerror(fault.errno or 0)
    finally:
        os.close(memory)
        view.close()
    return False, "written"


def _punch(fd: int, _: int) -> Outcome:
    ctypes.set_errno(0)
    beyond = ctypes.c_long(1 << 40)  # nothing is there, so nothing would be lost
    done = _LIBC.fallocate(fd, 3, beyond, ctypes.c_long(4096)) == 0
    return not done, "punched" if done else os.strerror(ctypes.get_errno())


def _grow(fd: int, size: int) -> Outcome:
    os.posix_fallocate(fd, size, 4096)
    return False, "grown"


def _link(fd: int, _: int) -> Outcome:
    os.link(f"/proc/self/fd/{fd}", "/tmp/lent", follow_symlinks=True)  # noqa: S108 - in the sandbox
    os.unlink("/tmp/lent")  # noqa: PTH108, S108 - in the sandbox
    return False, "linked"


def _own_place(fd: int, dataset: str) -> Outcome:
    os.lseek(fd, 1, os.SEEK_SET)
    again, _ = _lent(dataset)
    try:
        place = os.lseek(again, 0, os.SEEK_CUR)
    finally:
        os.close(again)
    return place == 0, f"at {place}"


def _walk_from(fd: int, _: int) -> Outcome:
    os.close(os.open("..", os.O_RDONLY, dir_fd=fd))
    return False, "walked"


# ── messages to the tap ─────────────────────────────────────────────────────


def _message_rows() -> list[Row]:
    good = [b"kernel.x.stream", b"<IDS|MSG>", b"0" * 64, b"{}", b"{}", b"{}", b"{}"]
    cases: dict[str, tuple[str, list[bytes]]] = {
        "no_delimiter": ("a message without a delimiter", [b"x", b"y"]),
        "empty": ("a message of one empty part", [b""]),
        "short": ("a message with parts missing", good[:4]),
        "unsigned": ("a message with another signature", good),
        "parts": ("a message of 2,000 parts", [*good, *([b""] * 2000)]),
        "deep": ("a message of 100,000 open brackets", [*good[:6], b"[" * 100_000]),
        "bytes": ("a message that is no text", [*good[:3], b"\xff\xfe", *good[4:]]),
    }
    return [
        (f"message.{name}", f"send {words} to the tap", "dropped; this page shows that it goes on",
         partial(_to_tap, frames))
        for name, (words, frames) in cases.items()
    ]  # fmt: skip


def _to_tap(frames: list[bytes]) -> Outcome:
    """Past the kernel's own session, straight into the socket that the tap reads outputs from."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    thread = shell.kernel.iopub_thread
    thread.schedule(lambda: thread.socket.send_multipart(frames))
    return True, "sent"
