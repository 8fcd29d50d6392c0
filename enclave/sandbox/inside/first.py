"""Pid 1 of a sandbox: sets the limits, becomes unreadable, starts the program and buries what it leaves behind.

bwrap's own pid 1 would do the last part, but its memory is open to every process of the same uid (/proc/1/mem).
Standard library only. ``first.py NAME=VALUE... -- SCRIPT.py WORDS...`` or ``... -- -m MODULE WORDS...``
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import signal
import sys

_PR_SET_DUMPABLE = 4


def limit(words: list[str]) -> None:
    """Sets limits given as ``name=value``; hard ones, which code in here cannot raise again."""
    for word in words:
        name, _, value = word.partition("=")
        number = int(value)
        which = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(which)
        number = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(which, (number, number))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def bury(program: int) -> int:
    """Waits for every child until ``program`` ends; its exit code as a shell would say it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main() -> None:
    """See above. The program is forked, not executed anew, so it stays unreadable too."""
    cut = sys.argv.index("--")
    limit(sys.argv[1:cut])
    words = sys.argv[cut + 1 :]
    program = os.fork()
    if program:
        os._exit(bury(program))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
