"""``enclave determination trust`` and ``distrust``: whose signatures count. The operator's acts, on record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from enclave.cli.output import HomeOption, ReasonOption, TicketOption, home_of, ticket_of, words
from enclave.core.errors import EnclaveError, NotFoundError, UnavailableError
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home

_HASH: Final = re.compile(r"[0-9a-f]{64}")


def trust(
    public_key: Annotated[Path, typer.Argument(help="The person's public key, a .pub file.")],
    principal: str = typer.Option(..., help="The person's id, as they sign in."),
    name: str = typer.Option("", help="The person's name, for the list."),
    role: str = typer.Option("expert", help="What the key signs as: expert, or data_steward (counter-signatures)."),
    demo: bool = typer.Option(False, "--demo", help="Mark the key as a demonstration's."),
    ticket: TicketOption = None,
    home: HomeOption = None,
) -> None:
    """Put a public key on the signed list of trusted experts and stewards. The operator's act; it is recorded."""
    trust_key(
        home_of(home),
        public_key=_public_key(public_key),
        principal=principal,
        name=name,
        demo=demo,
        role=role,
        ticket=ticket_of(ticket),
    )
    words().print(f"Trusted the key of {principal}.")


def distrust(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its .pub file, or its SHA-256 as the ledger has it.")],
    reason: ReasonOption,
    ticket: TicketOption = None,
    home: HomeOption = None,
) -> None:
    """Take a key off the signed list for good. The operator's act; it is recorded.

    No signature of it counts any more, whenever it was made: nobody can show that it is older. Certificates that rest
    on it hold no longer, leases under them end within seconds, and the same key is never trusted again.
    """
    key_hash = key if _HASH.fullmatch(key) else hashlib.sha256(_public_key(Path(key))).hexdigest()
    whose = distrust_key(home_of(home), key_hash=key_hash, reason=reason, ticket=ticket_of(ticket))
    words().print(f"No signature with this key of {whose} counts any more.", markup=False)


def trust_key(
    home: Home,
    *,
    public_key: bytes,
    principal: str,
    name: str,
    demo: bool,
    role: str = "expert",
    ticket: str | None = None,
) -> None:
    """Records the act, then does it; raises ``ConflictError`` when the key is or was on the list already."""
    from enclave.registry.trust import trust_expert

    key_hash = hashlib.sha256(public_key).hexdigest()
    detail = {"expert": principal, "key_hash": key_hash, "demo": demo, "signs_as": role}
    key: dict[str, Any] = {"principal": principal, "public_key": public_key, "name": name, "demo": demo, "role": role}
    _recorded(
        home,
        "admin.trust_expert",
        lambda: trust_expert(home, **key, at=SystemClock().now()),
        detail=detail,
        ticket=ticket,
    )


def distrust_key(home: Home, *, key_hash: str, reason: str, ticket: str | None = None) -> str:
    """Records the act, then does it; says whose key it was.

    Raises ``NotFoundError`` when no key of this SHA-256 is on the list, ``ConflictError`` when it was taken off before.
    """
    from enclave.registry.acts import check_reason
    from enclave.registry.trust import distrust_expert, read_trust

    check_reason(reason)
    known = (one for one in read_trust(home).experts if hashlib.sha256(one.public_key).hexdigest() == key_hash)
    found = next(known, None)
    detail: dict[str, Any] = {"key_hash": key_hash}
    if found is not None:
        detail |= {"expert": found.principal, "signs_as": found.role, "demo": found.demo}
    _recorded(
        home,
        "admin.distrust_expert",
        lambda: distrust_expert(home, key_hash=key_hash, at=SystemClock().now()),
        detail=detail,
        ticket=ticket,
        bodies={"reason": reason},
    )
    return found.principal if found is not None else ""


def _recorded(
    home: Home,
    kind: str,
    act: Callable[[], object],
    *,
    detail: dict[str, Any],
    ticket: str | None,
    bodies: dict[str, str] | None = None,
) -> None:
    """The intent, the act, how it ended. Without a receipt for the intent nothing is done."""
    from enclave.audit.client import AuditClient

    ledger = AuditClient(home.socket("auditd"))
    told: dict[str, Any] = {"actor": "operator", "role": "operator", "ticket": ticket, "detail": detail}
    ledger.record(kind, outcome="intent", bodies=bodies, **told)
    try:
        act()
    except EnclaveError as error:
        ledger.record(kind, outcome="refused", reason=error.code, **told)
        raise
    except OSError:
        ledger.record(kind, outcome="failed", reason="disk_refused", **told)
        raise UnavailableError(
            "trusted experts: wanted to write the list, the disk refused; make room, then try again",
            code="disk_refused",
        ) from None
    else:
        ledger.record(kind, **told)
    finally:
        ledger.close()


def _public_key(path: Path) -> bytes:
    """Of a key file, or of a security key as `enclave security-key export` writes it."""
    from enclave.cli.security_key import PUBLIC_FORM
    from enclave.determination.certificate import decode
    from enclave.keys.verify import read_public

    try:
        text = path.read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise NotFoundError(f"{path.name}: wanted a file, got none") from None
    except OSError as error:
        raise UnavailableError(f"{path.name}: wanted to read it, got {error.strerror}") from None
    form, _, value = text.partition(" ")
    return decode(value) if form == PUBLIC_FORM else read_public(path)
