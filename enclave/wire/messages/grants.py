"""What `enclave-registryd` answers about grants."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.schema import Text, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One person's right to open a version in a project: requested | active | refused | revoked | over.

    ``until`` (RFC 3339) '': as long as the certificate. ``release`` names the release that brought it, if one did.
    ``opens`` is what policy says now: ``ok`` or the code of its refusal.
    """

    id: str
    person: str
    dataset: str
    version: int
    project: str
    state: str
    opens: str
    until: str = ""
    release: str = ""
    requested_by: str = ""
    decided_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantList:
    """Several grants, newest first."""

    grants: tuple[Grant, ...]


@request("grant.request", reply=Grant)
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestGrant:
    """By a data steward who is not on the project, for one of its members and a version released to it."""

    token: str
    dataset: str
    version: int
    project: str
    person: str
    until: str = ""


@request("grant.decide", reply=Grant)
@dataclass(frozen=True, slots=True, kw_only=True)
class DecideGrant:
    """By an honest broker who is neither the requester nor the steward nor the expert nor on the project."""

    token: str
    id: str
    approve: bool
    reason: Text


@request("grant.revoke", reply=Grant)
@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeGrant:
    """By a data steward or an honest broker; lease and kernel end within seconds."""

    token: str
    id: str
    reason: Text


@request("grant.list", reply=GrantList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListGrants:
    """By any signed-in person; ``project`` narrows."""

    token: str
    project: str | None = None
