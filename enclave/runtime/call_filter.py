"""Filters of system calls as classic BPF; and the list of all that one process may still make, put on from inside.

Source of the instruction format: linux/filter.h, linux/seccomp.h, seccomp(2). Both architectures are little endian.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from enclave.core.errors import UnavailableError

LOAD, JUMP_EQ, RETURN = 0x20, 0x15, 0x06
NR, ARCH = 0, 4  # offsets in struct seccomp_data
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM: Final = 1
DECODER: Final = "decoder"  # the list of who decodes pixels
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class CallList:
    """The calls that stay, by number, on one architecture."""

    audit_arch: int
    calls: tuple[int, ...]


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def load_call_list(name: str, machine: str | None = None) -> CallList:
    """The list ``name`` for ``machine`` (default: this one); raises ``UnavailableError`` where there is none."""
    machine = machine or platform.machine()
    text = (resources.files("enclave.runtime") / "call_lists" / f"{name}.toml").read_text("utf-8")
    lists = tomllib.loads(text)
    if machine not in lists:
        raise UnavailableError(f"call list {name}: wanted one for this machine, got those of {', '.join(lists)}")
    return CallList(lists[machine]["audit_arch"], tuple(sorted(lists[machine]["calls"].values())))


def program(allowed: CallList) -> list[Instruction]:
    """Allows what is listed; another architecture is killed, every other call answered with EPERM."""
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (JUMP_EQ, 1, 0, allowed.audit_arch),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NR),
    ]
    for number in allowed.calls:
        code += [(JUMP_EQ, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    return [*code, (RETURN, 0, 0, ERRNO | EPERM)]


def assemble(code: Sequence[Instruction]) -> bytes:
    """Instructions as the kernel's ``struct sock_filter[]``."""
    return b"".join(struct.pack("<HBBI", *one) for one in code)


def confine(code: bytes) -> None:
    """Puts a filter on this thread and all that it starts, for ever; raises ``OSError`` when the kernel does not."""
    library = ctypes.CDLL(None, use_errno=True)
    filtered = _Program(len(code) // 8, code)
    for request in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filtered))):
        if library.prctl(*request, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
