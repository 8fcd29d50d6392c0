"""The labextension of the enclave: shows, decides nothing."""

from __future__ import annotations


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "enclave-lab"}]
