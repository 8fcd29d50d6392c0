"""What goes into a socket of the tap comes out of the other one whole and unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave.sandbox.tap.legs import SHARED_BYTES, receive, send
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
