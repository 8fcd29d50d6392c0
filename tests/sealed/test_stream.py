"""The stream format: Tink's bytes, and no byte can be changed, lost or moved unseen."""

from __future__ import annotations

import hashlib
import hmac
import io
import itertools
import os
import tempfile

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import IntegrityError, InvalidError
from enclave.sealed import stream

KEY = bytes(range(32))
AAD = b"what it is"
SEGMENT = 1 << 20
FIRST = SEGMENT - 40 - 16
OTHER = SEGMENT - 16
SIZES = [
    0,
    1,
    15,
    16,
    17,
    FIRST - 1,
    FIRST,
    FIRST + 1,
    FIRST + OTHER - 1,
    FIRST + OTHER,
    FIRST + OTHER + 1,
    3 * SEGMENT,
]


def encrypt(data: bytes, *, key: bytes = KEY, associated_data: bytes = AAD) -> bytes:
    file = io.BytesIO()
    assert stream.write(file, data, key=key, associated_data=associated_data) == len(data)
    return file.getvalue()


def decrypt(sealed: bytes, *, key: bytes = KEY, associated_data: bytes = AAD) -> bytes:
    """Both ways of reading, which must agree; raises what they raise."""
    with tempfile.TemporaryFile() as file:
        file.write(sealed)
        file.flush()
        parts: list[bytes] = []
        try:
            stream.decrypt_file(
                file.fileno(), key=key, associated_data=associated_data, sink=lambda p: parts.append(bytes(p))
            )
        except IntegrityError:
            with pytest.raises(IntegrityError):
                stream.open_reader(io.BytesIO(sealed), key=key, associated_data=associated_data).read()
            raise
    plain = stream.open_reader(io.BytesIO(sealed), key=key, associated_data=associated_data).read()
    assert plain == b"".join(parts)
    return plain


def body(size: int) -> bytes:
    return hashlib.shake_128(size.to_bytes(8, "big")).digest(size)


def tink_by_hand(data: bytes, salt: bytes, prefix: bytes) -> bytes:
    """The format derived again from Tink's description with HMAC and one-shot AES-GCM, sharing no code."""
    prk = hmac.digest(salt, KEY, "sha256")
    aead = AESGCM(hmac.digest(prk, AAD + b"\x01", "sha256"))
    pieces = [data[:FIRST]]
    pieces += [data[start : start + OTHER] for start in range(FIRST, len(data), OTHER)]
    result = bytes([40]) + salt + prefix
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        result += aead.encrypt(prefix + index.to_bytes(4, "big") + bytes([last]), piece, b"")
    return result


@pytest.mark.row("S4.1")
@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_what_the_published_format_says(size: int) -> None:
    data = body(size)
    sealed = encrypt(data)
    assert sealed == tink_by_hand(data, sealed[1:33], sealed[33:40])
    assert decrypt(sealed) == data


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_made_elsewhere_is_read(size: int) -> None:
    data = body(size)
    assert decrypt(tink_by_hand(data, os.urandom(32), os.urandom(7))) == data


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 2 * SEGMENT), max_size=8))
def test_how_the_data_come_in_pieces_makes_no_difference(cuts: list[int]) -> None:
    data = body(2 * SEGMENT)
    edges = [0, *sorted(cuts), len(data)]
    file = io.BytesIO()
    stream.write(file, (data[a:b] for a, b in itertools.pairwise(edges)), key=KEY, associated_data=AAD)
    assert decrypt(file.getvalue()) == data


SHORT = encrypt(body(500))
LONG = encrypt(body(2 * SEGMENT + 500))


@pytest.mark.row("S6.3")
def test_every_changed_byte_of_a_short_stream_is_noticed() -> None:
    for position in range(len(SHORT)):
        changed = bytearray(SHORT)
        changed[position] ^= 0x40
        with pytest.raises(IntegrityError):
            decrypt(bytes(changed))


@settings(max_examples=40)
@given(position=st.integers(0, len(LONG) - 1), flip=st.integers(1, 255))
def test_a_changed_byte_anywhere_in_a_long_stream_is_noticed(position: int, flip: int) -> None:
    changed = bytearray(LONG)
    changed[position] ^= flip
    with pytest.raises(IntegrityError):
        decrypt(bytes(changed))


@settings(max_examples=40)
@given(length=st.integers(0, len(LONG) - 1))
def test_a_stream_cut_short_anywhere_is_noticed(length: int) -> None:
    with pytest.raises(IntegrityError):
        decrypt(LONG[:length])


@pytest.mark.parametrize("length", [0, 1, 39, 40, 55, SEGMENT, 2 * SEGMENT, 2 * SEGMENT + 15, len(LONG) - 1])
def test_a_stream_cut_at_a_seam_is_noticed(length: int) -> None:
    with pytest.raises(IntegrityError):
        decrypt(LONG[:length])


@pytest.mark.parametrize(
    "tail",
    [b"\x00", bytes(16), LONG[-20:], LONG[SEGMENT : 2 * SEGMENT]],
    ids=["a byte", "a tag", "its own end", "a segment"],
)
def test_anything_appended_is_noticed(tail: bytes) -> None:
    with pytest.raises(IntegrityError):
        decrypt(LONG + tail)


def test_segments_cannot_change_places_or_be_repeated() -> None:
    long = encrypt(body(4 * SEGMENT))
    parts = [long[i : i + SEGMENT] for i in range(0, len(long), SEGMENT)]
    swapped = [parts[0], parts[2], parts[1], *parts[3:]]
    repeated = [parts[0], parts[1], parts[1], *parts[2:]]
    dropped = [parts[0], *parts[2:]]
    for order in (swapped, repeated, dropped):
        with pytest.raises(IntegrityError):
            decrypt(b"".join(order))


def test_segments_of_another_stream_under_the_same_key_do_not_fit() -> None:
    other = encrypt(body(2 * SEGMENT + 500))
    with pytest.raises(IntegrityError):
        decrypt(LONG[:SEGMENT] + other[SEGMENT:])


@pytest.mark.parametrize(("key", "aad"), [(bytes(32), AAD), (KEY, b"something else"), (KEY, b"")])
def test_another_key_or_another_purpose_reads_nothing(key: bytes, aad: bytes) -> None:
    with pytest.raises(IntegrityError):
        decrypt(SHORT, key=key, associated_data=aad)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidError):
        stream.write(io.BytesIO(), b"", key=bytes(length), associated_data=b"")


@settings(max_examples=40)
@given(reads=st.lists(st.tuples(st.integers(0, 2 * SEGMENT + 600), st.integers(0, SEGMENT + 10)), max_size=6))
def test_a_reader_seeks_as_a_plain_file_does(reads: list[tuple[int, int]]) -> None:
    plain = io.BytesIO(body(2 * SEGMENT + 500))
    reader = stream.open_reader(io.BytesIO(LONG), key=KEY, associated_data=AAD)
    assert reader.seek(0, io.SEEK_END) == len(plain.getvalue())
    for position, count in reads:
        plain.seek(position)
        reader.seek(position)
        assert reader.read(count) == plain.read(count)


def test_a_stream_is_read_from_something_that_cannot_seek() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = LONG

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            piece = self.rest[: min(len(buffer), 10_007)]
            buffer[: len(piece)] = piece
            self.rest = self.rest[len(piece) :]
            return len(piece)

    assert stream.open_reader(Pipe(), key=KEY, associated_data=AAD).read() == body(2 * SEGMENT + 500)
