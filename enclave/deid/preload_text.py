"""Loads, when it is imported, the model that reads running text, so that no worker of a pool has to."""

from __future__ import annotations

import contextlib

from enclave.detectors.model import open_analyzer

with contextlib.suppress(Exception):  # the worker that needs it tries again and says what is wrong with it
    open_analyzer()
