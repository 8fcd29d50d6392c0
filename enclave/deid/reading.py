"""Reads hostile DICOM bytes: a dataset whose elements all decode, or a reason to hold the file back.

Pixel data are located, not read: whatever their size, only the rest of the file is decoded in memory.
"""

from __future__ import annotations

import functools
import hashlib
import re
import struct
from dataclasses import dataclass

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset as read_rest
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from enclave.deid.documents import is_pdf
from enclave.deid.pixel_data import PIXEL_TAGS, PixelElement, locate
from enclave.deid.plain import Parsed, Unread, read_plain
from enclave.deid.pydicom_tree import raw_elements, read_tree
from enclave.deid.quiet import quiet_parsing
from enclave.deid.reasons import Quarantined
from enclave.deid.source import Source
from enclave.deid.tree import Node, text_at
from enclave.deid.uids import STANDARD_ROOT, may_be_uid

_DEFERRED_BYTES = 16 << 20  # larger values of large files are not decoded: private ones go, others hold the file back
_PREFIX_AT = 128
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_LONG_COMPONENT = re.compile(r"\d{6}")  # no UID of the standard has one
_UID_VRS = frozenset({"UI"})


@dataclass(frozen=True, slots=True)
class Instance:
    """A parsed file: all elements but the pixel data, where those stand, and what tells one state from another."""

    source: Source
    tree: Node
    syntax: UID
    pixels: tuple[PixelElement, ...]
    header_sha256: str
    unread: tuple[Unread, ...] = ()  # private elements of a large file whose values are larger than is decoded

    @property
    def fingerprint(self) -> str:
        """Changes with the header, the size and the time of the last write."""
        return f"{self.header_sha256}:{self.source.size}:{self.source.modified_ns}"


def size_of(fingerprint: str) -> int:
    """The size in bytes of the file that had this fingerprint."""
    return int(fingerprint.split(":")[1])


def read_instance(source: Source) -> Instance:
    """The instance in ``source``; raises ``Quarantined``."""
    _check_start(source.head(_PREFIX_AT + 4))
    try:
        found = read_plain(source) or _taken_over(source)
    except RecursionError:
        raise Quarantined("nesting") from None
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("unreadable") from None
    _check_kind(found.tree)
    syntax = DeflatedExplicitVRLittleEndian if source.deflated else _syntax_of(found.syntax)
    pixels = tuple(found.pixels)
    return Instance(source, found.tree, syntax, pixels, _digest(source, pixels), found.unread)


def read_dataset(source: Source) -> FileDataset:
    """The same as pydicom reads it, without pixel data: for those who check what this package has made."""
    try:
        with quiet_parsing():
            return _parse(source)[0]
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - as above
        raise Quarantined("unreadable") from None


def _taken_over(source: Source) -> Parsed:
    """What pydicom makes of a file that breaks the rules or is large."""
    with quiet_parsing():
        return _from_pydicom(source)


def _from_pydicom(source: Source) -> Parsed:
    dataset, pixels, unread = _parse(source)
    tree = read_tree(dataset)
    if not text_at(tree, _SOP_CLASS):
        tree[_SOP_CLASS] = ("UI", str(dataset.file_meta.get("MediaStorageSOPClassUID") or ""))
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        explicit = ExplicitVRLittleEndian if tree.little else ExplicitVRBigEndian
        syntax = ImplicitVRLittleEndian if tree.implicit and tree.little else explicit
    return Parsed(tree, pixels, str(syntax), tuple(unread))


def _parse(source: Source) -> tuple[FileDataset, list[PixelElement], list[Unread]]:
    """The dataset and the pixel elements as pydicom reads them, and what is not decoded."""
    hits: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) in PIXEL_TAGS:
            hits.append((int(tag), vr, length))
        return bool(hits)

    content = source.content
    defer = _DEFERRED_BYTES if source.is_large else None
    elements: list[PixelElement] = []
    content.seek(0)
    dataset = read_partial(content, at_pixels, defer_size=defer, force=True)
    unread = _drop_deferred(dataset) if source.is_large else []
    implicit, little = dataset.original_encoding
    while hits:
        tag, vr, length = hits.pop()
        element = locate(source, at=content.tell(), tag=tag, vr=vr, length=length)
        if any(element.tag == other.tag for other in elements):
            raise Quarantined("unreadable")
        elements.append(element)
        content.seek(element.after)
        rest = read_rest(content, bool(implicit), bool(little), stop_when=at_pixels, defer_size=defer)
        if source.is_large:
            unread += _drop_deferred(rest)
        for key in rest.keys():  # noqa: SIM118 - iterating a Dataset yields decoded elements
            dataset[key] = rest.get_item(key)
    return dataset, elements, unread


def _drop_deferred(dataset: pydicom.Dataset) -> list[Unread]:
    """Takes out private elements whose values were not read, and says which."""
    raw = raw_elements(dataset)  # asking the dataset itself would read the value after all
    deferred = {tag: element for tag, element in raw.items() if _is_deferred(element)}
    if not all(tag.is_private for tag in deferred):
        raise Quarantined("too_large")
    for tag in deferred:
        del raw[tag]
    return [(int(tag), str(element.VR or "UN")) for tag, element in deferred.items()]


def _is_deferred(element: object) -> bool:
    return isinstance(element, RawDataElement) and element.value is None and bool(element.length)


def _digest(source: Source, pixels: tuple[PixelElement, ...]) -> str:
    """SHA-256 of all that is not the value of a pixel element."""
    digest, at = hashlib.sha256(), 0
    for element in pixels:
        for piece in source.pieces(at, element.start):
            digest.update(piece)
        at = element.after
    for piece in source.pieces(at, source.size):
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


def _check_kind(tree: Node) -> None:
    if any(tag in tree and tree[tag][0] not in _UID_VRS for tag in (_SOP_CLASS, _SOP_INSTANCE)):
        raise Quarantined("unreadable")
    sop_class, sop_instance = text_at(tree, _SOP_CLASS), text_at(tree, _SOP_INSTANCE)
    if sop_class == "1.2.840.10008.1.3.10" or 0x00041220 in tree:
        raise Quarantined("dicomdir")
    if not sop_class or not sop_instance or "\\" in sop_class + sop_instance:
        raise Quarantined("not_an_instance")
    if not (
        sop_class.startswith(STANDARD_ROOT) and may_be_uid(sop_class) and _LONG_COMPONENT.search(sop_class) is None
    ):
        raise Quarantined("private_sop_class")
    if 0x00420011 in tree and not is_pdf(tree):
        raise Quarantined("encapsulated_document")


@functools.lru_cache(maxsize=64)
def _syntax_of(name: str) -> UID:
    with quiet_parsing():
        syntax = UID(name)
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise Quarantined("transfer_syntax_unknown")
    return syntax
