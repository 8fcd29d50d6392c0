"""The process in which compressed pixel data are decoded: ``python -m enclave.deid.decoder_process FD``.

Decoders are C and C++ over hostile bytes. Each value is decoded by a fork that has its bytes, a pipe, and the limits
and the filter of a fork server: it opens no file, starts nothing and reaches nobody. It ends with the value.
"""

from __future__ import annotations

import io
import os
import struct
from typing import Any, cast

import numpy as np
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from enclave.deid.fork_server import Limits, serve
from enclave.deid.quiet import quiet_parsing

FRAME, DONE = b"F", b"D"
HEAD = struct.Struct("<cc4L")  # what follows, its kind of number, bytes of a number, rows, columns, samples
_LIMITS = Limits(memory=1792 << 20, seconds=600)  # a file may not take the machine's
_LIBRARIES = ("gdcm", "openjpeg", "jpeg_ls", "pylibjpeg", "PIL.Image")  # loaded once, not in each fork


def main() -> None:
    """Serves requests until the other end of the socket is closed."""
    serve(lambda: decode, limits=_LIMITS, libraries=_LIBRARIES)


def decode(request: dict[str, Any], *, value: int, answer: int) -> None:
    """Writes each frame with its head to ``answer``, at most one more than declared, and a last word."""
    syntax, count = UID(request.pop("syntax")), int(request["number_of_frames"])
    with quiet_parsing(), os.fdopen(value, "rb") as file, os.fdopen(answer, "wb", buffering=0) as pipe:
        source = cast("Any", io.BufferedReader(file.raw))
        sent = 0
        try:
            for frame, _ in get_decoder(syntax).iter_array(source, **request):
                if sent > count:
                    break
                _send(pipe, np.ascontiguousarray(frame))
                sent += 1
        except ValueError:  # of signs that header and codestream disagree on pydicom corrects whole arrays only
            if sent or count != 1:
                raise
            source.seek(0)
            _send(pipe, get_decoder(syntax).as_array(source, index=0, **request)[0])
        pipe.write(HEAD.pack(DONE, b" ", 0, 0, 0, 0))


def _send(pipe: Any, frame: np.ndarray[Any, Any]) -> None:
    rows, columns, samples = (*frame.shape, 1)[:3]
    pipe.write(HEAD.pack(FRAME, frame.dtype.kind.encode(), frame.dtype.itemsize, rows, columns, samples))
    left = frame.reshape(-1).view(np.uint8).data
    while left:
        left = left[pipe.write(left) :]


if __name__ == "__main__":
    main()
