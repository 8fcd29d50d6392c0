"""The further checks of a gate: which files pass and how large, which kernels start. Pure."""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enclave.core.errors import DeniedError
from enclave.server.gate.routes import KERNEL_NAME, hidden

MAX_TEXT = 5_000_000
MAX_LIST = 64 * 1024
MAX_REPLY = 8 * 1024 * 1024
_REST = 3  # bytes of a character of UTF-8 behind its first
MAX_CHUNKS = 5  # JupyterLab cuts an upload into pieces of 1 MB, numbered 1, 2 …, -1 for the last
TEXT_TYPES = frozenset(
    {"ipynb", "py", "md", "txt", "rst", "r", "sql", "sh", "toml", "yaml", "yml", "cfg", "ini", "tex", "bib"}
)
_SESSION_KEYS = frozenset({"id", "kernel", "name", "path", "type", "notebook"})
_KERNEL_KEYS = frozenset({"id", "name", "path"})


def check_read(path: str, query: Mapping[str, str]) -> None:
    """A GET of ``api/contents``: raises ``DeniedError`` for data types, base64 and hidden files."""
    file = path.removeprefix("api/contents").strip("/")
    _check_visible(file)
    if query.get("format") == "base64":
        raise _data("base64 of a file")
    if query.get("content") != "0" and query.get("type") != "directory":
        _check_type(file)


def check_read_reply(body: bytes) -> bool:
    """The server's answer to such a GET: text or a notebook of at most 5 MB, or a folder's list.

    Says whether it counts as shown: what is in a file, or a list so long that it may hold more than names.
    """
    model = _object(body)
    if model.get("format") not in (None, "json", "text"):
        raise _data("base64 of a file")
    if model.get("type") == "file" and model.get("content") is not None:
        _check_type(str(model.get("path") or model.get("name") or ""))
    if model.get("type") != "directory" and len(body) > MAX_TEXT:
        raise _too_large()
    shows = model.get("content") is not None
    return shows and (model.get("type") != "directory" or len(body) > MAX_LIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a PUT writes. ``upload``: it came as base64, as JupyterLab sends files from the person's machine; ``piece``
    is 0 for a whole one, else its number (-1: the last). ``notebook`` when it is a whole one; ``text`` else."""

    upload: bool
    text: str
    notebook: Mapping[str, Any] | None
    size: int
    sha256: str
    ending: str
    piece: int = 0


def check_write(method: str, path: str, body: bytes) -> Written | None:
    """A change below ``api/contents``: what it writes, None when it writes nothing.

    Raises ``DeniedError`` unless it is text, a notebook or a folder, ≤ 5 MB.
    """
    file = path.removeprefix("api/contents").strip("/")
    _check_visible(file)
    if method == "DELETE":
        return None
    model = _object(body) if body else {}
    for key in ("path", "copy_from", "name"):
        value = model.get(key)
        if isinstance(value, str):
            _check_visible(value.strip("/"))
    if method == "PATCH":
        _check_type(str(model.get("path") or ""))
    elif method == "POST":
        _check_type(str(model.get("copy_from") or ""))
        _check_type("x" + str(model.get("ext") or ""))
    elif model.get("type") != "directory":
        _check_type(file)
        return _content(model, ending=_ending(file))
    return None


def check_kernel(body: bytes, *, session: bool) -> None:
    """A start of a kernel: only ``enclave-python``, and nothing else that a client might add."""
    model = _object(body) if body else {}
    kernel: Any = model
    if session:
        if set(model) - _SESSION_KEYS:
            raise _kernel("another field")
        kernel = model.get("kernel") or {}
    if not isinstance(kernel, dict) or set(kernel) - _KERNEL_KEYS:
        raise _kernel("another field")
    if kernel.get("name") not in (None, "", KERNEL_NAME):
        raise _kernel("another name")


def _content(model: Mapping[str, Any], *, ending: str) -> Written | None:
    content, form, chunk = model.get("content"), model.get("format"), model.get("chunk")
    if chunk is not None and (type(chunk) is not int or not -1 <= chunk <= MAX_CHUNKS):
        raise _too_large()
    if form == "base64":
        data = _from_base64(content)
        _check_text(data, whole=chunk is None)
        text = data.decode("utf-8", "replace")
        notebook = _notebook(text) if chunk is None and ending == "ipynb" else None
        return _written(data, text, notebook, upload=True, ending=ending, piece=chunk or 0)
    if form not in (None, "text", "json"):
        raise _data("a format that is not text")
    if isinstance(content, str):
        data = content.encode("utf-8", "surrogatepass")
        if len(data) > MAX_TEXT:
            raise _too_large()
        return _written(data, content, None, upload=False, ending=ending)
    if isinstance(content, dict):
        return _written(json.dumps(content).encode(), "", content, upload=False, ending=ending)
    return None


def _written(
    data: bytes, text: str, notebook: Mapping[str, Any] | None, *, upload: bool, ending: str, piece: int = 0
) -> Written:
    digest = hashlib.sha256(data).hexdigest()
    return Written(
        upload=upload, text=text, notebook=notebook, size=len(data), sha256=digest, ending=ending, piece=piece
    )


def _from_base64(content: Any) -> bytes:
    if not isinstance(content, str):
        raise _data("base64 that is none")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise _data("base64 that is none") from None


def _notebook(text: str) -> Mapping[str, Any] | None:
    """A notebook's JSON; what is none is a text with that name."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _check_text(data: bytes, *, whole: bool) -> None:
    if len(data) > MAX_TEXT:
        raise _too_large()
    if b"\0" in data:
        raise _data("bytes that are no text")
    first = 0
    while not whole and first < min(_REST, len(data)) and data[first] & 0xC0 == 0x80:
        first += 1  # the rest of a character that a piece may begin with; it may end with the beginning of one
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data[first:], whole)
    except UnicodeDecodeError:
        raise _data("bytes that are no text") from None


def _check_visible(file: str) -> None:
    if hidden(file):
        raise DeniedError("Files: wanted a visible file, got a hidden one", code="hidden_file")


def _check_type(file: str) -> None:
    ending = _ending(file)
    if ending and ending not in TEXT_TYPES:
        raise _data("another type")


def _ending(file: str) -> str:
    _, dot, ending = file.rpartition("/")[2].rpartition(".")
    return ending.lower() if dot else ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        model = json.loads(body)
    except (ValueError, RecursionError):
        model = None
    if not isinstance(model, dict):
        raise DeniedError("Request: wanted a JSON object, got something else", code="not_json")
    return model


def _data(got: str) -> DeniedError:
    return DeniedError(
        f"Files: wanted a notebook or text, got {got}; data are opened in a notebook with enclave.open(), "
        "results leave by enclave.submit()",
        code="data_file",
    )


def _too_large() -> DeniedError:
    return DeniedError(f"Files: wanted at most {MAX_TEXT // 1_000_000} MB, got more", code="file_too_large")


def _kernel(got: str) -> DeniedError:
    return DeniedError(f"Kernels: wanted {KERNEL_NAME} and nothing more, got {got}", code="foreign_kernel")
