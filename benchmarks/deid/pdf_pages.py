"""PDF documents as scanners of paper and reporting systems make them, with words in every place that can hold some."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

_ESCAPED = {ord("\\"): "\\\\", ord("("): "\\(", ord(")"): "\\)"}


def make_pdf(pages: Sequence[Sequence[str]], *, hidden: str = "", encrypted: bool = False) -> bytes:
    """``pages`` of lines, compressed; ``hidden`` stands in metadata, XMP, a script, a form, a note, an attachment and
    in the bytes of an image on the first page."""
    secret = hidden.encode("latin-1", "replace")
    told = _string(hidden)
    kids = b" ".join(b"%d 0 R" % (20 + 2 * number) for number in range(len(pages)))
    objects: dict[int, bytes] = {
        1: b"<</Type/Catalog/Pages 2 0 R/OpenAction 4 0 R/AcroForm<</Fields[5 0 R]>>/Metadata 6 0 R"
        b"/Names<</EmbeddedFiles<</Names[(a.txt) 7 0 R]>>>>>>",
        2: b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(pages)),
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        4: b"<</S/JavaScript/JS %b>>" % told,
        5: b"<</FT/Tx/T(field)/V %b/Subtype/Widget/Rect[0 0 9 9]>>" % told,
        6: _stream(b"<x:xmpmeta>%b</x:xmpmeta>" % secret, b"/Type/Metadata/Subtype/XML"),
        7: b"<</Type/Filespec/F(a.txt)/EF<</F 8 0 R>>>>",
        8: _stream(secret, b"/Type/EmbeddedFile"),
        9: b"<</Type/Annot/Subtype/Text/Rect[0 0 9 9]/Contents %b>>" % told,
        10: _stream(secret.ljust(16, b" ")[:16], b"/Type/XObject/Subtype/Image/Width 4/Height 4/BitsPerComponent 8"
                    b"/ColorSpace/DeviceGray"),
        11: b"<</Title %b/Author %b>>" % (told, told),
    }  # fmt: skip
    for number, lines in enumerate(pages):
        shown = b"BT /F1 10 Tf 12 TL 40 800 Td\n" + b"".join(b"%b Tj T*\n" % _string(line) for line in lines) + b"ET\n"
        shown += b"q 50 0 0 50 40 40 cm /I1 Do Q\n" if not number and hidden else b""
        objects[20 + 2 * number] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Annots[9 0 R]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>/XObject<</I1 10 0 R>>>>>>" % (21 + 2 * number)
        )
        objects[21 + 2 * number] = _stream(shown, b"", compressed=True)
    if encrypted:
        objects[12] = b"<</Filter/Standard/V 1/R 2/O(%b)/U(%b)/P -4>>" % (b"o" * 32, b"u" * 32)
    return _file(objects, b"/Info 11 0 R" + (b"/Encrypt 12 0 R/ID[(aa)(aa)]" if encrypted else b""))


def _string(text: str) -> bytes:
    return b"(" + text.translate(_ESCAPED).encode("cp1252", "replace") + b")"


def _stream(data: bytes, entries: bytes, *, compressed: bool = False) -> bytes:
    packed = zlib.compress(data) if compressed else data
    entries += b"/Filter/FlateDecode" if compressed else b""
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (entries, len(packed), packed)


def _file(objects: dict[int, bytes], trailer: bytes) -> bytes:
    out = bytearray(b"%PDF-1.7\n")
    places = {}
    for number, body in objects.items():
        places[number] = len(out)
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start, size = len(out), max(objects) + 1
    out += b"xref\n0 %d\n" % size
    for number in range(size):
        place = places.get(number)
        out += b"0000000000 65535 f \n" if place is None else b"%010d 00000 n \n" % place
    return bytes(out + b"trailer\n<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, start))
