"""Loads, when it is imported, the network that looks for text in pixels, so that no worker of a pool has to."""

from __future__ import annotations

import contextlib

from enclave.core.errors import EnclaveError
from enclave.detectors.pixel_text.network import open_network

with contextlib.suppress(EnclaveError):  # the worker that needs it says what is wrong with it
    open_network().warm()
