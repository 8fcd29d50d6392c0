"""Decodes compressed pixel data in another process, which may crash, hang or want too much: then the file is held."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from enclave.deid.decoder_process import DONE, FRAME, HEAD
from enclave.deid.fork_client import client_of, is_confined
from enclave.deid.pixel_form import Array, PixelForm
from enclave.deid.reasons import Quarantined

_SERVER = "enclave.deid.decoder_process"
_SILENCE_SECONDS = 300.0  # without a byte: the decoder hangs
_PIPE_BYTES = 1 << 20


def decoded_frames(value: Iterable[memoryview], *, form: PixelForm, syntax: str) -> Iterator[Array]:
    """The frames of an encapsulated value as the decoder gives them, at most one more than declared.

    Raises ``Quarantined`` for bytes that no decoder takes, for a decoder that dies, hangs or takes too much memory, and
    (``decoders_unconfined``) for every value where decoders cannot be confined.
    """
    reader, writer = os.pipe()
    try:
        with os.fdopen(os.memfd_create("value", os.MFD_CLOEXEC), "w+b") as file:
            for piece in value:
                file.write(piece)
            file.flush()
            file.seek(0)
            client_of(_SERVER).ask(_request(form, syntax), fds=(file.fileno(), writer))
        os.close(writer)
        writer = -1
        with contextlib.suppress(OSError):
            fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        while (frame := _frame(reader, form)) is not None:
            yield frame
    except OSError:
        raise Quarantined("pixels_undecodable") from None
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def _request(form: PixelForm, syntax: str) -> dict[str, Any]:
    return {
        "syntax": syntax,
        "rows": form.rows,
        "columns": form.columns,
        "number_of_frames": form.frames,
        "samples_per_pixel": form.samples,
        "bits_allocated": form.bits,
        "bits_stored": form.stored,
        "pixel_representation": int(form.signed),
        "photometric_interpretation": form.photometric,
        "planar_configuration": int(form.by_plane),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OB",
    }


def _frame(reader: int, form: PixelForm) -> Array | None:
    head = bytearray(HEAD.size)
    _fill(reader, memoryview(head))
    word, kind, size, rows, columns, samples = HEAD.unpack(head)
    if word == DONE:
        return None
    same = (rows, columns, samples, size * 8) == (form.rows, form.columns, form.samples, form.bits)
    if word != FRAME or not same or kind not in (b"u", b"i", b"b"):
        raise Quarantined("pixels_undecodable")
    frame = np.empty((rows, columns, samples), np.dtype(f"{kind.decode()}{size}"))
    _fill(reader, frame.reshape(-1).view(np.uint8).data)
    return frame


def _fill(reader: int, target: memoryview) -> None:
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    while target:
        if not waiting.poll(_SILENCE_SECONDS * 1000):
            client_of(_SERVER).end()
            raise Quarantined("pixels_undecodable")
        got = os.readv(reader, [target])
        if not got:
            raise Quarantined("pixels_undecodable")
        target = target[got:]


def are_confined() -> bool:
    """Whether decoders run under their filter on this machine; where not, nothing compressed is decoded."""
    return is_confined(_SERVER)
