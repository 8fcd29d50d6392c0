"""Frames: what is sent arrives, and nothing else is taken for a frame."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.wire.framing import MAX_FRAME_BYTES, WireError, decode, encode, receive_frame, send_frame

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FRAMES = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES, max_size=5)


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    right.settimeout(5)
    yield left, right
    left.close()
    right.close()


@given(FRAMES)
def test_every_value_comes_back_as_it_was_sent(value):
    assert decode(encode(value)) == value


@given(st.lists(FRAMES, min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_frames_in_a_row_stay_apart(values):
    left, right = socket.socketpair()
    with left, right:
        for value in values:
            send_frame(left, value)
        left.shutdown(socket.SHUT_WR)
        assert [receive_frame(right) for _ in values] == [(value, []) for value in values]
        assert receive_frame(right) is None


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_frame_or_an_error_of_ours_never_anything_else(data):
    left, right = socket.socketpair()
    with left, right:
        right.settimeout(5)
        left.sendall(data)
        left.shutdown(socket.SHUT_WR)
        try:
            received = receive_frame(right)
        except WireError:
            return
        assert received is None or encode(received[0]) == data[4 : 4 + struct.unpack(">I", data[:4])[0]]


@given(FRAMES)
def test_another_spelling_of_the_same_value_is_refused(value):
    loose = json.dumps(value, indent=1).encode()
    if loose != encode(value):
        with pytest.raises(WireError):
            decode(loose)


@pytest.mark.parametrize(
    "data",
    [
        b"[]", b"1", b"null", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b'{"a":1.0e0}',
        b'{"b":1,"a":2}', b'{"a": 1}', b"\xff\xfe{}", b'{"a":"\\u0061"}', b'{"a":"\\ud800"}', b"{}\n", b"",
        b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_canonical_is_refused(data):
    with pytest.raises(WireError):
        decode(data)


def test_a_frame_beyond_the_limit_is_refused_before_it_is_read(pair):
    left, right = pair
    left.sendall(struct.pack(">I", MAX_FRAME_BYTES + 1))
    with pytest.raises(WireError, match=str(MAX_FRAME_BYTES)):
        receive_frame(right)
    with pytest.raises(WireError):
        encode({"a": "x" * MAX_FRAME_BYTES})


@pytest.mark.parametrize("cut", range(1, 12))
def test_half_a_frame_is_an_error_and_not_the_end(pair, cut):
    left, right = pair
    data = encode({"a": "b"})
    left.sendall((struct.pack(">I", len(data)) + data)[:cut])
    left.close()
    with pytest.raises(WireError):
        receive_frame(right)


def test_a_frame_that_comes_byte_by_byte_is_whole(pair):
    left, right = pair
    data = encode({"a": "b"})
    for byte in struct.pack(">I", len(data)) + data:
        left.sendall(bytes([byte]))
    assert receive_frame(right) == ({"a": "b"}, [])


def open_count():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_arrive_open_and_close_on_exec(pair):
    left, right = pair
    read, write = os.pipe()
    send_frame(left, {}, [write])
    _, (got,) = receive_frame(right, max_descriptors=1)
    os.write(got, b"x")
    assert os.read(read, 1) == b"x"
    assert not os.get_inheritable(got)
    for fd in (read, write, got):
        os.close(fd)


@pytest.mark.parametrize("sent", [1, 3, 128])
def test_descriptors_nobody_asked_for_are_closed_and_the_frame_refused(pair, sent):
    left, right = pair
    pipe = os.pipe()
    before = open_count()
    send_frame(left, {}, [pipe[0]] * sent)
    with pytest.raises(WireError):
        receive_frame(right, max_descriptors=sent - 1)
    assert open_count() == before
    for fd in pipe:
        os.close(fd)


def test_descriptors_of_a_broken_frame_are_closed(pair):
    left, right = pair
    pipe = os.pipe()
    before = open_count()
    rights = struct.pack("i", pipe[0])
    left.sendmsg([struct.pack(">I", 5)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    left.sendall(b"junk!")
    with pytest.raises(WireError):
        receive_frame(right, max_descriptors=4)
    assert open_count() == before
    for fd in pipe:
        os.close(fd)
