"""The filter, instruction by instruction: an interpreter of the few BPF instructions that it uses."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import UnavailableError
from enclave.runtime.call_filter import EPERM, assemble
from enclave.sandbox.seccomp import (
    EAFNOSUPPORT,
    ENOSYS,
    Profile,
    filter_bytes,
    load_calls,
    load_profile,
    program,
)

MACHINES = ("x86_64", "aarch64")
ALLOW, KILL = 0x7FFF0000, 0x80000000


def answer(profile: Profile, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would answer: linux/filter.h over struct seccomp_data."""
    words = [(one & (2**64 - 1)) for one in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, profile.audit_arch if arch is None else arch, 0, *words)
    code, place, value = program(profile), 0, 0
    while True:
        kind, yes, no, k = code[place]
        place += 1
        if kind == 0x20:
            (value,) = struct.unpack_from("<I", data, k)
        elif kind == 0x54:
            value &= k
        elif kind == 0x06:
            return k
        else:
            hit = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[kind]
            place += yes if hit else no


def error(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**32 - 1))
def test_a_call_that_the_profile_does_not_know_does_not_exist(machine: str, number: int) -> None:
    profile = load_profile(machine)
    if number > profile.newest:
        assert answer(profile, number) == error(ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
@given(
    family=st.integers(0, 60),
    kind=st.integers(0, 15),
    protocol=st.integers(0, 300),
    flags=st.sampled_from([0, 0x80800]),
)
def test_only_the_listed_sockets_are_made(machine: str, family: int, kind: int, protocol: int, flags: int) -> None:
    profile = load_profile(machine)
    listed = any(
        rule.family == family and kind in rule.types and (not rule.protocols or protocol in rule.protocols)
        for rule in profile.sockets
    )
    wanted = ALLOW if listed else error(EAFNOSUPPORT)
    assert answer(profile, profile.socket, family, kind | flags, protocol) == wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_every_denied_call_is_denied_and_the_usual_ones_pass(machine: str) -> None:
    profile = load_profile(machine)
    for number in profile.deny:
        assert answer(profile, number) == error(EPERM)
    assert answer(profile, load_calls(machine)["clone3"]) == error(ENOSYS)
    special = {profile.clone, profile.ioctl, profile.socket, profile.socketpair, profile.personality}
    closed = {*profile.deny, *profile.absent, *special}
    for number in range(profile.newest + 1):
        if number not in closed:
            assert answer(profile, number) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=st.integers(0, 2**32 - 1))
def test_no_clone_makes_a_namespace(machine: str, flags: int) -> None:
    profile = load_profile(machine)
    wanted = error(EPERM) if flags & 0x7E020000 else ALLOW
    assert answer(profile, profile.clone, flags) == wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_another_architecture_is_killed_and_x32_does_not_exist(machine: str) -> None:
    profile = load_profile(machine)
    other = next(load_profile(one).audit_arch for one in MACHINES if one != machine)
    assert answer(profile, 1, arch=other) == KILL
    assert answer(profile, 1, arch=0x40000003) == KILL  # i386
    assert answer(profile, 0x40000000 | 41, 2, 1, 0) == error(ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_fits_and_an_unknown_machine_is_an_error(machine: str) -> None:
    assert 0 < len(filter_bytes(machine)) == 8 * len(program(load_profile(machine))) <= 8 * 4096
    assert assemble([(6, 0, 0, ALLOW)]) == bytes.fromhex("060000000000ff7f")
    with pytest.raises(UnavailableError):
        load_profile("riscv64")


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_linux(machine: str, header: str) -> None:
    if not Path(header).is_file():
        pytest.skip(f"install linux-libc-dev to compare with {Path(header).name}")
    known = {}
    for line in Path(header).read_text().splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] == "#define" and words[1].startswith(("__NR_", "__NR3264_")):
            name = words[1].removeprefix("__NR_").removeprefix("__NR3264_")
            if words[2].isdigit():
                known[name] = int(words[2])
    compared = {name: number for name, number in load_calls(machine).items() if name in known}
    assert len(compared) > 40
    assert compared == {name: known[name] for name in compared}
