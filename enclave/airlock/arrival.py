"""What a kernel hands in: plain names, readable memory, nothing that can change while it is read."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Sequence

from enclave.airlock.settings import AirlockSettings
from enclave.core.errors import InvalidError

_BASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,126}[A-Za-z0-9]|[A-Za-z0-9]")
_TEXT_LIMITS = {"title": (1, 200), "purpose": (1, 2_000), "description": (0, 10_000)}


def check_texts(**texts: str) -> None:
    """Raises ``InvalidError`` when title, purpose or description is missing or too long."""
    for name, text in texts.items():
        low, high = _TEXT_LIMITS[name]
        if not low <= len(text.strip()) <= high:
            raise InvalidError(
                f"egress {name}: wanted {low} to {high} characters, got {len(text.strip())}", code="egress_text"
            )


def check_names(names: Sequence[str], *, limit: int) -> None:
    """Raises ``InvalidError`` unless there are 1 to ``limit`` plain, different base names."""
    if not 1 <= len(names) <= limit:
        raise InvalidError(f"egress files: wanted 1 to {limit}, got {len(names)}", code="egress_file_count")
    for name in names:
        if not _BASE_NAME.fullmatch(name) or ".." in name:
            raise InvalidError(
                "egress file name: wanted letters, digits, dot, dash, underscore and space (at most 128), got another",
                code="egress_file_name",
            )
    if len({name.lower() for name in names}) != len(names):
        raise InvalidError("egress files: wanted a different name for each, got one twice", code="egress_file_name")


def read_files(descriptors: Sequence[int], *, count: int, settings: AirlockSettings) -> list[bytes]:
    """The bytes behind each descriptor, read once into our own memory: what is judged later is this copy.

    Only memory files (memfd, tmpfs) of bounded size are read: a pipe or device could block or never end.
    Raises ``InvalidError``.
    """
    if len(descriptors) != count:
        raise InvalidError(
            f"egress files: wanted {count} descriptors, got {len(descriptors)}", code="egress_file_count"
        )
    total = 0
    contents = []
    for fd in descriptors:
        content = _read_one(fd, limit=settings.max_file_bytes)
        total += len(content)
        if total > settings.max_request_bytes:
            raise InvalidError(
                f"egress request: wanted at most {settings.max_request_bytes} bytes, got more; hand in less at once",
                code="egress_too_large",
            )
        contents.append(content)
    return contents


def _read_one(fd: int, *, limit: int) -> bytes:
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidError("egress file: wanted memory, got another kind of descriptor", code="egress_file_kind")
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)  # fails for every file system but memory
        if found.st_size > limit:
            raise InvalidError(
                f"egress file: wanted at most {limit} bytes, got {found.st_size}; hand in a summary",
                code="egress_too_large",
            )
        content = _read_exactly(fd, found.st_size)
    except OSError:
        raise InvalidError("egress file: wanted memory that can be read, got none", code="egress_file_kind") from None
    if len(content) != found.st_size:
        raise InvalidError("egress file: wanted it to stay the same while it is read", code="egress_file_changed")
    return content


def _read_exactly(fd: int, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        part = os.pread(fd, min(size - len(content), 8 << 20), len(content))
        if not part:
            break
        content += part
    return bytes(content)
