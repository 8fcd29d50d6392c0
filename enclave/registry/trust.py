"""The list of trusted expert keys and the list of revocations, as files signed by or written by the registry."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from enclave.core.canonical import canonical_bytes
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, InvalidError
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

    Raises ``ConflictError`` when the key is on the list already, ``InvalidError`` for a role that signs nothing.
    """
    check_principal(principal)
    if role not in SIGNING_ROLES:
        raise InvalidError(f"trusted experts: wanted one of {', '.join(SIGNING_ROLES)} as role, got another")
    known = read_trust(home)
    if any(expert.public_key == public_key for expert in known.experts):
        raise ConflictError("trusted experts: wanted a new key, got one that is on the list already")
    expert = TrustedExpert(
        principal=principal,
        public_key=public_key,
        name=name,
        not_before=format_time(at),
        not_after=not_after,
        demo=demo,
        role=role,
    )
    trust = replace(known, issued=format_time(at), experts=(*known.experts, expert))
    signer = open_signer(f"file:{home.key_file(SIGNING_KEY)}")
    _write(trust_file(home), pack_trust(trust, sign=signer.sign, public_key=signer.public_key))
    return trust


def write_revoked(home: Home, revoked: list[dict[str, str]], *, at: datetime) -> None:
    """Writes the list of revoked certificates (``id``, ``revoked``) for tools that stand alone."""
    _write(revocation_file(home), canonical_bytes({"issued": format_time(at), "revoked": revoked}))


def _write(path: Path, data: bytes) -> None:
    ensure_private_dir(path.parent)
    write_whole(path, data)
