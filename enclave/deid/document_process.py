"""The process in which text is taken out of PDF documents: ``python -m enclave.deid.document_process FD``.

A parser of PDF meets hostile bytes that make it run for ever or fill the memory. Each document is read by a fork with
the limits and the filter of a fork server; only the text of its pages comes back, never an image, a form's value, a
script, an attachment or metadata.
"""

from __future__ import annotations

import encodings
import io
import json
import os
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pypdf
from pypdf import PdfReader

from enclave.deid.fork_server import Limits, serve

MAX_PAGES = 500
MAX_CHARS = 1_000_000  # of all pages together
_LIMITS = Limits(memory=512 << 20, seconds=60)


def main() -> None:
    """Serves requests until the other end of the socket is closed."""
    serve(lambda: read_pages, limits=_LIMITS, libraries=(*_modules_of(pypdf), *_modules_of(encodings)))


def _modules_of(package: ModuleType) -> Iterator[str]:
    """All that the reader might load for one document or another; a fork can load nothing."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield found.name


def read_pages(request: dict[str, Any], *, value: int, answer: int) -> None:
    """Writes the text of each page as a JSON list; nothing for a document that is encrypted or beyond the limits."""
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
