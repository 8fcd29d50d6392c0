"""The determination as a document: canonical JSON, bound to one content root, signed detached with Ed25519.

Pure. Source of what it must hold: 45 CFR 164.514(b)(1) (methods and results that justify the determination).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from enclave.core.canonical import canonical_bytes, parse_canonical
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import IntegrityError, InvalidError
from enclave.core.ids import VersionName, check_name, check_principal, check_token_id
from enclave.wire.messages.schema import Json, from_json, to_json

SCHEMA: Final = "enclave-determination-v1"
ALGORITHM: Final = "Ed25519"
WEBAUTHN: Final = "WebAuthn"
ALGORITHMS: Final = (ALGORITHM, WEBAUTHN)
ANY_PROJECT: Final = "*"
ANY_PURPOSE: Final = "*"
COUNTER_SCHEMA: Final = "enclave-countersignature-v1"
_ROOT = re.compile(r"[0-9a-f]{64}")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_ALLOWED: Final = frozenset("\n\t\u200c\u200d")  # the last two join letters of scripts that need it


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """Who determines: a person with appropriate knowledge, and why they count as one."""

    principal: str
    name: str
    qualification: str
    independence: str
    engagement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTerms:
    """To whom and how: ``recipients`` are project names, ``*`` stands for every project of the enclave."""

    model: str
    recipients: tuple[str, ...]
    purposes: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One determination. Times are RFC 3339 UTC; sections of type Json hold counts, measures and words, no values.

    ``column_roles`` maps table.column to its role, ``deidentification`` holds the DICOM options really run and the
    hashes of recipe and software, ``methods`` all parameters, ``results`` the measures before and after.
    """

    schema: str = SCHEMA
    id: str
    dataset: str
    version: int
    content_root: str
    expert: Expert
    steward: str
    release: ReleaseTerms
    drafted: str
    not_before: str
    expires: str
    counts: Json = field(default_factory=dict)
    column_roles: Json = field(default_factory=dict)
    deidentification: Json = field(default_factory=dict)
    assumptions: Json = field(default_factory=dict)
    methods: Json = field(default_factory=dict)
    results: Json = field(default_factory=dict)
    quality: Json = field(default_factory=dict)
    thresholds: Json = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    supersedes: str | None = None
    revocation: str = "ask the registry of the enclave; leases end within 5 s of a revocation"
    countersignature: Json = None  # never in the text: ``steward`` gives it detached, over text and signature

    @property
    def name(self) -> VersionName:
        """The version it speaks about."""
        return VersionName(self.dataset, self.version)

    def covers(self, project: str) -> bool:
        """Whether the release terms name this project."""
        return project in self.release.recipients or ANY_PROJECT in self.release.recipients

    def covers_purpose(self, purpose: str) -> bool:
        """Whether the release terms name this purpose, word for word as the project was made with."""
        return purpose in self.release.purposes or ANY_PURPOSE in self.release.purposes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A detached signature: ``Ed25519`` with a raw key, or ``WebAuthn`` with a COSE key and a packed assertion."""

    public_key: bytes
    value: bytes
    algorithm: str = ALGORITHM


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """The canonical text and, once signed, the expert's signature and then the data steward's."""

    text: bytes
    signature: Signature | None = None
    countersignature: Signature | None = None


def countersigned_bytes(text: bytes, signature: Signature) -> bytes:
    """What the data steward signs: this text, and this signature of the expert under it."""
    return canonical_bytes(
        {
            "schema": COUNTER_SCHEMA,
            "digest": hashlib.sha256(text).hexdigest(),
            "signature": _part(signature),
        }
    )


def certificate_text(certificate: Certificate) -> bytes:
    """The canonical bytes that are shown, hashed and signed; raises ``InvalidError`` for an incomplete one."""
    return canonical_bytes(to_json(check_certificate(certificate)))


def parse_certificate(text: bytes) -> Certificate:
    """The certificate in ``text``; refuses every other spelling of the same content."""
    return check_certificate(from_json(Certificate, parse_canonical(text)))


def check_certificate(certificate: Certificate) -> Certificate:
    """Raises ``InvalidError`` when a part that the determination must state has not its form."""
    if certificate.schema != SCHEMA:
        raise InvalidError(f"certificate: wanted schema {SCHEMA}, got another; it was made by another release")
    check_token_id(certificate.id, what="certificate id")
    check_name(certificate.dataset, what="dataset")
    if certificate.version < 1 or not _ROOT.fullmatch(certificate.content_root):
        raise InvalidError("certificate: wanted a version number and a content root of 64 hex digits, got others")
    check_principal(certificate.expert.principal)
    check_principal(certificate.steward)
    words = (certificate.expert.name, certificate.expert.qualification, certificate.expert.independence)
    if not all(word.strip() for word in words):
        raise InvalidError("certificate expert: wanted name, qualification and independence statement, got a blank")
    if not certificate.release.recipients:
        raise InvalidError("certificate release: wanted at least one recipient project, got none")
    if certificate.supersedes is not None:
        check_token_id(certificate.supersedes, what="superseded certificate id")
    if certificate.countersignature is not None:
        raise InvalidError("certificate: wanted the counter-signature beside the text, got a claim of one in it")
    _check_times(certificate)
    _check_readable(to_json(certificate))
    return certificate


def _is_readable(text: str) -> bool:
    """Whether what people see of ``text`` is what it says: no character that hides, turns the direction or steers."""
    return all(c in _ALLOWED or unicodedata.category(c) not in _UNSEEN for c in text)


def _check_readable(value: Json) -> None:
    texts: list[Json] = [value]
    while texts:
        one = texts.pop()
        if isinstance(one, dict):
            texts += [*one, *one.values()]
        elif isinstance(one, list):
            texts += one
        elif isinstance(one, str) and not _is_readable(one):
            raise InvalidError(
                "certificate: wanted text that shows what it says, got characters that hide or turn text; type it anew"
            )


def _check_times(certificate: Certificate) -> None:
    for text in (certificate.drafted, certificate.not_before, certificate.expires):
        if format_time(parse_time(text)) != text:
            raise InvalidError("certificate time: wanted RFC 3339 in UTC with microseconds, got another spelling")
    if certificate.not_before >= certificate.expires:
        raise InvalidError("certificate: wanted not_before earlier than expires, got the reverse")


def in_time(certificate: Certificate, at: datetime) -> str:
    """``ok``, ``not_yet_valid`` or ``expired`` at ``at``; the end is exclusive."""
    if at < parse_time(certificate.not_before):
        return "not_yet_valid"
    return "expired" if at >= parse_time(certificate.expires) else "ok"


def pack(signed: SignedCertificate) -> bytes:
    """The file form: one canonical JSON ``{certificate[, signature[, countersignature]]}`` without a final newline."""
    document: dict[str, Json] = {"certificate": parse_canonical(signed.text)}
    if signed.signature is not None:
        document["signature"] = _part(signed.signature)
        if signed.countersignature is not None:
            document["countersignature"] = _part(signed.countersignature)
    return canonical_bytes(document)


def unpack(data: bytes) -> SignedCertificate:
    """The reverse of ``pack``; raises ``IntegrityError`` when a single byte is not as ``pack`` writes it."""
    try:
        document = parse_canonical(data)
        if not isinstance(document, dict) or tuple(sorted(document)) not in _PARTS:
            raise InvalidError("certificate file: wanted a certificate and its signatures, got other parts")
        text = canonical_bytes(document["certificate"])
        parse_certificate(text)
        return SignedCertificate(text, *(_signature(document.get(name)) for name in ("signature", "countersignature")))
    except InvalidError as error:
        raise IntegrityError(
            f"certificate file: wanted the bytes that were written, got others ({error.message})", code="altered"
        ) from None


_PARTS: Final = (
    ("certificate",),
    ("certificate", "signature"),
    ("certificate", "countersignature", "signature"),
)


def _part(signature: Signature) -> dict[str, Json]:
    return {
        "algorithm": signature.algorithm,
        "public_key": encode(signature.public_key),
        "value": encode(signature.value),
    }


def signature_from_text(text: str) -> Signature:
    """The reverse of ``signature_text``; raises ``InvalidError``."""
    found = _signature(parse_canonical(text.encode("utf-8")))
    if found is None:
        raise InvalidError("signature: wanted algorithm, public_key and value, got none")
    return found


def signature_text(signature: Signature) -> str:
    """A signature as canonical JSON, as it stands in files and in the registry."""
    return canonical_bytes(_part(signature)).decode("utf-8")


def _signature(part: Json) -> Signature | None:
    if part is None:
        return None
    if not isinstance(part, dict) or set(part) != {"algorithm", "public_key", "value"}:
        raise InvalidError("certificate signature: wanted algorithm, public_key and value, got others")
    if part["algorithm"] not in ALGORITHMS:
        raise InvalidError(f"certificate signature: wanted one of {', '.join(ALGORITHMS)}, got another algorithm")
    return Signature(public_key=decode(part["public_key"]), value=decode(part["value"]), algorithm=part["algorithm"])


def encode(data: bytes) -> str:
    """Base64 as in all our documents."""
    return base64.b64encode(data).decode("ascii")


def decode(text: Json) -> bytes:
    """Base64 with its one spelling; raises ``InvalidError`` for a second one."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidError("base64: wanted base64, got something else") from None
    if encode(data) != text:
        raise InvalidError("base64: wanted the canonical spelling, got another one")
    return data
