"""Streaming authenticated encryption, byte for byte Tink's ``AES256_GCM_HKDF_1MB``; no other header.

Source: Tink, "Streaming AEAD / AES-GCM-HKDF". A stream is one header (length 40, 32 bytes of salt, 7 bytes of nonce
prefix) and segments of 1 MiB; the first is shorter by the header. The segment key is HKDF-SHA256 over the key with
that salt and the associated data as info; a segment's nonce is prefix, number and whether it is the last one. So a
changed, missing, repeated or moved segment, and an end that is not the end, do not decrypt.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Iterable
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enclave.core.errors import IntegrityError, InvalidError
from enclave.core.secret import Secret

SEGMENT_BYTES = 1 << 20  # of ciphertext, tag included
TAG_BYTES = 16
KEY_BYTES = 32
_PREFIX_BYTES = 7
HEADER_BYTES = 1 + KEY_BYTES + _PREFIX_BYTES
Key = Secret | bytes


def write(file: BinaryIO, data: bytes | Iterable[bytes], *, key: Key, associated_data: bytes) -> int:
    """Encrypts ``data`` to ``file``; returns the number of plaintext bytes. ``key`` has 32 bytes."""
    salt, prefix = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(_PREFIX_BYTES)
    segments = _Segments(key, salt, prefix, associated_data)
    _write_all(file, bytes([HEADER_BYTES]) + salt + prefix)
    plain = bytearray(SEGMENT_BYTES - TAG_BYTES)
    sealed = bytearray(SEGMENT_BYTES)
    capacity, used, index, total = SEGMENT_BYTES - TAG_BYTES - HEADER_BYTES, 0, 0, 0
    for chunk in (data,) if isinstance(data, bytes | bytearray | memoryview) else data:
        rest = memoryview(chunk).cast("B")
        while rest:
            if used == capacity:  # only now is it known that this segment is not the last
                segments.encrypt(index, memoryview(plain)[:used], sealed, last=False)
                _write_all(file, memoryview(sealed)[: used + TAG_BYTES])
                capacity, used, index = SEGMENT_BYTES - TAG_BYTES, 0, index + 1
            count = min(capacity - used, len(rest))
            plain[used : used + count] = rest[:count]
            used, total, rest = used + count, total + count, rest[count:]
    segments.encrypt(index, memoryview(plain)[:used], sealed, last=True)
    _write_all(file, memoryview(sealed)[: used + TAG_BYTES])
    return total


def open_reader(file: BinaryIO, *, key: Key, associated_data: bytes) -> io.BufferedReader:
    """The plaintext of the stream that starts at ``file``'s position, as a binary file; it seeks when ``file`` does.

    Raises ``IntegrityError`` here or at the read that meets a byte which is not what was written. Only a reader
    that reached the end has seen that nothing is missing there.
    """
    return io.BufferedReader(_Reader(file, key, associated_data), SEGMENT_BYTES)


def decrypt_file(fd: int, *, key: Key, associated_data: bytes, sink: Callable[[memoryview], None]) -> int:
    """Decrypts the whole stream in the file ``fd``, one segment at a time in reused buffers.

    Hands each segment's plaintext to ``sink`` (valid only during the call) after its tag was checked; returns the
    number of plaintext bytes. Raises ``IntegrityError``; what ``sink`` got until then must then be thrown away.
    """
    size = os.fstat(fd).st_size
    segments = _parse_header(os.pread(fd, HEADER_BYTES, 0), key, associated_data)
    sealed = memoryview(bytearray(min(size, SEGMENT_BYTES)))
    plain = memoryview(bytearray(min(size, SEGMENT_BYTES)))
    count = -(-size // SEGMENT_BYTES)
    total = 0
    for index in range(count):
        start = index * SEGMENT_BYTES if index else HEADER_BYTES
        length = min((index + 1) * SEGMENT_BYTES, size) - start
        if _pread_into(fd, sealed[:length], start) != length:
            raise _damaged()
        filled = segments.decrypt(index, sealed[:length], plain, last=index == count - 1)
        sink(plain[:filled])
        total += filled
    return total


class _Segments:
    def __init__(self, key: Key, salt: bytes, prefix: bytes, associated_data: bytes) -> None:
        raw = key.reveal() if isinstance(key, Secret) else key
        if len(raw) != KEY_BYTES:
            raise InvalidError(f"stream key: wanted {KEY_BYTES} bytes, got {len(raw)}")
        hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=associated_data)
        self._aead = AESGCM(hkdf.derive(raw))
        self._prefix = prefix

    def encrypt(self, index: int, plain: memoryview, into: bytearray, *, last: bool) -> None:
        self._aead.encrypt_into(self._nonce(index, last=last), plain, None, memoryview(into)[: len(plain) + TAG_BYTES])

    def decrypt(self, index: int, sealed: memoryview, into: memoryview, *, last: bool) -> int:
        length = len(sealed) - TAG_BYTES
        if length < 0:
            raise _damaged()
        try:
            self._aead.decrypt_into(self._nonce(index, last=last), sealed, None, into[:length])
        except InvalidTag:
            raise _damaged() from None
        return length

    def _nonce(self, index: int, *, last: bool) -> bytes:
        return self._prefix + index.to_bytes(4, "big") + bytes([last])


class _Reader(io.RawIOBase):
    def __init__(self, file: BinaryIO, key: Key, associated_data: bytes) -> None:
        self._file = file
        self._start = file.tell() if file.seekable() else 0
        self._segments = _parse_header(_read_up_to(file, HEADER_BYTES), key, associated_data)
        self._ahead = b""  # one byte of the next segment tells that this one is not the last
        self._next = 0
        self._plain = memoryview(bytearray(SEGMENT_BYTES))
        self._offset = self._filled = self._position = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # narrower than Buffer
        while self._offset >= self._filled:
            if self._ended:
                return 0
            self._load()
        count = min(len(buffer), self._filled - self._offset)
        memoryview(buffer).cast("B")[:count] = self._plain[self._offset : self._offset + count]
        self._offset += count
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self._plain_size()
        if offset < 0:
            raise ValueError("seek before the start")
        position = min(offset, self._plain_size()) + HEADER_BYTES
        self._next, inside = divmod(position, SEGMENT_BYTES - TAG_BYTES)
        if self._next == 0:
            inside -= HEADER_BYTES
        at = self._next * SEGMENT_BYTES if self._next else HEADER_BYTES
        self._file.seek(self._start + at)
        self._ahead, self._filled, self._ended = b"", 0, False
        if position < self._plain_size() + HEADER_BYTES or self._plain_size() == 0:
            self._load()
            self._offset = inside
        else:
            self._ended = True
        self._position = position - HEADER_BYTES
        return self._position

    def _load(self) -> None:
        wanted = SEGMENT_BYTES - (0 if self._next else HEADER_BYTES)
        sealed = self._ahead + _read_up_to(self._file, wanted - len(self._ahead))
        self._ahead = _read_up_to(self._file, 1)
        self._ended = not self._ahead
        self._filled = self._segments.decrypt(self._next, memoryview(sealed), self._plain, last=self._ended)
        self._offset = 0
        self._next += 1

    def _plain_size(self) -> int:
        here = self._file.tell()
        size = self._file.seek(0, io.SEEK_END) - self._start
        self._file.seek(here)
        return size - HEADER_BYTES - TAG_BYTES * -(-size // SEGMENT_BYTES)


def _parse_header(header: bytes, key: Key, associated_data: bytes) -> _Segments:
    if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
        raise _damaged()
    return _Segments(key, header[1 : 1 + KEY_BYTES], header[1 + KEY_BYTES :], associated_data)


def _damaged() -> IntegrityError:
    return IntegrityError(
        "encrypted stream: wanted the bytes that were written, with their key and purpose, got others",
        code="stream_damaged",
    )


def _read_up_to(file: BinaryIO, count: int) -> bytes:
    parts = []
    while count > 0 and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _pread_into(fd: int, into: memoryview, start: int) -> int:
    done = 0
    while done < len(into):
        count = os.preadv(fd, [into[done:]], start + done)
        if count == 0:
            break
        done += count
    return done


def _write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
