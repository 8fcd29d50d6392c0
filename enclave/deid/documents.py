"""Encapsulated PDF: the text of its pages is taken out in another process, cleaned, and written as a new document.

Nothing of the original is carried over but words: no image, attachment, form, script or metadata.
"""

from __future__ import annotations

import json
import re
import struct
import time
import unicodedata
from collections.abc import Callable, Iterator

from enclave.deid.fork_client import client_of
from enclave.deid.plain_pdf import share_shown, write_pdf
from enclave.deid.reasons import Quarantined
from enclave.deid.tree import Field, Node, text_at

DOCUMENT = 0x00420011
_MIME_TYPE, _LENGTH, _BURNED_IN, _SOP_CLASS = 0x00420012, 0x00420015, 0x00280301, 0x00080016
_PDF_CLASS, _PDF_TYPE = "1.2.840.10008.5.1.4.1.1.104.1", "application/pdf"
_SERVER = "enclave.deid.document_process"
_SECONDS = 90.0  # the process ends itself before that
_MAX_BYTES = 32 << 20
_MAX_ANSWER = 16 << 20
_LEAST_LETTERS = 20
_LEAST_SHOWN = 0.9  # of the letters
_BLOCK_CHARS = 4_000  # running text is cleaned in blocks: a longer one would be cut off
_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_])")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_NO_TEXT = "[A page without text was left out.]"
_HEAD = "[Cleaned text of a document. Its images, forms and attachments were left out.]"
Clean = Callable[[str], str]  # a block of lines without what identifies


def is_pdf(tree: Node) -> bool:
    """Whether an object is of the one kind of documents that can be cleaned."""
    return text_at(tree, _SOP_CLASS) == _PDF_CLASS and text_at(tree, _MIME_TYPE).lower() == _PDF_TYPE


def cleaned_pdf(field: Field, *, clean: Clean) -> bytes:
    """A new document with the cleaned text of the one in ``field``; the same text and answers give the same bytes.

    Raises ``Quarantined`` when it is damaged, encrypted, beyond the limits, without text, or in a script that cannot be
    written.
    """
    pages = [_readable(page) for page in _extracted(field[1])]
    whole = "".join(pages)
    empty = sum(not page.strip() for page in pages)
    if sum(map(str.isalpha, whole)) < _LEAST_LETTERS or 2 * empty > len(pages):
        raise Quarantined("document_without_text")
    if share_shown(whole) < _LEAST_SHOWN:
        raise Quarantined("document_unreadable")
    made = [_cleaned(page, clean) for page in pages]
    return write_pdf([[_HEAD, "", *made[0]], *made[1:]])


def put(tree: Node, document: bytes) -> None:
    """Makes ``document`` the one of a cleaned object."""
    tree[DOCUMENT] = ("OB", document)
    tree[_MIME_TYPE] = ("LO", _PDF_TYPE)
    tree[_LENGTH] = ("UL", struct.pack("<L" if tree.little else ">L", len(document)))
    tree[_BURNED_IN] = ("CS", "NO")


def _cleaned(page: str, clean: Clean) -> list[str]:
    if not page.strip():
        return [_NO_TEXT]
    lines: list[str] = []
    for block in _blocks(page):
        lines += [*clean(block).split("\n"), ""]
    return lines


def _blocks(page: str) -> list[str]:
    """Paragraphs, and parts of those that are too long; a line that is too long by itself is parted at blanks.

    Raises ``Quarantined`` for a word longer than a block: of its parts, each judged alone, nobody knows the whole.
    """
    found: list[str] = []
    for paragraph in _BLANK_LINES.split(page):
        block = ""
        for line in paragraph.split("\n"):
            for part in _parts(line):
                if block and len(block) + len(part) >= _BLOCK_CHARS:
                    found.append(block)
                    block = ""
                block = f"{block}\n{part}" if block else part
        found.append(block)
    return [block for block in found if block.strip()]


def _parts(line: str) -> Iterator[str]:
    """A line in pieces of at most a block, each cut at the last blank that is in reach."""
    at = 0
    while len(line) - at > _BLOCK_CHARS:
        end = next((end for end in range(at + _BLOCK_CHARS, at, -1) if line[end].isspace()), at)
        if end == at:
            raise Quarantined("document_unreadable")
        yield line[at:end]
        at = end
    yield line[at:]


def _readable(page: str) -> str:
    """Letters as they are meant: ligatures apart, words that a line's end parts joined, nothing that is not seen."""
    plain = unicodedata.normalize("NFKC", page.replace("\r\n", "\n").replace("\r", "\n"))
    seen = "".join(char if char in "\n\t" or unicodedata.category(char)[0] != "C" else "" for char in plain)
    return _HYPHEN.sub("", seen)


def _extracted(value: object) -> list[str]:
    if not isinstance(value, bytes) or len(value) > _MAX_BYTES:
        raise Quarantined("document_unreadable")
    try:
        pages = json.loads(_asked(value))
    except (OSError, ValueError, RecursionError):
        raise Quarantined("document_unreadable") from None
    if not isinstance(pages, list) or not pages or not all(isinstance(page, str) for page in pages):
        raise Quarantined("document_unreadable")
    return pages


def _asked(value: bytes) -> bytes:
    """What the other process answers: nothing when it refused or crashed; raises ``OSError`` after too long."""
    found = bytearray()
    part = memoryview(bytearray(1 << 16))
    with client_of(_SERVER).answer({}, value=(value,)) as answer:
        end = time.monotonic() + _SECONDS
        while got := answer.read_into(part, seconds=end - time.monotonic()):
            found += part[:got]
            if len(found) > _MAX_ANSWER:
                raise Quarantined("document_unreadable")
    return bytes(found)
