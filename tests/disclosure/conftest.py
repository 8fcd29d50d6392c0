"""Files as authors and attackers make them."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from enclave.disclosure.findings import Judged, judge
from enclave.disclosure.parse import parse_file


@pytest.fixture
def check() -> Callable[..., Judged]:
    """What the rules say about bytes under a name."""

    def run(data: bytes | str, name: str) -> Judged:
        return judge(parse_file(data.encode() if isinstance(data, str) else data, name=name))

    return run


@pytest.fixture
def png() -> Callable[..., bytes]:
    """A small colourful PNG; keyword arguments go to Pillow's save."""

    def make(size: tuple[int, int] = (80, 60), **options: object) -> bytes:
        image = Image.new("RGB", size, "white")
        image.paste("red", (5, 5, 20, 20))
        out = io.BytesIO()
        image.save(out, "PNG", **options)
        return out.getvalue()

    return make
