"""Reads hostile DICOM bytes: a dataset whose elements all decode, or a reason to hold the file back.

Pixel data are located, not read: whatever their size, only the rest of the file is decoded in memory.
"""

from __future__ import annotations

import hashlib
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from enclave.deid.pixel_data import PIXEL_TAGS, PixelElement, locate
from enclave.deid.plain import read_plain
from enclave.deid.reasons import Quarantined
from enclave.deid.source import Source

MAX_DEPTH = 32
_DEFERRED_BYTES = 16 << 20  # larger values of large files are not decoded: private ones go, others hold the file back
_PREFIX_AT = 128


@dataclass(frozen=True, slots=True)
class Instance:
    """A parsed file: all elements but the pixel data, where those stand, and what tells one state from another."""

    source: Source
    dataset: FileDataset
    pixels: tuple[PixelElement, ...]
    header_sha256: str

    @property
    def fingerprint(self) -> str:
        """Changes with the header, the size and the time of the last write."""
        return f"{self.header_sha256}:{self.source.size}:{self.source.modified_ns}"


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


def read_instance(source: Source) -> Instance:
    """The instance in ``source`` (inside of ``quiet_parsing``); raises ``Quarantined``.

    Text is decoded to Unicode here, so that what follows compares characters, not bytes.
    """
    _check_start(source.head(_PREFIX_AT + 4))
    try:
        dataset, elements, between = _parse(source)
    except RecursionError:
        raise Quarantined("nesting") from None
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("unreadable") from None
    _check_kind(dataset)
    _check_syntax(dataset)
    if source.deflated:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return Instance(source, dataset, tuple(elements), _digest(source, between))


def _parse(source: Source) -> tuple[FileDataset, list[PixelElement], list[tuple[int, int]]]:
    """The dataset, the pixel elements, and the ranges of the content that are neither's value."""
    hits: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) in PIXEL_TAGS:
            hits.append((int(tag), vr, length))
        return bool(hits)

    content, start = source.content, 0
    defer = _DEFERRED_BYTES if source.is_large else None
    elements: list[PixelElement] = []
    between: list[tuple[int, int]] = []
    content.seek(0)
    known = None if source.is_large or not isinstance(content, BytesIO) else read_plain(content, at_pixels)
    if known is None:
        content.seek(0)
        dataset = read_partial(content, at_pixels, defer_size=defer, force=True)
    else:
        dataset = known
    if source.is_large:
        _drop_deferred(dataset)
    implicit, little = dataset.original_encoding
    while hits:
        tag, vr, length = hits.pop()
        element = locate(source, at=content.tell(), tag=tag, vr=vr, length=length)
        if any(element.tag == other.tag for other in elements):
            raise Quarantined("unreadable")
        elements.append(element)
        between.append((start, element.start))
        start = element.after
        content.seek(start)
        rest = read_dataset(content, bool(implicit), bool(little), stop_when=at_pixels, defer_size=defer)
        if source.is_large:
            _drop_deferred(rest)
        for key in rest.keys():  # noqa: SIM118 - iterating a Dataset yields decoded elements
            dataset[key] = rest.get_item(key)
    return dataset, elements, [*between, (start, source.size)]


def _drop_deferred(dataset: pydicom.Dataset) -> None:
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.value is None and element.length:
            if not tag.is_private:
                raise Quarantined("too_large")
            del dataset[tag]


def _digest(source: Source, ranges: list[tuple[int, int]]) -> str:
    digest = hashlib.sha256()
    for start, end in ranges:
        for piece in source.pieces(start, end):
            digest.update(piece)
    return digest.hexdigest()


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
