"""A store with its keys, and a way to seal into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enclave.core.ids import VersionName
from enclave.keys.files import new_x25519
from enclave.keys.uri import file_uri
from enclave.keys.wrap import Wrapper, open_wrapper
from enclave.sealed.reader import OpenVersion, Unwrapper, open_unwrapper, open_version
from enclave.sealed.store import SealedStore
from enclave.sealed.writer import PlainObject, SealedVersion, seal_version

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class SealedStand:
    """A sealed store in a temporary folder with both halves of a key-encryption key."""

    store: SealedStore
    wrapper: Wrapper
    unwrapper: Unwrapper

    def seal(self, *objects: PlainObject, dataset: str = "demo-ct") -> SealedVersion:
        """Seals ``objects`` as the next version."""
        return seal_version(self.store, dataset=dataset, objects=objects, wrapper=self.wrapper, at=AT)

    def open(self, version: int = 1, dataset: str = "demo-ct") -> OpenVersion:
        """Opens one version."""
        return open_version(self.store, VersionName(dataset, version), unwrapper=self.unwrapper)


@pytest.fixture
def sealed(tmp_path: Path) -> SealedStand:
    """An empty store."""
    new_x25519(tmp_path / "kek.key")
    return SealedStand(
        SealedStore(tmp_path / "sealed"),
        open_wrapper(file_uri(tmp_path / "kek.pub")),
        open_unwrapper(file_uri(tmp_path / "kek.key")),
    )


@pytest.fixture
def table() -> Callable[..., PlainObject]:
    """Makes table objects whose bytes begin as Arrow files do."""

    def make(name: str = "patients", rows: bytes = b"rows") -> PlainObject:
        return PlainObject(name=f"tables/{name}", kind="table", header={"rows": 3}, chunks=[b"ARROW1", rows].__iter__)

    return make
