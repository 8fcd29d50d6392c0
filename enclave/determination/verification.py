"""Does a signed determination hold, here, now, for this content? One function, seven reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from enclave.core.clock import parse_time
from enclave.core.errors import DeniedError, EnclaveError, IntegrityError
from enclave.determination.certificate import (
    WEBAUTHN,
    Certificate,
    Signature,
    SignedCertificate,
    countersigned_bytes,
    in_time,
    parse_certificate,
    unpack,
)
from enclave.determination.trust import TrustedExpert
from enclave.keys.verify import verify_ed25519
from enclave.keys.webauthn import verify_over

Reason = Literal["ok", "altered", "expired", "not_yet_valid", "revoked", "other_root", "untrusted_expert"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
_DENIALS: Final = frozenset({"expired", "not_yet_valid", "revoked"})
_WHAT_TO_DO: Final[dict[Reason, str]] = {
    "altered": "it is not as it was signed; get the file from its expert again",
    "expired": "ask its expert for a new determination",
    "not_yet_valid": "wait for the time from which it holds",
    "revoked": "nothing may rest on it any more; ask its expert",
    "other_root": "it is about other content than the one that was named",
    "untrusted_expert": "nobody on the list of trusted experts has signed it; give the right list as --trust",
}


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer; ``expires`` is RFC 3339, None when the document could not be read."""

    valid: bool
    reason: Reason
    expires: str | None
    certificate: Certificate | None = None

    def check(self) -> None:
        """Raises ``DeniedError`` (time, revocation) or ``IntegrityError`` (altered, other root, untrusted)."""
        if self.valid:
            return
        family: type[EnclaveError] = DeniedError if self.reason in _DENIALS else IntegrityError
        told = f"certificate: wanted a valid one, got {self.reason.replace('_', ' ')}; {_WHAT_TO_DO[self.reason]}"
        raise family(told, code=self.reason)


def verify_file(
    data: bytes,
    *,
    content_root: str | None,
    version: str | None = None,
    trusted: Iterable[TrustedExpert],
    revoked: frozenset[str],
    at: datetime,
) -> Verification:
    """As ``verify``, of a certificate file; what cannot be read is ``altered``."""
    try:
        signed = unpack(data)
    except IntegrityError:
        return Verification(valid=False, reason="altered", expires=None)
    return verify(signed, content_root=content_root, version=version, trusted=trusted, revoked=revoked, at=at)


def verify(
    signed: SignedCertificate,
    *,
    content_root: str | None,
    version: str | None = None,
    trusted: Iterable[TrustedExpert],
    revoked: frozenset[str],
    at: datetime,
) -> Verification:
    """The first reason that speaks against it, in this order: altered, untrusted, other root, revoked, time.

    ``content_root`` (64 hex digits) and ``version`` (NAME@V) are what the asker holds in the hand; None asks
    nothing about it. ``trusted`` is the list of trusted experts, ``revoked`` the ids of revoked certificates.
    """
    try:
        certificate = parse_certificate(signed.text)
    except EnclaveError:
        return Verification(valid=False, reason="altered", expires=None)
    reason = _first_reason(
        signed, certificate, content_root=content_root, version=version, trusted=trusted, revoked=revoked, at=at
    )
    return Verification(valid=reason == "ok", reason=reason, expires=certificate.expires, certificate=certificate)


def _first_reason(
    signed: SignedCertificate,
    certificate: Certificate,
    *,
    content_root: str | None,
    version: str | None,
    trusted: Iterable[TrustedExpert],
    revoked: frozenset[str],
    at: datetime,
) -> Reason:
    if signed.signature is None:
        return "untrusted_expert"  # nobody signed it
    if not signature_holds(signed.signature, signed.text):
        return "altered"
    counter = signed.countersignature
    if counter is not None and not signature_holds(counter, countersigned_bytes(signed.text, signed.signature)):
        return "altered"
    who = certificate.expert.principal
    if not trusts(trusted, who, role="expert", public_key=signed.signature.public_key, at=at):
        return "untrusted_expert"
    if content_root is not None and certificate.content_root != content_root:
        return "other_root"
    if version is not None and str(certificate.name) != version:
        return "other_root"
    if certificate.id in revoked:
        return "revoked"
    found = in_time(certificate, at)
    return "expired" if found == "expired" else "not_yet_valid" if found == "not_yet_valid" else "ok"


def signature_holds(signature: Signature, message: bytes) -> bool:
    """Whether ``signature`` is over exactly ``message`` by the owner of the key that it names; whose key it is, is not
    asked here."""
    if signature.algorithm == WEBAUTHN:
        return verify_over(signature.public_key, message, signature.value)
    return verify_ed25519(signature.public_key, message, signature.value)


def trusts(trusted: Iterable[TrustedExpert], principal: str, *, role: str, public_key: bytes, at: datetime) -> bool:
    """Whether the list has this key for this person in this role (expert | data_steward) at ``at``.

    A key that was removed is there for no time, also not for one before.
    """
    return any(
        one.public_key == public_key
        and not one.removed
        and one.role == role
        and one.principal in ("", principal)
        and (not one.not_before or parse_time(one.not_before) <= at)
        and (not one.not_after or at < parse_time(one.not_after))
        for one in trusted
    )


def countersigned(signed: SignedCertificate, *, trusted: Iterable[TrustedExpert], at: datetime) -> bool:
    """Whether the data steward named in the text has countersigned it with a key that the list has for them."""
    counter = signed.countersignature
    if counter is None or signed.signature is None:
        return False
    if not signature_holds(counter, countersigned_bytes(signed.text, signed.signature)):
        return False
    steward = parse_certificate(signed.text).steward
    return trusts(trusted, steward, role="data_steward", public_key=counter.public_key, at=at)
