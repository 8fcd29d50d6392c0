"""Does a signed determination hold, here, now, for this content? One function, seven reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from enclave.core.clock import parse_time
from enclave.core.errors import DeniedError, EnclaveError, IntegrityError
from enclave.determination.certificate import Certificate, SignedCertificate, in_time, parse_certificate, unpack
from enclave.determination.trust import TrustedExpert
from enclave.keys.verify import verify_ed25519

Reason = Literal["ok", "altered", "expired", "not_yet_valid", "revoked", "other_root", "untrusted_expert"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
_DENIALS: Final = frozenset({"expired", "not_yet_valid", "revoked"})


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
        raise family(f"certificate: wanted a valid one, got {self.reason.replace('_', ' ')}", code=self.reason)


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
    if signed.signature is None or signed.public_key is None:
        return "untrusted_expert"  # nobody signed it
    if not verify_ed25519(signed.public_key, signed.text, signed.signature):
        return "altered"
    if not any(_is_signer(expert, certificate, signed.public_key, at) for expert in trusted):
        return "untrusted_expert"
    if content_root is not None and certificate.content_root != content_root:
        return "other_root"
    if version is not None and str(certificate.name) != version:
        return "other_root"
    if certificate.id in revoked:
        return "revoked"
    found = in_time(certificate, at)
    return "expired" if found == "expired" else "not_yet_valid" if found == "not_yet_valid" else "ok"


def _is_signer(expert: TrustedExpert, certificate: Certificate, public_key: bytes, at: datetime) -> bool:
    return (
        expert.public_key == public_key
        and expert.principal in ("", certificate.expert.principal)
        and (not expert.not_before or parse_time(expert.not_before) <= at)
        and (not expert.not_after or at < parse_time(expert.not_after))
    )
