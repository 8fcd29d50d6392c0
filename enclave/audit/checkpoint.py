"""Checkpoints as C2SP tlog-checkpoint: a tree head in a signed note (C2SP signed-note). Pure.

The note is ``origin``, ``size`` and base64 ``root`` on a line each, an empty line, then one line per signature:
``— NAME base64(key id ‖ signature)``. A verifier key is ``NAME+key id in hex+base64(01 ‖ public key)``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from enclave.core.errors import IntegrityError, InvalidError

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]{1,200}")
_SIGNATURE = re.compile(r"— ([^\s+]{1,200}) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], bool]  # (public key, message, signature)


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a checkpoint says: this log had ``size`` records with this ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Whose signatures count: a log's name and its Ed25519 public key (32 bytes)."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that pick the key among several."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Reads the one-line form; raises ``InvalidError``."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decode(encoded)
        if not _NAME.fullmatch(name) or len(raw) != 33 or raw[:1] != _ED25519:
            raise InvalidError("verifier key: wanted NAME+KEYID+BASE64 of an Ed25519 key, got another form")
        key = cls(name, raw[1:])
        if key.key_id.hex() != key_id:
            raise InvalidError("verifier key: wanted the key id that belongs to name and key, got another one")
        return key


def write_checkpoint(head: TreeHead, *, key: VerifierKey, sign: Sign) -> str:
    """The signed note of ``head``."""
    body = _body(head)
    signature = base64.b64encode(key.key_id + sign(body.encode())).decode()
    return f"{body}\n— {key.name} {signature}\n"


def parse_checkpoint(text: str) -> TreeHead:
    """What a note claims, its signature unseen; raises ``IntegrityError`` when it is not a checkpoint."""
    body, sep, _ = text.partition("\n\n")
    lines = body.split("\n")
    if not sep or len(lines) < 3 or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise IntegrityError("checkpoint: wanted origin, size and root, got another form", code="checkpoint_malformed")
    root = _decode(lines[2])
    if len(root) != 32:
        raise IntegrityError("checkpoint: wanted a root of 32 bytes, got another form", code="checkpoint_malformed")
    return TreeHead(lines[0], int(lines[1]), root)


def verify_checkpoint(text: str, *, key: VerifierKey, verify: Verify) -> TreeHead:
    """The head of a note that ``key`` signed for its own log; raises ``IntegrityError`` for any other."""
    head = parse_checkpoint(text)
    body, _, signatures = text.partition("\n\n")
    if head.origin != key.name:
        raise IntegrityError("checkpoint: wanted one of this log, got one of another", code="checkpoint_forged")
    for line in signatures.split("\n"):
        found = _SIGNATURE.fullmatch(line)
        if not found or found.group(1) != key.name:
            continue
        raw = _decode(found.group(2))
        if raw[:4] == key.key_id and verify(key.public_key, f"{body}\n".encode(), raw[4:]):
            return head
    raise IntegrityError("checkpoint: wanted a signature by the log's key, got none", code="checkpoint_forged")


def _body(head: TreeHead) -> str:
    return f"{head.origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n"


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
