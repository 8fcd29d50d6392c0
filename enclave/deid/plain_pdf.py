"""The smallest PDF that shows lines of text, and nothing else: no metadata, no dates, no images, no scripts. Pure.

The same lines give the same bytes. Streams are not compressed, so that a search of the bytes sees every word.
Source: ISO 32000-1, 7.5 (file structure), 9.6.2.2 (standard fonts), annex D (WinAnsiEncoding).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 95  # characters of Courier in nine points between the margins of A4
_LINES = 66
_PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>"
_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>"
_START = b"BT /F1 9 Tf 11.5 TL 41 800 Td\n"
_SPECIAL = re.compile(rb"[\\()]")
_SHOWN = re.compile(rb"^\(((?:[^\\()]|\\[\\()])*)\) Tj T\*$", re.MULTILINE)
_ENCODING = "cp1252"


def write_pdf(pages: Iterable[Sequence[str]]) -> bytes:
    """A document of ``pages``, each the lines of one page of the original; long ones go on. What the encoding lacks
    becomes a question mark."""
    sheets = [sheet for page in pages for sheet in _sheets(page)] or [[]]
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(sheets)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(sheets)),
        _FONT,
    ]
    for number, sheet in enumerate(sheets):
        shown = _START + b"".join(b"(%b) Tj T*\n" % _literal(line) for line in sheet) + b"ET\n"
        objects += [_PAGE % (5 + 2 * number), b"<</Length %d>>\nstream\n%b\nendstream" % (len(shown), shown)]
    return _file(objects)


def read_pdf(data: bytes) -> str:
    """The text of what ``write_pdf`` wrote."""
    lines = (re.sub(rb"\\(.)", rb"\1", found.group(1)) for found in _SHOWN.finditer(data))
    return "\n".join(line.decode(_ENCODING, "replace") for line in lines)


def share_written(text: str) -> float:
    """Which share of the letters of ``text`` can be written; 1 without any."""
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return 1.0
    lost = sum(char.encode(_ENCODING, "ignore") == b"" for char in letters)
    return 1 - lost / len(letters)


def _sheets(lines: Sequence[str]) -> list[list[str]]:
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, drop_whitespace=True, break_on_hyphens=False) or [""]
    ]
    return [wrapped[at : at + _LINES] for at in range(0, len(wrapped), _LINES)] or [[]]


def _literal(line: str) -> bytes:
    printable = "".join(char if char.isprintable() else " " for char in line)
    return _SPECIAL.sub(rb"\\\g<0>", printable.encode(_ENCODING, "replace"))


def _file(objects: list[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)
