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

ED25519 = 1  # a log's signatures (C2SP signed-note)
COSIGNER = 4  # a witness's timestamped Ed25519 cosignatures (C2SP tlog-cosignature)
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
    """Whose signatures count: a log's or a witness's name and its Ed25519 public key (32 bytes).

    ``algorithm`` is what the key signs with it: checkpoints of its own log, or cosignatures on those of others.
    """

    name: str
    public_key: bytes
    algorithm: int = ED25519

    @property
    def key_id(self) -> bytes:
        """Four bytes that pick the key among several."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed).digest()[:4]

    @property
    def _typed(self) -> bytes:
        return bytes([self.algorithm]) + self.public_key

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self._typed).decode()}"

    @classmethod
    def parse(cls, text: str, *, algorithm: int = ED25519) -> VerifierKey:
        """Reads the one-line form; raises ``InvalidError``, for a key of another algorithm too."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decode(encoded)
        if not _NAME.fullmatch(name) or len(raw) != 33 or raw[0] != algorithm:
            words = {ED25519: "a log's", COSIGNER: "a witness's"}[algorithm]
            raise InvalidError(f"verifier key: wanted NAME+KEYID+BASE64 of {words} Ed25519 key, got another form")
        key = cls(name, raw[1:], algorithm)
        if key.key_id.hex() != key_id:
            raise InvalidError("verifier key: wanted the key id that belongs to name and key, got another one")
        return key


def write_checkpoint(head: TreeHead, *, key: VerifierKey, sign: Sign) -> str:
    """The signed note of ``head``."""
    body = _body(head)
    return f"{body}\n{signature_line(key, sign(body.encode()))}"


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
    if head.origin != key.name:
        raise IntegrityError("checkpoint: wanted one of this log, got one of another", code="checkpoint_forged")
    signed = note_body(text).encode()
    if any(verify(key.public_key, signed, signature) for signature in signatures_by(text, key=key)):
        return head
    raise IntegrityError("checkpoint: wanted a signature by the log's key, got none", code="checkpoint_forged")


def note_body(text: str) -> str:
    """What is signed of a note: its text with the final newline."""
    return text.partition("\n\n")[0] + "\n"


def signatures_by(text: str, *, key: VerifierKey) -> list[bytes]:
    """The signatures on a note that claim to be of ``key``, unverified, without their key ids."""
    found = []
    for line in text.partition("\n\n")[2].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        raw = _decode(match.group(2)) if match and match.group(1) == key.name else b""
        if raw[:4] == key.key_id:
            found.append(raw[4:])
    return found


def signature_line(key: VerifierKey, signature: bytes) -> str:
    """One signature as it stands below a note, with its newline."""
    return f"— {key.name} {base64.b64encode(key.key_id + signature).decode()}\n"


def _body(head: TreeHead) -> str:
    return f"{head.origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n"


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
