"""What an attacker tries whose code runs as the kernel: `facts` are what was told from outside. Runs in a cell."""
# ruff: noqa: BLE001, PTH108, PTH110, PTH123, PTH208, SIM115 - an attacker looks at every error

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from enclave_kernel import wire

LEASE = "/run/enclave/lease.sock"
SUBMIT = "/run/enclave/submit.sock"
TABLE = "tables/patients"
ADD_SEALS, GET_SEALS = 1033, 1034


def tried(attempt: Callable[[], Any]) -> Any:
    """What it returned, or the name of its error."""
    try:
        return attempt()
    except Exception as fault:
        return f"error: {type(fault).__name__}"


def exchange(path: str, kind: str, body: dict[str, Any], *, fds: tuple[int, ...] = (), extra: Any = None) -> Any:
    """One request; the body and descriptors, or ``family/code``."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(path)
        wire.send_frame(sock, {"v": 1, "id": "a", "type": kind, "body": body, **(extra or {})}, fds)
        received = wire.receive_frame(sock, max_descriptors=128)
    if received is None:
        return "closed", []
    answer, descriptors = received
    if not answer["ok"]:
        return f"{answer['error']['family']}/{answer['error']['code']}", []
    return answer["body"], descriptors


def ask(path: str, kind: str, body: dict[str, Any], **options: Any) -> str:
    found = tried(lambda: exchange(path, kind, body, **options))
    if isinstance(found, str):
        return (
            "closed"
            if found in ("error: WireError", "error: BrokenPipeError", "error: ConnectionResetError")
            else found
        )
    body, descriptors = found
    for fd in descriptors:
        os.close(fd)
    return body if isinstance(body, str) else "answered"


def opened() -> str:
    return exchange(LEASE, "lease.open", {"dataset": "demo-ct", "version": 1})[0]["lease"]


def requests(facts: dict[str, Any]) -> dict[str, str]:
    """Every request of every service on both sockets, but their own."""
    found = {}
    for name in facts["requests"]:
        if not name.startswith("lease."):
            found[f"lease {name}"] = ask(LEASE, name, {})
        if not name.startswith(("egress.submit", "egress.status")):
            found[f"submit {name}"] = ask(SUBMIT, name, {})
    return found


def leases(facts: dict[str, Any]) -> dict[str, str]:
    """Leases that are not ours, objects that are not for us, a cell of our choice."""
    own = opened()
    read = {"lease": own, "names": [TABLE]}
    return {
        "own": ask(LEASE, "lease.read", read),
        "of_other_kernel": ask(LEASE, "lease.read", {**read, "lease": facts["foreign_lease"]}),
        "list_of_other_kernel": ask(LEASE, "lease.objects", {"lease": facts["foreign_lease"], "after": ""}),
        "unknown": ask(LEASE, "lease.read", {**read, "lease": "0" * 32}),
        "odd": ask(LEASE, "lease.read", {**read, "lease": "../" * 10}),
        "review": ask(LEASE, "lease.read", {**read, "names": [facts["review"]]}),
        "no_such": ask(LEASE, "lease.read", {**read, "names": ["../keys.json"]}),
        "twice": ask(LEASE, "lease.read", {**read, "names": [TABLE] * 101}),
        "other_dataset": ask(LEASE, "lease.open", {"dataset": "secret"}),
        "other_version": ask(LEASE, "lease.open", {"dataset": "demo-ct", "version": 999}),
        "dataset_path": ask(LEASE, "lease.open", {"dataset": "../demo-ct"}),
        "forged_cell": ask(LEASE, "lease.read", {**read, "cell": facts["forged_cell"]}),
        "forged_cell_beside": ask(LEASE, "lease.read", read, extra={"cell": facts["forged_cell"]}),
        "forged_person": ask(LEASE, "lease.open", {"dataset": "demo-ct", "person": "olga"}),
        "descriptor": ask(LEASE, "lease.list", {}, fds=(0,)),
    }


def sealed(_facts: dict[str, Any]) -> dict[str, Any]:
    """What can be done to memory that others may hold too."""
    lease = opened()
    body, (fd,) = exchange(LEASE, "lease.read", {"lease": lease, "names": [TABLE]})
    _, (again,) = exchange(LEASE, "lease.read", {"lease": lease, "names": [TABLE]})
    size = body["sizes"][0]
    before = os.pread(fd, size, 0)
    os.lseek(fd, 7, os.SEEK_SET)
    libc = ctypes.CDLL(None, use_errno=True)
    view = mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    address = ctypes.addressof(ctypes.c_char.from_buffer_copy(b"x"))  # any; the real one is in maps
    for line in open("/proc/self/maps"):
        if "memfd" in line:
            address = int(line.split("-")[0], 16)
    attempts = {
        "write": lambda: os.pwrite(fd, b"x", 0),
        "truncate": lambda: os.ftruncate(fd, 0),
        "grow": lambda: os.ftruncate(fd, size + 4096),
        "map": lambda: mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE | mmap.PROT_READ).close(),
        "protect": lambda: 1 / (libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 3) == 0),
        "reopen": lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"x"),
        "reopen_truncate": lambda: os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC)),
        "append": lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_APPEND), b"x"),
        "poke": lambda: os.pwrite(os.open("/proc/self/mem", os.O_RDWR), b"x", address),
        "seal": lambda: fcntl.fcntl(fd, ADD_SEALS, 0x10),
        "splice": lambda: os.sendfile(fd, os.memfd_create("x"), 0, 1) or 1 / 0,
        "punch": lambda: 1 / (libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096)) == 0),
    }
    found = {name: str(tried(attempt)) for name, attempt in attempts.items()}
    view.close()
    return {
        "attempts": found,
        "seals": fcntl.fcntl(fd, GET_SEALS),
        "unchanged": os.pread(fd, size + 1, 0) == before == os.pread(again, size + 1, 0),
        "own_place": os.lseek(again, 0, os.SEEK_CUR) == 0,
    }


def submissions(facts: dict[str, Any]) -> dict[str, str]:
    """Descriptors that block, never end or change, and names that lead elsewhere."""
    texts = {"title": "t", "purpose": "p", "description": ""}
    memory = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(memory, b"a,b\n1,2\n")
    huge = os.memfd_create("huge")
    os.ftruncate(huge, 1 << 30)
    read, write = os.pipe()
    one, two = socket.socketpair()
    with open("/tmp/plain", "wb") as plain:
        plain.write(b"x")
    kinds = {
        "pipe": read, "zero": os.open("/dev/zero", os.O_RDONLY), "folder": os.open("/", os.O_RDONLY),
        "path": os.open("/tmp/plain", os.O_PATH), "socket": one.fileno(), "huge": huge,
        "write_only": os.open("/tmp/plain", os.O_WRONLY), "program": os.open("/usr/bin/env", os.O_RDONLY),
        "proc": os.open("/proc/self/status", os.O_RDONLY),
    }  # fmt: skip
    found = {name: ask(SUBMIT, "egress.submit", {**texts, "names": ["a.csv"]}, fds=(fd,)) for name, fd in kinds.items()}
    for name in ("../a.csv", "/etc/passwd", "a/b.csv", "", ".", "..", "a\0.csv", "a\n.csv", "x" * 300, "a..csv"):
        found[f"name {name[:20]!r}"] = ask(SUBMIT, "egress.submit", {**texts, "names": [name]}, fds=(memory,))
    more = {
        "no_files": ({"names": []}, ()), "too_few": ({"names": ["a.csv", "b.csv"]}, (memory,)),
        "too_many": ({"names": ["a.csv"]}, (memory,) * 3), "same": ({"names": ["a.csv", "A.csv"]}, (memory,) * 2),
        "replaces": ({"names": ["a.csv"], "replaces": facts["foreign_request"]}, (memory,)),
        "person": ({"names": ["a.csv"], "author": "olga"}, (memory,)),
        "title": ({"names": ["a.csv"], "title": ""}, (memory,)),
        "long": ({"names": ["a.csv"], "title": "t" * 300}, (memory,)),
    }  # fmt: skip
    for name, (body, fds) in more.items():
        found[name] = ask(SUBMIT, "egress.submit", {**texts, **body}, fds=fds)
    found["status_with_descriptors"] = ask(SUBMIT, "egress.status", {}, fds=(memory,) * 100)
    for fd in (read, write, memory, huge):
        os.close(fd)
    two.close()
    return found


def frames(_facts: dict[str, Any]) -> dict[str, str]:
    """What is no message, on both sockets."""
    found = {}
    good = wire.encode({"v": 1, "id": "a", "type": "lease.list", "body": {}})
    cases = {
        "endless": b"\xff\xff\xff\xff" + b"x" * 999,
        "spaces": struct.pack(">I", len(good) + 1) + good + b" ",
        "deep": struct.pack(">I", 400_000) + b"[" * 400_000,
        "zero": struct.pack(">I", 0),
        "http": b"GET / HTTP/1.1\r\n\r\n",
    }
    for path in (LEASE, SUBMIT):
        for name, data in cases.items():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(20)
                sock.connect(path)
                answer = tried(lambda sock=sock, data=data: (sock.sendall(data), sock.recv(100))[1].hex())
                found[f"{name} {path}"] = "closed" if answer in ("", "error: ConnectionResetError") else str(answer)
    return found


def crowd(_facts: dict[str, Any]) -> dict[str, Any]:
    """Connections without end, then an honest question."""
    held = []
    for _ in range(400):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(LEASE)
        held.append(sock)
    time.sleep(1.5)
    still = sum(tried(lambda sock=sock: sock.recv(1, socket.MSG_DONTWAIT)) == "error: BlockingIOError" for sock in held)
    for sock in held:
        sock.close()
    time.sleep(1)
    return {"still_open": still, "after": ask(LEASE, "lease.list", {})}


def late(_facts: dict[str, Any]) -> str:
    """Reads when no cell runs any more: by a thread that outlives its cell."""

    def later() -> None:
        time.sleep(1.5)
        ask(LEASE, "lease.read", {"lease": opened(), "names": [TABLE]})

    threading.Thread(target=later).start()
    return "started"


def sockets(facts: dict[str, Any]) -> dict[str, Any]:
    """Replaces its own end of the tap's sockets by links, and looks for those of others."""
    found = {}
    for path in facts["paths"]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(2)
            result = tried(lambda sock=sock, path=path: sock.connect(path))
            if not str(result).startswith("error"):
                found[path] = str(result)
    return {
        "reached": found,
        "sockets": [path for path in facts["own"] if os.path.exists(path)],
        "folder": str(tried(lambda: os.listdir("/run/enclave"))),
        "replace_lease": str(tried(lambda: os.unlink(LEASE))),
        "connection": str(tried(lambda: open("/run/enclave/connection.json", "a").close())),
        "code": str(tried(lambda: open("/home/person/code/x", "w").close())),
        "environment": sorted(os.environ),
    }


def attack(parts: list[str], facts: dict[str, Any]) -> str:
    """All parts; a line of JSON."""
    return "ATTACK " + json.dumps({name: tried(lambda name=name: globals()[name](facts)) for name in parts})
