"""What a PDF can start or carry, found by its names, also inside compressed streams. Pure.

Source: ISO 32000-1, 7.3.8 (streams), 7.6 (encryption), 7.11 (files), 12.6 (actions).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final

from enclave.disclosure.findings import Observation, seen

MAX_STREAMS: Final = 2_000
MAX_INFLATED: Final = 64 << 20
_STREAM: Final = re.compile(rb"stream\r?\n")
_ACTIVE: Final = re.compile(
    rb"/(?:JavaScript|JS|OpenAction|AA|Launch|SubmitForm|ImportData|GoToR|AcroForm|RichMedia)\b"
)
_EMBEDDED: Final = re.compile(rb"/(?:EmbeddedFiles?|Filespec|FileAttachment)\b")
_ENCRYPTED: Final = re.compile(rb"/Encrypt\b")


def observe_pdf(data: bytes) -> Iterator[Observation]:
    """Actions, embedded files, encryption; and that nobody can look at it here yet."""
    found = set()
    for part in _parts(data):
        plain = re.sub(rb"#([0-9A-Fa-f]{2})", lambda m: bytes([int(m.group(1), 16)]), part)
        for rule, pattern in (("pdf_active", _ACTIVE), ("pdf_embedded", _EMBEDDED), ("pdf_encrypted", _ENCRYPTED)):
            if rule not in found and pattern.search(plain):
                found.add(rule)
                yield seen(rule)
    yield seen("pdf_not_rendered")


def _parts(data: bytes) -> Iterator[bytes]:
    yield data
    budget = MAX_INFLATED
    for number, match in enumerate(_STREAM.finditer(data)):
        if number >= MAX_STREAMS or budget <= 0:
            return
        try:
            inflated = zlib.decompressobj().decompress(data[match.end() :], min(budget, 8 << 20))
        except zlib.error:
            continue
        budget -= len(inflated)
        yield inflated
