"""Security keys: what a browser says of one is checked here, and nowhere else.

Source: W3C Web Authentication Level 3, sections 7.1 (registration) and 7.2 (assertion). Attestation is not asked for:
whose key it is follows from who enrolled it with which code, not from its maker.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
    UserVerificationRequirement,
)

from enclave.core.canonical import canonical_bytes, parse_canonical
from enclave.core.errors import DeniedError, InvalidError

TIMEOUT_MS: Final = 300_000
ALGORITHMS: Final = (-7, -8, -257)  # ES256, EdDSA, RS256: IANA COSE algorithms
_MAX_RESPONSE: Final = 65_536
_ASSERTION: Final = ("authenticator_data", "client_data", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A key that was enrolled: its id, its COSE public key, how often it says it was used, its attested data."""

    id: bytes
    public_key: bytes
    sign_count: int
    attested: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """An assertion that holds: by which key, its count of uses, and what of it proves this to others later."""

    credential: Credential
    sign_count: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The site that keys are made for: ``origin`` is what people open, scheme and port included."""

    origin: str

    @property
    def id(self) -> str:
        """The host name of the origin; keys are bound to it."""
        host = urlsplit(self.origin).hostname
        if not host:
            raise InvalidError("web origin: wanted an address like https://HOST, got another form")
        return host

    def creation_options(self, person: str, *, challenge: bytes, known: Iterable[bytes]) -> dict[str, Any]:
        """What a browser's ``navigator.credentials.create`` takes (JSON form); no ``known`` key twice."""
        user = hashlib.sha256(person.encode("utf-8")).digest()
        return {
            "rp": {"id": self.id, "name": "enclave"},
            "user": {"id": encode_url(user), "name": person, "displayName": person},
            "challenge": encode_url(challenge),
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
            "timeout": TIMEOUT_MS,
            "excludeCredentials": [_descriptor(one) for one in known],
            "authenticatorSelection": {"userVerification": "required", "residentKey": "discouraged"},
            "attestation": "none",
        }

    def request_options(self, *, challenge: bytes, known: Iterable[bytes]) -> dict[str, Any]:
        """What a browser's ``navigator.credentials.get`` takes (JSON form)."""
        return {
            "rpId": self.id,
            "challenge": encode_url(challenge),
            "timeout": TIMEOUT_MS,
            "allowCredentials": [_descriptor(one) for one in known],
            "userVerification": "required",
        }

    def check_registration(self, response: Any, *, challenge: bytes) -> Credential:
        """The new key in a browser's answer; raises ``DeniedError`` (``security_key_invalid``) when a check fails."""
        _check_size(response)
        try:
            found = self._server().register_complete(_state(challenge), response)
            attested = found.credential_data
            if attested is None or attested.public_key.ALGORITHM not in ALGORITHMS:
                raise ValueError
            return Credential(
                id=attested.credential_id,
                public_key=cbor.encode(dict(attested.public_key)),
                sign_count=found.counter,
                attested=bytes(attested),
            )
        except Exception:  # noqa: BLE001 - bytes of a stranger: whatever the parser stumbles over is a refusal
            raise _refused("a registration for this site, person and moment, with the user verified") from None

    def check_assertion(self, response: Any, *, challenge: bytes, credentials: Iterable[Credential]) -> Confirmed:
        """The confirmation in a browser's answer; raises ``DeniedError`` (``security_key_invalid``).

        A count of uses that does not grow is a copied key (section 6.1.1); keys that never count say 0.
        """
        _check_size(response)
        known = {one.id: one for one in credentials}
        try:
            attested = [AttestedCredentialData(one.attested) for one in known.values()]
            used = self._server().authenticate_complete(_state(challenge), attested, response)
            part = response["response"]
            packed = _pack(*(_from_url(part[name]) for name in ("authenticatorData", "clientDataJSON", "signature")))
            counter = AuthenticatorData(_from_url(part["authenticatorData"])).counter
        except Exception:  # noqa: BLE001 - as above
            raise _refused("a confirmation of exactly this by an enrolled key, with the user verified") from None
        credential = known[used.credential_id]
        if (counter or credential.sign_count) and counter <= credential.sign_count:
            raise _refused("a count of uses that grows (the key may have been copied)")
        return Confirmed(credential=credential, sign_count=counter, packed=packed)

    def _server(self) -> Fido2Server:
        entity = PublicKeyCredentialRpEntity(id=self.id, name="enclave")
        return Fido2Server(entity, verify_origin=lambda origin: origin == self.origin)


def verify_over(public_key: bytes, message: bytes, packed: bytes) -> bool:
    """Whether ``packed`` is an assertion by this COSE key over SHA-256 of exactly ``message``; never raises.

    For those who hold the text later: user present and verified, challenge and signature. Which site it was made at
    is checked when it is handed in.
    """
    try:
        parts = parse_canonical(packed)
        if tuple(sorted(parts)) != _ASSERTION:
            return False
        data, client, signature = (base64.b64decode(parts[name], validate=True) for name in _ASSERTION)
        if _pack(data, client, signature) != packed:  # base64 has spare bits: one spelling only
            return False
        told, authenticator = CollectedClientData(client), AuthenticatorData(data)
        if told.type != CollectedClientData.TYPE.GET or told.challenge != hashlib.sha256(message).digest():
            return False
        if not (authenticator.is_user_present() and authenticator.is_user_verified()):
            return False
        decoded = cbor.decode(public_key)
        if not isinstance(decoded, dict):
            return False
        key = CoseKey.parse(decoded)
        if key.ALGORITHM not in ALGORITHMS:
            return False
        key.verify(data + told.hash, signature)
    except Exception:  # noqa: BLE001 - bytes of a stranger
        return False
    return True


def encode_url(data: bytes) -> str:
    """Base64url without padding, as browsers write it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_url(text: Any) -> bytes:
    return base64.urlsafe_b64decode(str(text) + "=" * (-len(str(text)) % 4))


def _pack(data: bytes, client: bytes, signature: bytes) -> bytes:
    found = zip(_ASSERTION, (data, client, signature), strict=True)
    return canonical_bytes({name: base64.b64encode(value).decode("ascii") for name, value in found})


def _descriptor(credential: bytes) -> dict[str, str]:
    return {"type": "public-key", "id": encode_url(credential)}


def _state(challenge: bytes) -> dict[str, Any]:
    return {"challenge": encode_url(challenge), "user_verification": UserVerificationRequirement.REQUIRED}


def _check_size(response: Any) -> None:
    if not isinstance(response, dict) or len(canonical_bytes(response)) > _MAX_RESPONSE:
        raise _refused("the answer of a browser")


def _refused(wanted: str) -> DeniedError:
    return DeniedError(f"security key: wanted {wanted}, got another answer", code="security_key_invalid")
