"""The list of trusted expert keys and the list of revocations, as files signed by or written by the registry."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from enclave.core.canonical import canonical_bytes
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, InvalidError, NotFoundError
from enclave.core.ids import check_principal
from enclave.determination.trust import SIGNING_ROLES, TrustedExpert, TrustList, pack_trust, unpack_trust
from enclave.keys.sign import open_signer
from enclave.keys.verify import read_public
from enclave.runtime.durable import write_whole
from enclave.runtime.home import Home, ensure_private_dir

SIGNING_KEY: Final = "registry-sign"


def trust_file(home: Home) -> Path:
    """``HOME/registry/trusted_experts.json``."""
    return home.state("registry") / "trusted_experts.json"


def revocation_file(home: Home) -> Path:
    """``HOME/registry/revoked.json``: what ``determination verify --revoked`` takes."""
    return home.state("registry") / "revoked.json"


def read_trust(home: Home) -> TrustList:
    """The list, its signature checked against the registry's own key; an empty one when there is no file yet.

    Raises ``IntegrityError`` when it is not as the registry signed it.
    """
    path = trust_file(home)
    if not path.exists():
        return TrustList(issued="", experts=())
    return unpack_trust(path.read_bytes(), issuer=read_public(home.key_file(SIGNING_KEY).with_suffix(".pub")))


def trust_expert(
    home: Home,
    *,
    principal: str,
    public_key: bytes,
    name: str = "",
    demo: bool = False,
    not_after: str = "",
    role: str = "expert",
    at: datetime,
) -> TrustList:
    """Adds one key and signs the list anew; needs the registry's signing key (made by ``enclave init``).

    Raises ``ConflictError`` when the key is or was on the list, ``InvalidError`` for a role that signs nothing.
    """
    check_principal(principal)
    if role not in SIGNING_ROLES:
        raise InvalidError(f"trusted experts: wanted one of {', '.join(SIGNING_ROLES)} as role, got another")
    known = read_trust(home)
    if any(expert.public_key == public_key for expert in known.experts):
        raise ConflictError("trusted experts: wanted a new key, got one that is on the list or was taken off it")
    expert = TrustedExpert(
        principal=principal,
        public_key=public_key,
        name=name,
        not_before=format_time(at),
        not_after=not_after,
        demo=demo,
        role=role,
    )
    return _issue(home, replace(known, issued=max(format_time(at), known.issued), experts=(*known.experts, expert)))


def distrust_expert(home: Home, *, key_hash: str, at: datetime) -> TrustList:
    """Takes the key of this SHA-256 (hex) off and signs the list anew; it never comes back.

    Raises ``NotFoundError`` when the list has no such key, ``ConflictError`` when it was taken off before.
    """
    known = read_trust(home)
    found = next((one for one in known.experts if hashlib.sha256(one.public_key).hexdigest() == key_hash), None)
    if found is None:
        raise NotFoundError("trusted experts: wanted a key of the list, got another one")
    if found.removed:
        raise ConflictError("trusted experts: wanted a key that counts, got one that was taken off before")
    told = format_time(at)
    # Its end is set too, for verifiers of an earlier release, which know of no removal.
    gone = replace(found, removed=told, not_after=min(found.not_after or told, told))
    experts = tuple(gone if one is found else one for one in known.experts)
    return _issue(home, replace(known, issued=max(told, known.issued), experts=experts))


def _issue(home: Home, trust: TrustList) -> TrustList:
    signer = open_signer(f"file:{home.key_file(SIGNING_KEY)}")
    _write(trust_file(home), pack_trust(trust, sign=signer.sign, public_key=signer.public_key))
    return trust


def write_revoked(home: Home, revoked: list[dict[str, str]], *, at: datetime) -> None:
    """Writes the list of revoked certificates (``id``, ``revoked``) for tools that stand alone."""
    _write(revocation_file(home), canonical_bytes({"issued": format_time(at), "revoked": revoked}))


def _write(path: Path, data: bytes) -> None:
    ensure_private_dir(path.parent)
    write_whole(path, data)
