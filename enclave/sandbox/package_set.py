"""A package set for kernels: its name and version, its lock, the devices that it may see. Pure.

A set is described by ``kernels/envs/NAME.toml`` and pinned by a lock in the format of pip's ``--require-hashes``
(pip's documentation, "Secure installs"), in which every requirement is ``name==version`` with SHA-256 hashes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from enclave.core.errors import InvalidError
from enclave.core.ids import check_name
from enclave.core.settings import build

# Device nodes of graphics processors only: everything else of /dev stays outside whatever a description says.
_DEVICE = re.compile(
    r"/dev/(nvidia(?:[0-9]{1,3}|ctl|-uvm|-uvm-tools|-modeset|-caps/nvidia-cap[0-9]{1,3})|dri/renderD[0-9]{1,3}|kfd)"
)
_PINNED = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[A-Za-z0-9,._-]+\])?==([A-Za-z0-9.!+_-]+)(?: *;[^\\]*)?(?: *\\)?"
)
_HASH = re.compile(r"\s+--hash=sha256:([0-9a-f]{64})(?: *\\)?")
_WHEEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9._]*)-([A-Za-z0-9.!+_]+)(?:-[0-9][^-]*)?-[^-]+-[^-]+-[^-]+\.whl")


@dataclass(frozen=True, slots=True, order=True)
class SetName:
    """``NAME@3``: one immutable version of a package set."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> SetName:
        """Reads ``NAME@3``; raises ``InvalidError``."""
        name, sep, number = text.partition("@")
        if not sep or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
            raise InvalidError("package set: wanted NAME@NUMBER such as default@1, got another form")
        return cls(check_name(name, what="package set"), int(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gpu:
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    name: str
    version: int
    lock: str
    title: str = ""
    gpu: _Gpu = field(default_factory=_Gpu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One TOML file. ``lock`` is a path relative to the checkout; ``devices`` are what a kernel sees of a GPU."""

    name: SetName
    title: str
    lock: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lock:
    """``(normalised name, version)`` → the SHA-256 digests (hex) that a wheel of it may have."""

    hashes: Mapping[tuple[str, str], frozenset[str]]

    def check_wheel(self, filename: str, *, sha256: str) -> tuple[str, str]:
        """The name and version of a wheel that this lock allows; raises ``InvalidError`` for every other file."""
        found = _WHEEL.fullmatch(filename)
        if found is None:
            raise InvalidError("package set: wanted wheels only, got another file among them", code="not_a_wheel")
        key = (normalised(found[1]), found[2])
        if key not in self.hashes:
            raise InvalidError(f"package set: wanted wheels of the lock only, got one of {key[0]}", code="not_locked")
        if sha256 not in self.hashes[key]:
            words = f"package set: wanted a wheel of {key[0]} with a hash of the lock, got other bytes"
            raise InvalidError(words, code="wrong_hash")
        return key


def parse_description(text: str) -> Description:
    """The set that a TOML document describes; raises ``InvalidError`` naming the key."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"package set: wanted TOML, got a syntax error: {error}") from None
    found = build(_Document, document, where="package set")
    name = SetName.parse(f"{found.name}@{found.version}")
    if not all(_DEVICE.fullmatch(device) for device in found.gpu.devices):
        raise InvalidError(
            "package set: wanted device nodes of graphics processors in [gpu], got another; "
            "such as /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm, /dev/dri/renderD128, /dev/kfd"
        )
    return Description(name=name, title=found.title, lock=found.lock, devices=found.gpu.devices)


def parse_lock(text: str) -> Lock:
    """The pins of a lock; raises ``InvalidError`` with the number of a line that pins nothing or has no hash."""
    hashes: dict[tuple[str, str], set[str]] = {}
    current: tuple[str, str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pinned, digest = _PINNED.fullmatch(line), _HASH.fullmatch(line)
        if pinned is not None:
            _check_hashed(hashes, current)
            current = (normalised(pinned[1]), pinned[2])
            if current in hashes:
                raise InvalidError(f"lock, line {number}: wanted each package once per version, got it again")
            hashes[current] = set()
        elif digest is not None and current is not None:
            hashes[current].add(digest[1])
        else:
            raise InvalidError(
                f"lock, line {number}: wanted name==version and --hash=sha256:… lines only, got something else"
            )
    _check_hashed(hashes, current)
    if not hashes:
        raise InvalidError("lock: wanted pinned packages, got none")
    return Lock(MappingProxyType({key: frozenset(found) for key, found in hashes.items()}))


def normalised(name: str) -> str:
    """A package's name as indexes compare it (PyPA, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _check_hashed(hashes: Mapping[tuple[str, str], set[str]], key: tuple[str, str] | None) -> None:
    if key is not None and not hashes[key]:
        raise InvalidError(f"lock: wanted SHA-256 hashes for {key[0]}, got none")
