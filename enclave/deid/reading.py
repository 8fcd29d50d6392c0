"""Reads hostile DICOM bytes: a dataset whose elements all decode, or a reason to hold the file back."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from enclave.deid.reasons import Quarantined

MAX_INFLATED_BYTES = 1 << 29
MAX_DEPTH = 32
PIXEL_TAGS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_PREFIX_AT = 128
_LONG_VRS = frozenset({b"OB", b"OW", b"UN", b"SQ", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR", b"OV", b"SV", b"UV"})


@dataclass(frozen=True, slots=True)
class Read:
    """A parsed file and the SHA-256 of its bytes."""

    dataset: FileDataset
    sha256: str


@contextmanager
def quiet_parsing() -> Iterator[None]:
    """Keeps pydicom from checking values and from writing them into warnings and logs."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_bytes(path: Path) -> bytes:
    """All bytes of a regular file; links are not followed. Raises ``Quarantined``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise Quarantined("symlink" if path.is_symlink() else "unreadable") from None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Quarantined("symlink")
        data = file.read()
    if not data:
        raise Quarantined("empty")
    return data


def parse_instance(data: bytes, *, headers_only: bool = False) -> Read:
    """The dataset in ``data`` (inside of ``quiet_parsing``); raises ``Quarantined``.

    Text is decoded to Unicode here, so that what follows compares characters, not bytes.
    """
    _check_start(data)
    _check_inflated(data)
    try:
        dataset = pydicom.dcmread(BytesIO(data), force=True, stop_before_pixels=headers_only)
    except RecursionError:
        raise Quarantined("nesting") from None
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("unreadable") from None
    _check_kind(dataset)
    _check_syntax(dataset)
    return Read(dataset, hashlib.sha256(data).hexdigest())


def _check_start(data: bytes) -> None:
    if data[_PREFIX_AT : _PREFIX_AT + 4] == b"DICM":
        return
    if len(data) < 16:
        raise Quarantined("not_dicom")
    little, big = struct.unpack_from("<H", data)[0], struct.unpack_from(">H", data)[0]
    if little not in (0x0002, 0x0008) and big != 0x0008:
        raise Quarantined("not_dicom")


def _check_kind(dataset: FileDataset) -> None:
    try:
        sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
        sop_instance = str(dataset.get("SOPInstanceUID") or "")
    except Exception:  # noqa: BLE001 - a wrong VR in the two that name the object
        raise Quarantined("unreadable") from None
    if sop_class == "1.2.840.10008.1.3.10" or 0x00041220 in dataset:
        raise Quarantined("dicomdir")
    if not sop_class or not sop_instance:
        raise Quarantined("not_an_instance")
    dataset.SOPClassUID = sop_class
    if not sop_class.startswith("1.2.840.10008."):
        raise Quarantined("private_sop_class")
    if 0x00420011 in dataset:
        raise Quarantined("encapsulated_document")


def _check_syntax(dataset: FileDataset) -> None:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        implicit, little = dataset.original_encoding
        if not little:
            syntax = ExplicitVRBigEndian
        else:
            syntax = ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise Quarantined("transfer_syntax_unknown")


def check_pixels(dataset: FileDataset) -> None:
    """Raises ``Quarantined`` when pixel data are no bytes, or end before the size that the header promises."""
    try:
        values = [dataset[tag].value for tag in PIXEL_TAGS if tag in dataset]
        if not values:
            missing = 0x00280010 in dataset and 0x00280100 in dataset
        elif not all(isinstance(value, bytes) and value for value in values):
            missing = True
        else:
            missing = 0x7FE00010 in dataset and len(dataset[0x7FE00010].value) < _native_size(dataset)
    except Exception:  # noqa: BLE001 - Rows, Columns or BitsAllocated missing or no numbers, or pixels of no known form
        raise Quarantined("unreadable") from None
    if missing:
        raise Quarantined("truncated")


def _native_size(dataset: FileDataset) -> int:
    """How many bytes native pixel data must have at least; 1 for compressed ones, whose size says nothing."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return 1
    samples = 2 if "422" in str(dataset.get("PhotometricInterpretation")) else int(dataset.get("SamplesPerPixel") or 1)
    frames = int(dataset.get("NumberOfFrames") or 1)
    return int(dataset.Rows) * int(dataset.Columns) * frames * samples * int(dataset.BitsAllocated) // 8


def _check_inflated(data: bytes) -> None:
    """Refuses a deflate bomb before anything inflates it whole."""
    syntax, start = _syntax_of(data)
    if syntax != str(DeflatedExplicitVRLittleEndian):
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        size = len(inflater.decompress(data[start:], MAX_INFLATED_BYTES))
    except zlib.error:
        raise Quarantined("unreadable") from None
    if size >= MAX_INFLATED_BYTES:
        raise Quarantined("too_large")


def _syntax_of(data: bytes) -> tuple[str, int]:
    """The transfer syntax and the end of the file meta information (explicit VR little endian, PS3.10 7.1)."""
    at, syntax = _PREFIX_AT + 4, ""
    if data[_PREFIX_AT:at] != b"DICM":
        return syntax, 0
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        if group != 2:
            break
        head = 8
        if vr in _LONG_VRS:
            if at + 12 > len(data):
                break
            (length,), head = struct.unpack_from("<I", data, at + 8), 12
        if element == 0x0010:
            syntax = data[at + head : at + head + length].decode("ascii", "replace").strip(" \0")
        at += head + length
    return syntax, at
