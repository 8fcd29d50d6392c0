"""A page is written by its owner alone, and nobody ever takes a part of two values for one."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError, UnavailableError
from enclave.wire import page
from enclave.wire.page import PAGE_BYTES, ChangePage, ChangeView, ExecutionPage, ExecutionView

ONE, TWO = "1a" * 16, "2b" * 16
FUTURE_WRITE = 0x10  # F_SEAL_FUTURE_WRITE, fcntl(2)
ALL = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | FUTURE_WRITE
RECORD_BYTES = 48


def seen(own: ExecutionPage, kernel: str = "k") -> ExecutionView:
    """The page as somebody sees it who got its descriptor."""
    fd = own.descriptor()
    try:
        return ExecutionView(fd, kernel=kernel)
    finally:
        os.close(fd)


def memory(seals: int, *, size_bytes: int = PAGE_BYTES) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_a_reader_sees_at_once_what_the_owner_wrote() -> None:
    own = ExecutionPage("k")
    view = seen(own)
    assert view.running() is None
    for cell in (ONE, TWO, None, ONE):
        own.show(cell)
        assert view.running() == cell


def test_the_broker_tells_how_often_leases_have_changed() -> None:
    own = ChangePage("k")
    fd = own.descriptor()
    view = ChangeView(fd, kernel="k")
    os.close(fd)
    assert view.change() == 0
    for change in (1, 2, 1 << 40):
        own.tell(change)
        assert view.change() == change


def test_who_has_the_descriptor_can_read_and_do_no_more() -> None:
    own = ExecutionPage("k")
    own.show(ONE)
    fd = own.descriptor()
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    acts: list[Callable[[int], object]] = [
        lambda one: os.pwrite(one, b"x", 0),
        lambda one: os.ftruncate(one, 0),
        lambda one: os.ftruncate(one, 2 * PAGE_BYTES),
        lambda one: os.posix_fallocate(one, 0, 2 * PAGE_BYTES),
        lambda one: mmap.mmap(one, PAGE_BYTES, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
        lambda one: fcntl.fcntl(one, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
    ]
    for one in (fd, again):
        for act in acts:
            with pytest.raises(OSError, match=r"Operation not permitted|Permission denied"):
                act(one)
        os.close(one)
    assert seen(own).running() == ONE


def test_no_program_inherits_a_page() -> None:
    fd = ExecutionPage("k").descriptor()
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, FUTURE_WRITE])
def test_memory_without_one_of_the_seals_is_no_page(missing: int) -> None:
    fd = memory(ALL & ~missing)
    with pytest.raises(InvalidError) as refused:
        ExecutionView(fd, kernel="k")
    os.close(fd)
    assert refused.value.code == "page_not_sealed"


@pytest.mark.parametrize("size_bytes", [0, RECORD_BYTES, PAGE_BYTES - 1, PAGE_BYTES + 1, 2 * PAGE_BYTES])
def test_memory_of_another_size_is_no_page(size_bytes: int) -> None:
    fd = memory(ALL, size_bytes=size_bytes)
    with pytest.raises(InvalidError):
        ExecutionView(fd, kernel="k")
    os.close(fd)


def test_what_is_no_memory_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(PAGE_BYTES))
    with socket.socket() as sock, (tmp_path / "file").open("r+b") as file:
        for fd in (sock.fileno(), file.fileno()):
            with pytest.raises(InvalidError):
                ExecutionView(fd, kernel="k")


def test_nothing_is_read_of_another_kernels_page_of_one_for_something_else_and_of_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "LOOK_S", 0.01)
    for fd in (ExecutionPage("other").descriptor(), ChangePage("k").descriptor(), memory(ALL)):
        view = ExecutionView(fd, kernel="k")
        os.close(fd)
        with pytest.raises(UnavailableError):
            view.running()


@pytest.mark.parametrize("cell", ["", "A" * 32, "1" * 31, "1" * 33, "é" * 16, "1" * 31 + "\n"])
def test_nothing_but_an_id_is_shown(cell: str) -> None:
    own = ExecutionPage("k")
    own.show(ONE)
    with pytest.raises(InvalidError):
        own.show(cell)
    assert seen(own).running() == ONE


@given(cut=st.lists(st.booleans(), min_size=RECORD_BYTES, max_size=RECORD_BYTES))
def test_any_mixture_of_two_records_is_one_of_them_or_refused(cut: list[bool]) -> None:
    own = ExecutionPage("k")
    view = seen(own)
    records = []
    for cell in (ONE, TWO):
        own.show(cell)
        records.append(own._map[:RECORD_BYTES])
    mixed = bytes(records[second][at] for at, second in enumerate(cut))
    own._map[:RECORD_BYTES] = mixed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "LOOK_S", 0.0)
        if mixed in records:
            assert view.running() == (ONE, TWO)[records.index(mixed)]
        else:
            with pytest.raises(UnavailableError) as refused:
                view.running()
            assert refused.value.code == "page_torn"


def test_whoever_reads_while_the_owner_writes_sees_whole_values_only() -> None:
    own = ExecutionPage("k")
    view = seen(own)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for cell in (ONE, TWO, None):
                own.show(cell)

    thread = threading.Thread(target=write)
    thread.start()
    found = {view.running() for _ in range(20_000)}
    over.set()
    thread.join()
    assert found <= {ONE, TWO, None}


def test_a_value_that_is_being_written_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ExecutionPage("k")
    view = seen(own)
    whole = own._map[:RECORD_BYTES]
    own._map[:8] = b"\xff" * 8
    monkeypatch.setattr(page, "LOOK_S", 30.0)
    threading.Timer(0.05, lambda: own._map.__setitem__(slice(0, RECORD_BYTES), whole)).start()
    assert view.running() is None
