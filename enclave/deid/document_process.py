"""The process in which text is taken out of PDF documents: ``python -m enclave.deid.document_process FD``.

A parser of PDF meets hostile bytes that make it run for ever or fill the memory. Each document is read by a fork with
the limits and the filter of a fork server; only the text of its pages comes back, never an image, a form's value, a
script, an attachment or metadata.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

from enclave.deid.fork_server import Limits, serve

MAX_PAGES = 500
MAX_CHARS = 1_000_000  # of all pages together
_NEVER_LOADED = ("PIL", "cryptography", "Crypto")  # text needs no pictures, and what is encrypted is refused
_ENCODINGS = (
    "charmap",
    "cp1252",
    "latin_1",
    "mac_roman",
    "utf_16_be",
    "cp932",
    "cp950",
    "gbk",
)  # of fonts in documents
_LIMITS = Limits(memory=512 << 20, seconds=60)


def main() -> None:
    """Serves requests until the other end of the socket is closed."""
    for name in _NEVER_LOADED:
        sys.modules[name] = None  # type: ignore[assignment] # an import of it fails (the import system, 5.3.1)
    os.environ["PATH"] = ""  # one filter of pictures would run a program
    serve(lambda: read_pages, limits=_LIMITS, libraries=_libraries())


def _libraries() -> Iterator[str]:
    """All that the reader would load when a document first asks for it, which a fork cannot."""
    spec = importlib.util.find_spec("pypdf")
    folders = spec.submodule_search_locations if spec is not None else None
    yield "pypdf"
    yield from (found.name for found in pkgutil.walk_packages(folders, "pypdf."))
    yield from (f"encodings.{name}" for name in _ENCODINGS)


def read_pages(request: dict[str, Any], *, value: int, answer: int) -> None:
    """Writes the text of each page as a JSON list; nothing for a document that is encrypted or beyond the limits."""
    from pypdf import PdfReader  # after ``main`` has said what it may not load

    del request  # there is one way to read a document
    with os.fdopen(value, "rb") as file, os.fdopen(answer, "wb") as pipe:
        reader = PdfReader(io.BytesIO(file.read()), strict=False)
        if reader.is_encrypted or len(reader.pages) > MAX_PAGES:
            return
        pages: list[str] = []
        for page in reader.pages:
            pages.append(page.extract_text())
            if sum(map(len, pages)) > MAX_CHARS:
                return
        pipe.write(json.dumps(pages).encode("ascii"))


if __name__ == "__main__":
    main()
