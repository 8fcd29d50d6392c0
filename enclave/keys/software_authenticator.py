"""A security key in a file, for shells without a browser: it answers as a browser would, and is checked the same way.

Worth what the file is worth: whoever reads it can confirm. For demonstrations and unattended tests of a site.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

from enclave.core.errors import ConflictError, DeniedError, IntegrityError, NotFoundError
from enclave.keys.webauthn import encode_url

AAGUID: Final = b"enclave-software"  # 16 bytes: pages can say what kind of key it is
_FLAGS: Final = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV


class SoftwareAuthenticator:
    """One key in one file of its owner (0600). ``register`` and ``confirm`` take a browser's options (JSON form)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = path.stat()
            model = json.loads(path.read_text("utf-8"))
            self._id = base64.b64decode(model["id"], validate=True)
            key = serialization.load_der_private_key(base64.b64decode(model["key"], validate=True), password=None)
            self._count = int(model["count"])
        except FileNotFoundError:
            raise NotFoundError(f"authenticator {path.name}: wanted a file, got none; enrol one first") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise IntegrityError(f"authenticator {path.name}: wanted the file that was made, got another") from None
        if found.st_mode & 0o077 or found.st_uid != os.getuid():
            raise DeniedError(
                f"authenticator {path.name}: wanted it readable by its owner only, got others", code="key_exposed"
            )
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IntegrityError(f"authenticator {path.name}: wanted a P-256 key, got another")
        self._key = key

    @classmethod
    def make(cls, path: Path) -> SoftwareAuthenticator:
        """A new key; raises ``ConflictError`` when the file exists."""
        key = ec.generate_private_key(ec.SECP256R1())
        encoded = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            raise ConflictError(f"authenticator {path.name}: wanted a new file, got one that exists") from None
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            model = {"id": _text(secrets.token_bytes(32)), "key": _text(encoded), "count": 0}
            json.dump(model, file)
        return cls(path)

    def register(self, options: dict[str, Any], *, origin: str) -> dict[str, Any]:
        """The answer to ``navigator.credentials.create``."""
        public = ES256.from_cryptography_key(self._key.public_key())  # type: ignore[no-untyped-call]  # fido2 leaves it so
        attested = AttestedCredentialData.create(Aaguid(AAGUID), self._id, public)
        flags = _FLAGS | AuthenticatorData.FLAG.AT
        data = AuthenticatorData.create(_rp_hash(options["rp"]["id"]), flags, self._next(), attested)
        client = _client(CollectedClientData.TYPE.CREATE, options["challenge"], origin)
        statement = AttestationObject.create("none", data, {})
        return self._answer({"clientDataJSON": encode_url(client), "attestationObject": encode_url(statement)})

    def confirm(self, options: dict[str, Any], *, origin: str) -> dict[str, Any]:
        """The answer to ``navigator.credentials.get``."""
        data = AuthenticatorData.create(_rp_hash(options["rpId"]), _FLAGS, self._next())
        client = _client(CollectedClientData.TYPE.GET, options["challenge"], origin)
        signature = self._key.sign(data + client.hash, ec.ECDSA(hashes.SHA256()))
        parts = {"clientDataJSON": client, "authenticatorData": data, "signature": signature}
        return self._answer({name: encode_url(value) for name, value in parts.items()})

    def _answer(self, response: dict[str, str]) -> dict[str, Any]:
        identity = encode_url(self._id)
        return {
            "id": identity,
            "rawId": identity,
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        }

    def _next(self) -> int:
        """Counts the use before the answer leaves: a count never goes back."""
        self._count += 1
        model = json.loads(self._path.read_text("utf-8"))
        part = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump({**model, "count": self._count}, file)
        part.replace(self._path)
        return self._count


def _client(kind: Any, challenge: str, origin: str) -> CollectedClientData:
    return CollectedClientData.create(type=kind, challenge=challenge, origin=origin)


def _rp_hash(rp_id: str) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(rp_id.encode("ascii"))
    return digest.finalize()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
