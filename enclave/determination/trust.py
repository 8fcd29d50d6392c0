"""Whose signature counts: a dated list of expert keys, signed by the registry. Pure: bytes in, list out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from enclave.core.canonical import canonical_bytes, parse_canonical, parse_json
from enclave.core.clock import parse_time
from enclave.core.errors import IntegrityError, InvalidError
from enclave.core.ids import check_principal
from enclave.determination.certificate import decode, encode
from enclave.keys.verify import verify_ed25519
from enclave.wire.messages.schema import Json

SCHEMA: Final = "enclave-trusted-experts-v1"
SIGNING_ROLES: Final = ("expert", "data_steward")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedExpert:
    """One key and whose it is ('' = whoever the certificate names). ``demo`` marks a key that everybody could have.

    ``role`` is what it may sign as: expert, or data_steward for the counter-signature. A key of 32 bytes is Ed25519,
    a longer one the COSE key of a security key. ``removed`` (RFC 3339): when it was taken off the list. It stays there
    so, and no signature of it counts, at whatever time one asks: a stolen key can say that it signed earlier.
    """

    principal: str
    public_key: bytes
    name: str = ""
    not_before: str = ""
    not_after: str = ""
    demo: bool = False
    role: str = "expert"
    removed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustList:
    """The list as it was issued (RFC 3339)."""

    issued: str
    experts: tuple[TrustedExpert, ...]


def pack_trust(trust: TrustList, *, sign: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    """The file form: ``{list, signature}``, the signature over the canonical bytes of ``list``."""
    listed = {"schema": SCHEMA, "issued": trust.issued, "experts": [_expert_to_json(one) for one in trust.experts]}
    part = {"public_key": encode(public_key), "value": encode(sign(canonical_bytes(listed)))}
    return canonical_bytes({"list": listed, "signature": part})


def unpack_trust(data: bytes, *, issuer: bytes | None) -> TrustList:
    """The list in ``data``; ``issuer`` is the key that must have signed it (None: the one it names itself).

    Raises ``IntegrityError`` when the signature is not of that key over these bytes.
    """
    try:
        document = parse_canonical(data)
        listed, part = document["list"], document["signature"]
        public_key, signature = decode(part["public_key"]), decode(part["value"])
        experts = tuple(_expert_from_json(one) for one in listed["experts"])
        if listed["schema"] != SCHEMA:
            raise InvalidError(f"trusted experts: wanted schema {SCHEMA}, got another")
        issued = str(listed["issued"])
        parse_time(issued)
    except (KeyError, TypeError, InvalidError):
        raise IntegrityError("trusted experts: wanted the list as it was issued, got other bytes") from None
    if issuer is not None and public_key != issuer:
        raise IntegrityError("trusted experts: wanted the registry's signature, got that of another key")
    if not verify_ed25519(public_key, canonical_bytes(listed), signature):
        raise IntegrityError("trusted experts: wanted the list that was signed, got an altered one")
    return TrustList(issued=issued, experts=experts)


def parse_revoked(data: bytes) -> frozenset[str]:
    """Certificate ids from a JSON list of ids, or ``{"revoked": [{"id": …}]}``; raises ``InvalidError``."""
    document = parse_json(data)
    entries = document.get("revoked") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise InvalidError("revoked certificates: wanted a JSON list of ids, got something else")
    ids = [entry.get("id") if isinstance(entry, dict) else entry for entry in entries]
    if not all(isinstance(one, str) for one in ids):
        raise InvalidError("revoked certificates: wanted ids as text, got something else")
    return frozenset(str(one) for one in ids)


def _expert_to_json(expert: TrustedExpert) -> Json:
    return {
        "principal": expert.principal,
        "name": expert.name,
        "public_key": encode(expert.public_key),
        "not_before": expert.not_before,
        "not_after": expert.not_after,
        "demo": expert.demo,
        "role": expert.role,
        "removed": expert.removed,
    }


def _expert_from_json(value: Json) -> TrustedExpert:
    removed = value.get("removed", "")  # lists from before a key could be taken off have none
    for text in (value["not_before"], value["not_after"], removed):
        if text:
            parse_time(text)
    return TrustedExpert(
        principal=check_principal(value["principal"]) if value["principal"] else "",
        name=str(value["name"]),
        public_key=decode(value["public_key"]),
        not_before=value["not_before"],
        not_after=value["not_after"],
        demo=value["demo"] is True,
        role=_role(value.get("role", "expert")),  # lists from before there were counter-signatures have experts only
        removed=removed,
    )


def _role(value: Json) -> str:
    if value not in SIGNING_ROLES:
        raise InvalidError(f"trusted experts: wanted one of {', '.join(SIGNING_ROLES)} as role, got another")
    return str(value)
