"""Decodes compressed pixel data in another process, which may crash, hang or want too much: then the file is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from enclave.deid.decoder_process import DONE, FRAME, HEAD
from enclave.deid.fork_client import Answer, client_of, is_confined
from enclave.deid.pixel_form import Array, PixelForm
from enclave.deid.reasons import Quarantined

_SERVER = "enclave.deid.decoder_process"
_SILENCE_SECONDS = 300.0  # without a byte: the decoder hangs


def decoded_frames(value: Iterable[memoryview], *, form: PixelForm, syntax: str) -> Iterator[Array]:
    """The frames of an encapsulated value as the decoder gives them, at most one more than declared.

    Raises ``Quarantined`` for bytes that no decoder takes, for a decoder that dies, hangs or takes too much memory, and
    (``decoders_unconfined``) for every value where decoders cannot be confined.
    """
    try:
        with client_of(_SERVER).answer(_request(form, syntax), value=value) as answer:
            while (frame := _frame(answer, form)) is not None:
                yield frame
    except OSError:
        raise Quarantined("pixels_undecodable") from None


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


def _frame(answer: Answer, form: PixelForm) -> Array | None:
    head = bytearray(HEAD.size)
    _fill(answer, memoryview(head))
    word, kind, size, rows, columns, samples = HEAD.unpack(head)
    if word == DONE:
        return None
    same = (rows, columns, samples, size * 8) == (form.rows, form.columns, form.samples, form.bits)
    if word != FRAME or not same or kind not in (b"u", b"i", b"b"):
        raise Quarantined("pixels_undecodable")
    frame = np.empty((rows, columns, samples), np.dtype(f"{kind.decode()}{size}"))
    _fill(answer, frame.reshape(-1).view(np.uint8).data)
    return frame


def _fill(answer: Answer, target: memoryview) -> None:
    while target:
        got = answer.read_into(target, seconds=_SILENCE_SECONDS)
        if not got:
            raise Quarantined("pixels_undecodable")
        target = target[got:]


def are_confined() -> bool:
    """Whether decoders run under their filter on this machine; where not, nothing compressed is decoded."""
    return is_confined(_SERVER)
