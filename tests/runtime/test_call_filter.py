"""The list of what a process may still ask of the kernel, instruction by instruction."""

from __future__ import annotations

import struct
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import UnavailableError
from enclave.runtime.call_filter import DECODER, CallList, assemble, load_call_list, program

MACHINES = ("x86_64", "aarch64")
ALLOW, KILL, REFUSED = 0x7FFF0000, 0x80000000, 0x00050001
NEVER = {
    "x86_64": {
        "open": 2,
        "socket": 41,
        "clone": 56,
        "fork": 57,
        "execve": 59,
        "kill": 62,
        "ptrace": 101,
        "openat": 257,
    },
    "aarch64": {"openat": 56, "kill": 129, "ptrace": 117, "socket": 198, "clone": 220, "execve": 221},
}


def answer(allowed: CallList, number: int, *, arch: int | None = None) -> int:
    """What the kernel would answer: linux/filter.h over the first two words of struct seccomp_data."""
    data = struct.pack("<II", number & 0xFFFFFFFF, allowed.audit_arch if arch is None else arch)
    code, place, value = program(allowed), 0, 0
    while True:
        kind, yes, no, k = code[place]
        place += 1
        if kind == 0x20:
            (value,) = struct.unpack_from("<I", data, k)
        elif kind == 0x06:
            return k
        else:
            assert kind == 0x15
            place += yes if value == k else no


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**32 - 1) | st.integers(0, 600))
def test_what_is_listed_passes_and_nothing_else(machine: str, number: int) -> None:
    allowed = load_call_list(DECODER, machine)
    assert answer(allowed, number) == (ALLOW if number in allowed.calls else REFUSED)


@pytest.mark.parametrize("machine", MACHINES)
def test_another_architecture_is_killed_and_nothing_that_reaches_out_is_listed(machine: str) -> None:
    allowed = load_call_list(DECODER, machine)
    assert answer(allowed, allowed.calls[0], arch=0x40000003) == KILL  # i386
    assert not set(NEVER[machine].values()) & set(allowed.calls)
    assert len(assemble(program(allowed))) == 8 * (5 + 2 * len(allowed.calls))


def test_an_architecture_without_a_list_is_an_error() -> None:
    with pytest.raises(UnavailableError):
        load_call_list(DECODER, "riscv64")


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_linux(machine: str, header: str) -> None:
    if not Path(header).is_file():
        pytest.skip(f"install linux-libc-dev to compare with {Path(header).name}")
    listed = Path(__file__).parents[2] / "enclave/runtime/call_lists/decoder.toml"
    calls = {name: str(number) for name, number in tomllib.loads(listed.read_text("utf-8"))[machine]["calls"].items()}
    known = {}
    for line in Path(header).read_text().splitlines():
        words = line.split()
        if len(words) >= 3 and words[1].startswith(("__NR_", "__NR3264_")) and words[2].isdigit():
            known[words[1].removeprefix("__NR_").removeprefix("__NR3264_")] = words[2]
    assert calls == {name: known[name] for name in calls}
