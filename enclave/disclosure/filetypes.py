"""What a file is, by its first bytes, against what its name says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

HEAD_BYTES: Final = 4096

# magic → (offset, type); the order matters only where one is a prefix of another
_MAGIC: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"%PDF-", "pdf"),
    (128, b"DICM", "dicom"),
    (344, b"n+1\0", "nifti"),
    (344, b"ni1\0", "nifti"),
    (0, b"\x93NUMPY", "numpy"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"PAR1", "parquet"),
    (0, b"ARROW1", "arrow"),
    (0, b"SQLite format 3\0", "sqlite"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"Rar!\x1a\x07", "rar"),
    (257, b"ustar", "tar"),
    (0, b"\x7fELF", "program"),
    (0, b"MZ", "program"),
)
ARCHIVES: Final = frozenset({"zip", "gzip", "bzip2", "xz", "7z", "zstd", "lz4", "rar", "tar"})
CONTAINERS: Final = frozenset({"dicom", "nifti", "numpy", "hdf5", "parquet", "arrow", "sqlite"})
IMAGES: Final = frozenset({"png", "jpeg"})
TABLES: Final = frozenset({"csv", "tsv"})

_ENDINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "png": "png",
        "jpg": "jpeg",
        "jpeg": "jpeg",
        "pdf": "pdf",
        "svg": "svg",
        "csv": "csv",
        "tsv": "tsv",
        "txt": "text",
        "md": "text",
        "log": "text",
        "tex": "text",
        "py": "text",
        "r": "text",
        "json": "json",
        "html": "html",
        "htm": "html",
        "ipynb": "ipynb",
    }
)
KNOWN: Final = frozenset(_ENDINGS.values())
_BINARY: Final = frozenset({"png", "jpeg", "pdf"})


def type_by_content(head: bytes) -> str | None:
    """The binary type that the first bytes show, or None when they show none (text has no magic)."""
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    return None


def type_by_name(name: str) -> str | None:
    """The type that the ending of a file name claims, or None for an ending that we do not know."""
    _, dot, ending = name.rpartition(".")
    return _ENDINGS.get(ending.lower()) if dot else None


def detect(head: bytes, *, name: str) -> tuple[str, str | None]:
    """The type to treat the file as, and the rule that its name or content breaks (None: they agree)."""
    content, claimed = type_by_content(head), type_by_name(name)
    if content in ARCHIVES:
        return content or "", "archive"
    if content in CONTAINERS:
        return content or "", "data_container"
    if content is not None and content not in KNOWN:
        return content, "type_unknown"
    if content is not None:
        return content, None if content == claimed else "type_mismatch"
    if claimed is None:
        return "unknown", "type_unknown"
    if claimed in _BINARY:
        return claimed, "type_mismatch"
    return claimed, None
