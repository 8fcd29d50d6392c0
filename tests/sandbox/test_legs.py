"""What goes into a socket of the tap comes out of the other one whole and unchanged."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave.sandbox.tap.legs import CHANNELS, SHARED_BYTES, Legs, receive, send
from enclave.sandbox.tap.message import LARGE_BYTES

Pair = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]


@pytest.fixture
def pair() -> Iterator[Pair]:
    context = zmq.Context()
    one, other = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    one.bind("inproc://pair")
    other.connect("inproc://pair")
    yield one, other
    context.destroy(linger=0)


FRAME = st.binary(max_size=50) | st.sampled_from([b"x" * LARGE_BYTES, b"y" * (LARGE_BYTES - 1), b"z" * (1 << 20)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(FRAME, min_size=1, max_size=8))
def test_a_message_of_any_frames_arrives_whole(pair: Pair, frames: list[bytes]) -> None:
    send(pair[0], frames)
    send(pair[0], [b"next"])
    assert [bytes(frame) for frame in receive(pair[1])] == frames
    assert receive(pair[1]) == [b"next"]


def test_what_was_sent_and_is_not_large_may_be_changed_by_its_sender(pair: Pair) -> None:
    data = bytearray(b"a" * (SHARED_BYTES - 1))
    send(pair[0], [memoryview(data)])
    data[:] = b"b" * len(data)
    assert bytes(receive(pair[1])[0]) == b"a" * (SHARED_BYTES - 1)


def test_nothing_to_receive_is_said_at_once(pair: Pair) -> None:
    with pytest.raises(zmq.Again):
        receive(pair[1])


def _info(prefix: Path) -> dict[str, Any]:
    return {"ip": str(prefix), **{f"{name}_port": place for place, name in enumerate(CHANNELS, start=1)}}


def _reached(listener: socket.socket, *, seconds: float) -> bool:
    ready, _, _ = select.select([listener], [], [], seconds)
    return bool(ready)


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_a_tap_is_led_to_no_other_socket_by_what_a_kernel_puts_in_its_place(tmp_path: Path) -> None:
    for name in ("front", "kernel", "other"):
        (tmp_path / name).mkdir()
    with _listening(tmp_path / "other" / "k") as victim, _listening(tmp_path / "kernel" / "k-2") as own:
        (tmp_path / "kernel" / "k-1").symlink_to(tmp_path / "other" / "k")
        (tmp_path / "kernel" / "k-3").mkdir()
        legs = Legs(front=_info(tmp_path / "front" / "c"), back=_info(tmp_path / "kernel" / "k"), max_message_bytes=99)
        assert not _reached(own, seconds=0.1)  # no kernel has begun
        legs.expect_kernel()
        assert set(legs.look()) == {CHANNELS[0], CHANNELS[2]}
        assert legs.looking
        assert legs.look() == ()
        assert _reached(own, seconds=5)
        assert not _reached(victim, seconds=0.3)
        (tmp_path / "kernel" / "k-2").unlink()
        (tmp_path / "kernel" / "k-2").symlink_to(tmp_path / "other" / "k")
        legs.connect_back()
        legs.expect_kernel()
        assert set(legs.look()) == set(CHANNELS[:3])
        assert not _reached(victim, seconds=0.3)
        legs.close()
    assert not [one for one in (tmp_path / "front").iterdir() if one.is_symlink()]
