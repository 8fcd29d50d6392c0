"""Starts a check program inside its sandbox: limits first, then ``python -m MODULE``."""

from __future__ import annotations

import runpy
import sys

from enclave.sandbox.inside.kernel_main import limit

if __name__ == "__main__":
    module, *limits = sys.argv[1:]
    limit(limits)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
