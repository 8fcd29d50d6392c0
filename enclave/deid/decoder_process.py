"""The process in which compressed pixel data are decoded: ``python -m enclave.deid.decoder_process FD``.

Decoders are C and C++ over hostile bytes. Each value is decoded by a fork that has its bytes, a pipe, and limits of
memory and time; it ends with the value. What it does to itself harms neither the asking process nor the next value.
Forked from a process that has loaded everything and seen nothing, so that one takes milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from enclave.deid.quiet import quiet_parsing

MAX_REQUEST = 4096
FRAME, DONE = b"F", b"D"
HEAD = struct.Struct("<cc4L")  # what follows, its kind of number, bytes of a number, rows, columns, samples
_MEMORY = 1792 << 20  # bytes beyond what the process has when it begins: a file may not take the machine's
_SECONDS = 600
_LIBRARIES = ("gdcm", "openjpeg", "jpeg_ls", "pylibjpeg", "PIL.Image")  # loaded once, not in each fork
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def main() -> None:
    """Serves requests until the other end of the socket is closed."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    own = os.getpid()
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    while True:
        data, fds, _, _ = socket.recv_fds(asked, MAX_REQUEST, 2)
        if not data or len(fds) != 2:
            return
        if os.fork() == 0:
            _limit(own)
            asked.close()
            status = 1
            with contextlib.suppress(BaseException):
                decode(json.loads(data), value=fds[0], answer=fds[1])
                status = 0
            os._exit(status)
        for fd in fds:
            os.close(fd)


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


def _limit(parent: int) -> None:
    """A fork ends with its parent, writes no byte to a file, and takes no more than it may."""
    library = ctypes.CDLL(None)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    now = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, now + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(_SECONDS)


if __name__ == "__main__":
    main()
