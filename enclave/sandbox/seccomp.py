"""The system call filter of a sandbox: profiles are data, this module turns them into classic BPF.

The instruction format is that of ``enclave.runtime.call_filter``.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from enclave.core.errors import UnavailableError
from enclave.runtime.call_filter import ALLOW as _ALLOW
from enclave.runtime.call_filter import ARCH as _ARCH
from enclave.runtime.call_filter import EPERM, Instruction, assemble
from enclave.runtime.call_filter import ERRNO as _ERRNO
from enclave.runtime.call_filter import JUMP_EQ as _JUMP_EQ
from enclave.runtime.call_filter import KILL as _KILL
from enclave.runtime.call_filter import LOAD as _LOAD
from enclave.runtime.call_filter import NR as _NR
from enclave.runtime.call_filter import RETURN as _RETURN

_JUMP_GT, _JUMP_GE, _JUMP_SET, _AND = 0x25, 0x35, 0x45, 0x54
_ARGS = 16  # offset in struct seccomp_data
ENOSYS, EAFNOSUPPORT = 38, 97
_X32_BIT = 0x40000000


@dataclass(frozen=True, slots=True)
class SocketRule:
    """What socket(2) may be asked for in one family; ``protocols`` empty = any."""

    family: int
    types: tuple[int, ...]
    protocols: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A filter for one architecture, calls resolved to numbers."""

    audit_arch: int
    newest: int
    deny: tuple[int, ...]
    absent: tuple[int, ...]
    clone: int
    clone_flags: int
    ioctl: int
    ioctl_requests: tuple[int, ...]
    personality: int
    personality_values: tuple[int, ...]
    socket: int
    socketpair: int
    sockets: tuple[SocketRule, ...]


def filter_bytes(machine: str | None = None) -> bytes:
    """The filter for ``machine`` (default: this one) as bwrap's ``--seccomp`` takes it.

    Raises ``UnavailableError`` for an architecture without a profile.
    """
    return assemble(program(load_profile(machine or platform.machine())))


@cache
def load_profile(machine: str) -> Profile:
    """The profile of ``x86_64`` or ``aarch64`` from the data files."""
    numbers = _read("syscalls.toml")
    if machine not in numbers:
        raise UnavailableError(f"seccomp: wanted a profile for {machine}, got none; supported: {', '.join(numbers)}")
    table, rules = numbers[machine], _read("sandbox.toml")
    calls: Mapping[str, int] = table["calls"]
    return Profile(
        audit_arch=table["audit_arch"],
        newest=table["newest"],
        deny=tuple(calls[name] for name in rules["deny"] if name in calls),
        absent=tuple(calls[name] for name in rules["absent"] if name in calls),
        clone=calls["clone"],
        clone_flags=rules["clone_flags"],
        ioctl=calls["ioctl"],
        ioctl_requests=tuple(rules["ioctl"]),
        personality=calls["personality"],
        personality_values=tuple(rules["personality"]),
        socket=calls["socket"],
        socketpair=calls["socketpair"],
        sockets=tuple(SocketRule(r["family"], tuple(r["types"]), tuple(r["protocols"])) for r in rules["socket"]),
    )


def load_calls(machine: str) -> dict[str, int]:
    """The numbers of the calls that the profiles name, for ``machine``."""
    return dict(_read("syscalls.toml")[machine]["calls"])


def program(profile: Profile) -> list[Instruction]:
    """The filter as instructions: wrong architecture is killed, x32 and unknown calls do not exist."""
    code: list[Instruction] = [
        _load(_ARCH),
        (_JUMP_EQ, 1, 0, profile.audit_arch),
        _answer(_KILL),
        _load(_NR),
        (_JUMP_GE, 0, 1, _X32_BIT),
        _answer(_ERRNO | ENOSYS),
        (_JUMP_GT, 0, 1, profile.newest),
        _answer(_ERRNO | ENOSYS),
    ]
    code += _for_calls(profile.absent, _ERRNO | ENOSYS)
    code += _for_calls(profile.deny, _ERRNO | EPERM)
    code += _for_call(profile.clone, _clone_block(profile.clone_flags))
    code += _for_call(profile.ioctl, _one_of(1, profile.ioctl_requests, then=_ERRNO | EPERM, otherwise=_ALLOW))
    code += _for_call(
        profile.personality, _one_of(0, profile.personality_values, then=_ALLOW, otherwise=_ERRNO | EPERM)
    )
    code += _for_call(profile.socketpair, _one_of(0, (1,), then=_ALLOW, otherwise=_ERRNO | EAFNOSUPPORT))
    code += _for_call(profile.socket, _socket_block(profile.sockets))
    code.append(_answer(_ALLOW))
    return code


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _answer(action: int) -> Instruction:
    return (_RETURN, 0, 0, action)


def _argument(index: int) -> Instruction:
    return _load(_ARGS + 8 * index)  # the low half: all arguments looked at here are ints of the C interface


def _for_calls(numbers: Sequence[int], action: int) -> list[Instruction]:
    code: list[Instruction] = []
    for number in numbers:
        code += [(_JUMP_EQ, 0, 1, number), _answer(action)]
    return code


def _for_call(number: int, block: list[Instruction]) -> list[Instruction]:
    """``block`` for one call; it always returns, so the number is still loaded for what follows."""
    if len(block) > 255:
        raise ValueError("a block is longer than a BPF jump")
    return [(_JUMP_EQ, 0, len(block), number), *block]


def _one_of(index: int, values: Sequence[int], *, then: int, otherwise: int) -> list[Instruction]:
    code = [_argument(index)]
    for value in values:
        code += [(_JUMP_EQ, 0, 1, value), _answer(then)]
    return [*code, _answer(otherwise)]


def _clone_block(flags: int) -> list[Instruction]:
    return [_argument(0), (_JUMP_SET, 0, 1, flags), _answer(_ERRNO | EPERM), _answer(_ALLOW)]


def _socket_block(rules: Sequence[SocketRule]) -> list[Instruction]:
    code: list[Instruction] = []
    for rule in rules:
        inner: list[Instruction] = [_argument(1), (_AND, 0, 0, 0xF)]
        inner += _pass_if_in(rule.types)
        if rule.protocols:
            inner += [_argument(2), *_pass_if_in(rule.protocols)]
        inner.append(_answer(_ALLOW))
        code += [_argument(0), (_JUMP_EQ, 0, len(inner), rule.family), *inner]
    return [*code, _answer(_ERRNO | EAFNOSUPPORT)]


def _pass_if_in(values: Sequence[int]) -> list[Instruction]:
    """Goes on behind itself when the accumulator is one of ``values``, otherwise answers EAFNOSUPPORT."""
    count = len(values)
    jumps: list[Instruction] = [(_JUMP_EQ, count - place, 0, value) for place, value in enumerate(values)]
    return [*jumps, _answer(_ERRNO | EAFNOSUPPORT)]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("enclave.sandbox") / "profiles" / name).read_text("utf-8"))
