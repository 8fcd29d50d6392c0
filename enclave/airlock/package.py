"""What leaves: a zip with the files and a manifest that the airlock signed."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import io
import os
import zipfile
from collections.abc import Callable

from enclave.airlock.states import NEEDED_APPROVALS
from enclave.airlock.store import Record
from enclave.core.canonical import canonical_bytes
from enclave.keys.sign import Signer

SIGNED_CONTEXT = b"enclave egress manifest v1\n"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows; the manifest holds the real time


def make_manifest(record: Record, *, released: str, public_key: bytes) -> bytes:
    """The canonical manifest of a request that is released: digests and the decision, no names of checkers."""
    return canonical_bytes(
        {
            "format": "enclave-egress-1",
            "request": record.id,
            "round": record.round,
            "project": record.project,
            "author": record.author,
            "decision": {"outcome": "approved", "approvals": NEEDED_APPROVALS},
            "released": released,
            "files": [{"name": f.name, "sha256": f.sha256, "size_bytes": f.size_bytes} for f in record.text.files],
            "public_key": base64.b64encode(public_key).decode("ascii"),
        }
    )


def sign_manifest(manifest: bytes, signer: Signer) -> str:
    """The base64 Ed25519 signature over the manifest, bound to its purpose."""
    return base64.b64encode(signer.sign(SIGNED_CONTEXT + manifest)).decode("ascii")


def manifest_digest(manifest: str) -> str:
    """The SHA-256 of a manifest in hex, as events name it."""
    return hashlib.sha256(manifest.encode("utf-8")).hexdigest()


def package_name(record: Record) -> str:
    """The file name of the package; it tells the request and nothing else."""
    return f"egress-{record.id[:12]}.zip"


def build_package(record: Record, read: Callable[[str], bytes]) -> bytes:
    """The zip: ``files/NAME`` each, ``manifest.json`` and ``manifest.sig``; the same bytes each time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as package:
        for file in record.text.files:
            package.writestr(_entry(f"files/{file.name}"), read(file.sha256))
        package.writestr(_entry("manifest.json"), record.text.manifest.encode("utf-8"))
        package.writestr(_entry("manifest.sig"), record.text.signature.encode("ascii"))
    return out.getvalue()


def as_memory(content: bytes, *, name: str) -> int:
    """A sealed, read-only memory descriptor with ``content``; the caller closes it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        _seal(fd)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def _seal(fd: int) -> None:
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.external_attr = 0o600 << 16
    return info
