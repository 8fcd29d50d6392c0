"""The smallest PDF that shows lines of text, and nothing else: no metadata, no dates, no images, no scripts. Pure.

The same lines give the same bytes. Streams are not compressed, so that a search of the bytes sees every word. Letters
of other scripts are written in UTF-16 with a font that viewers have for them; their text can be taken out without it.
Source: ISO 32000-1, 7.3.4.2 (strings), 7.5 (file structure), 9.6.2.2 (standard fonts), 9.7.5.2 (predefined CMaps),
9.10.3 (ToUnicode), annex D (WinAnsiEncoding).
"""

from __future__ import annotations

import functools
import itertools
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

WIDTH = 95  # characters of Courier in nine points between the margins of A4
_LINES = 66
_PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R%b>>>>/Contents %d 0 R>>"
_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>"
_START = b"BT /F1 9 Tf 11.5 TL 41 800 Td\n"
_ESCAPES = {b"\\": b"\\\\", b"(": b"\\(", b")": b"\\)", b"\n": b"\\n", b"\r": b"\\r"}
_SPECIAL = re.compile(rb"[\\()\n\r]")
_STRING = rb"\((?:[^\\()]|\\[\\()nr])*\) Tj"
_SHOWN = re.compile(rb"^(?:%b|/F[123] 9 Tf %b(?: /F[123] 9 Tf %b)*) T\*$" % (_STRING, _STRING, _STRING), re.MULTILINE)
_PART = re.compile(rb"(?:/F([123]) 9 Tf )?(%b)" % _STRING)
_ENCODING, _WIDE_ENCODING = "cp1252", "utf-16-be"
_LATIN, _CHINESE, _KOREAN = 1, 2, 3
# Name, predefined CMap and character collection. The Chinese collection has Greek, Cyrillic and Japanese letters, too.
_WIDE_FONTS = {
    _CHINESE: (b"STSong-Light", b"UniGB-UCS2-H", b"GB1"),
    _KOREAN: (b"HYSMyeongJo-Medium", b"UniKS-UCS2-H", b"Korea1"),
}
_SCRIPTS = {
    **dict.fromkeys(("GREEK", "CYRILLIC", "CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC"), _CHINESE),
    "HANGUL": _KOREAN,
}
_AS_ITSELF = (
    b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def\n"
    b"1 begincodespacerange <0000> <FFFF> endcodespacerange\n1 beginbfrange <0000> <FFFF> <0000> endbfrange\n"
    b"endcmap end end"
)
_WORD = re.compile(r"[^\W\d_]{2,}")


def write_pdf(pages: Iterable[Sequence[str]]) -> bytes:
    """A document of ``pages``, each the lines of one page of the original; long ones go on. What no font has becomes a
    question mark."""
    sheets = [sheet for page in pages for sheet in _sheets(page)] or [[]]
    shown = [_START + b"".join(_line(line) for line in sheet) + b"ET\n" for sheet in sheets]
    first = 4 + 2 * len(sheets)  # behind the pages
    used = sorted({_font_of(char) for sheet in sheets for line in sheet for char in line} - {_LATIN})
    fonts = b"".join(b"/F%d %d 0 R" % (font, first + 4 * place) for place, font in enumerate(used))
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(sheets)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(sheets)),
        _FONT,
    ]
    for number, stream in enumerate(shown):
        objects += [_PAGE % (fonts, 5 + 2 * number), _stream(stream)]
    for place, font in enumerate(used):
        objects += _wide_font(font, first + 4 * place)
    return _file(objects)


def read_pdf(data: bytes) -> str:
    """The text of what ``write_pdf`` wrote."""
    return "\n".join(
        "".join(_text(part.group(2), int(part.group(1) or _LATIN)) for part in _PART.finditer(line.group()))
        for line in _SHOWN.finditer(data)
    )


def share_written(text: str) -> float:
    """Which share of the letters of ``text`` the Latin font has; 1 without any."""
    return _share(text, frozenset({_LATIN}))


def share_shown(text: str) -> float:
    """Which share of the letters of ``text`` some font has; 1 without any."""
    return _share(text, frozenset({_LATIN, *_WIDE_FONTS}))


def has_other_script(text: str) -> bool:
    """Whether a word in ``text`` has letters for which there is another font; a letter by itself is a symbol (µ)."""
    return any(_font_of(char) != _LATIN for word in _WORD.findall(text) for char in word)


def _share(text: str, fonts: frozenset[int]) -> float:
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return 1.0
    return sum(_is_in(char, fonts) for char in letters) / len(letters)


def _is_in(char: str, fonts: frozenset[int]) -> bool:
    font = _font_of(char)
    return font in fonts and (font != _LATIN or char.encode(_ENCODING, "ignore") != b"")


@functools.lru_cache(maxsize=4096)
def _font_of(char: str) -> int:
    """That which has a character; the Latin one for what none has."""
    if char.encode(_ENCODING, "ignore") or ord(char) > 0xFFFF or not char.isprintable():
        return _LATIN
    return _SCRIPTS.get(re.split(r"\W", unicodedata.name(char, ""), maxsplit=1)[0], _LATIN)


def _sheets(lines: Sequence[str]) -> list[list[str]]:
    wrapped = [part for line in lines for part in _wrapped(line)]
    return [wrapped[at : at + _LINES] for at in range(0, len(wrapped), _LINES)] or [[]]


def _wrapped(line: str) -> list[str]:
    width = WIDTH if all(_font_of(char) == _LATIN for char in line) else WIDTH // 2  # the other letters are broader
    return textwrap.wrap(line, width, drop_whitespace=True, break_on_hyphens=False) or [""]


def _line(line: str) -> bytes:
    """The operators that show a line: parts in other fonts, and a last one, maybe empty, in the Latin one."""
    parts = [(font, "".join(chars)) for font, chars in itertools.groupby(line, _font_of)]
    if not parts or parts[-1][0] != _LATIN:
        parts.append((_LATIN, ""))
    if len(parts) == 1:
        return b"%b Tj T*\n" % _literal(line)
    return b" ".join(b"/F%d 9 Tf %b Tj" % (font, _literal(text, font=font)) for font, text in parts) + b" T*\n"


def _literal(text: str, *, font: int = _LATIN) -> bytes:
    if font == _LATIN:
        text = "".join(char if char.isprintable() else " " for char in text)
    encoded = text.encode(_ENCODING if font == _LATIN else _WIDE_ENCODING, "replace")
    return b"(%b)" % _SPECIAL.sub(lambda found: _ESCAPES[found.group()], encoded)


def _text(string: bytes, font: int) -> str:
    back = {escape: char for char, escape in _ESCAPES.items()}
    plain = re.sub(rb"\\.", lambda found: back[found.group()], string[1 : string.rindex(b")")])
    return plain.decode(_ENCODING if font == _LATIN else _WIDE_ENCODING, "replace")


def _wide_font(font: int, number: int) -> list[bytes]:
    """The four objects of a font that is not in the document, the first of them with this ``number``."""
    name, encoding, ordering = _WIDE_FONTS[font]
    collection = b"<</Registry(Adobe)/Ordering(%b)/Supplement 0>>" % ordering
    return [
        b"<</Type/Font/Subtype/Type0/BaseFont/%b/Encoding/%b/DescendantFonts[%d 0 R]/ToUnicode %d 0 R>>"
        % (name, encoding, number + 1, number + 3),
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/%b/CIDSystemInfo%b/FontDescriptor %d 0 R/DW 1000>>"
        % (name, collection, number + 2),
        b"<</Type/FontDescriptor/FontName/%b/Flags 6/FontBBox[0 -120 1000 880]/ItalicAngle 0/Ascent 880/Descent -120"
        b"/CapHeight 880/StemV 90>>" % name,
        _stream(_AS_ITSELF),
    ]


def _stream(data: bytes) -> bytes:
    return b"<</Length %d>>\nstream\n%b\nendstream" % (len(data), data)


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
