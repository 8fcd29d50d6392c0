"""Loads, when it is imported, the network that looks for text in pixels, so that no worker of a pool has to."""

from __future__ import annotations

import contextlib

from enclave.detectors.pixel_text.network import open_network

with contextlib.suppress(Exception):  # the worker that needs it tries again and says what is wrong with it
    open_network().warm()
