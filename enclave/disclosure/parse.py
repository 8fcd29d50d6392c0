"""Reads hostile files and says what it saw: the only module of this package that touches bytes from outside.

Runs in a check sandbox as ``python -m enclave.disclosure.parse [FILE...]``. The request is JSON on standard input:
``{"act": "check", "names": [...]}`` or ``{"act": "preview", "name": …, "mark": …}``, bare or as the launcher hands
it over, ``{"names": [...], "request": {…}}``. The files are ``/check/0`` …, or the arguments in this order. Prints
one canonical JSON object.

Whoever starts it judges the
answer (``findings.judge``): a parser that was taken over can say what it likes, but not change a rule.
"""

from __future__ import annotations

import base64
import hashlib
import io
import resource
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import EnclaveError, InvalidError
from enclave.disclosure import filetypes
from enclave.disclosure.findings import Observation, Report, capped, seen
from enclave.disclosure.imagefile import MAX_PIXELS, image_size, observe_jpeg, observe_png
from enclave.disclosure.markup import observe_html, observe_notebook, observe_svg
from enclave.disclosure.pdf import observe_pdf
from enclave.disclosure.preview import render_preview
from enclave.disclosure.rules import NOT_RUN_IMAGE, NOT_RUN_TABLE
from enclave.disclosure.tables import observe_table, parse_table
from enclave.disclosure.text import observe_text, parse_utf8
from enclave.wire.messages.schema import to_json

MAX_BYTES: Final = 50 << 20
MEMORY_BYTES: Final = 3 << 30
CPU_S: Final = 50
_FORMATS: Final = {"png": ("PNG",), "jpeg": ("JPEG",)}
_SMALLEST_SCAN: Final = 64  # pixels a side; smaller greyscale pictures are icons


def parse_file(data: bytes, *, name: str) -> Report:
    """What was seen in ``data``, which claims to be called ``name``. Never raises for what the bytes hold."""
    kind, broken = filetypes.detect(data[: filetypes.HEAD_BYTES], name=name)
    observations: list[Observation] = []
    if broken is not None:
        observations.append(seen(broken))
    if not data:
        observations.append(seen("empty_file"))
    elif len(data) > MAX_BYTES:
        observations.append(seen("too_large"))
    elif kind in filetypes.KNOWN and broken not in ("archive", "data_container"):
        observations.extend(_observe(data, kind))
    not_run = NOT_RUN_IMAGE if kind in filetypes.IMAGES else NOT_RUN_TABLE if kind in filetypes.TABLES else ()
    digest = hashlib.sha256(data).hexdigest()
    return Report(
        sha256=digest, size_bytes=len(data), type=kind, observations=capped(observations), checks_not_run=not_run
    )


def _observe(data: bytes, kind: str) -> Iterator[Observation]:
    if kind in filetypes.IMAGES:
        yield from _image(data, kind)
        return
    if kind == "pdf":
        yield from observe_pdf(data)
        return
    text = parse_utf8(data)
    if text is None:
        yield seen("not_text")
    elif kind in filetypes.TABLES:
        yield from _table(text, tabs=kind == "tsv")
    elif kind == "svg":
        yield from observe_svg(text)
    elif kind == "html":
        yield from observe_html(text)
    elif kind == "ipynb":
        yield from observe_notebook(text)
    else:
        yield from observe_text(text)


def _table(text: str, *, tabs: bool) -> Iterator[Observation]:
    try:
        yield from observe_table(parse_table(text, tabs=tabs))
    except InvalidError:
        yield seen("table_unreadable")
    yield from observe_text(text)


def _image(data: bytes, kind: str) -> Iterator[Observation]:
    yield from observe_png(data) if kind == "png" else observe_jpeg(data)
    size = image_size(data) if kind == "png" else None
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        yield seen("image_too_large")
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS[kind]) as image:
                if image.width * image.height > MAX_PIXELS:
                    yield seen("image_too_large")
                    return
                image.load()
                yield from _pixels(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        yield seen("image_too_large")
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError):
        yield seen("image_unreadable")


def _pixels(image: Image.Image) -> Iterator[Observation]:
    whole = {"region": [0, 0, image.width, image.height]}
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"))
        hidden = pixels[pixels[..., 3] == 0][:, :3]
        if hidden.size and len(np.unique(hidden, axis=0)) > 2:
            yield seen("image_hidden_pixels", where=whole)
    if min(image.size) >= _SMALLEST_SCAN and _greyscale(image):
        yield seen("image_greyscale", where=whole)


def _greyscale(image: Image.Image) -> bool:
    """Whether many grey levels and hardly any colour are shown, as in a scan and unlike in a chart."""
    small = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.NEAREST)).astype(np.int16)
    colourless = (small.max(axis=-1) - small.min(axis=-1) <= 8).mean() > 0.98
    levels = np.bincount((small[..., 0].ravel() // 8), minlength=32)
    return bool(colourless and (levels > 0.005 * small[..., 0].size).sum() >= 8)


def answer(request: dict[str, Any], paths: list[Path]) -> dict[str, Any]:
    """The answer to one request; raises ``InvalidError`` for another form of request."""
    if request.get("act") == "check":
        names = request["names"]
        if len(paths) < len(names):
            raise InvalidError("check: wanted a file for each name, got fewer")
        return {"files": [to_json(parse_file(_read(p), name=n)) for p, n in zip(paths, names, strict=False)]}
    if request.get("act") == "preview":
        data = _read(paths[0])
        kind, broken = filetypes.detect(data[: filetypes.HEAD_BYTES], name=request["name"])
        mime, content = render_preview(data, kind=kind if not broken else "", mark=request["mark"])
        return {"mime": mime, "data": base64.b64encode(content).decode("ascii")}
    raise InvalidError("check: wanted the act check or preview, got another one")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _limit(which: int, value: int) -> None:
    _soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main() -> int:
    """Reads the request, prints the answer; 12 for a request of another form."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, CPU_S)
    try:
        request = parse_json(sys.stdin.buffer.read())
        request = request.get("request", request)
        count = len(request.get("names") or [""])
        paths = [Path(argument) for argument in sys.argv[1:]] or [Path("/check") / str(i) for i in range(count)]
        result = answer(request, paths)
    except (EnclaveError, KeyError, TypeError, AttributeError, OSError):
        sys.stderr.write("check: wanted a request and its files, got something else\n")
        return 12
    sys.stdout.buffer.write(canonical_bytes(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
