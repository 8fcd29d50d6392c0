"""What `enclave-registryd` answers about agreements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enclave.wire.messages.schema import Text, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One agreement: its terms as JSON, the SHA-256 of the signed document, who recorded, decided and ended it.

    ``standing``: waits | live | not_begun | expired | refused | ended, when it was answered; ``days_left`` while live.
    """

    id: str
    project: str
    terms: dict[str, Any]
    document: str
    state: str
    standing: str
    days_left: int | None
    recorded_by: str
    recorded: str
    decided_by: str
    ended_by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementList:
    """Newest first."""

    agreements: tuple[Agreement, ...]


@request("agreement.record", reply=Agreement)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAgreement:
    """By a data steward: what was signed, with the SHA-256 of the document; an honest broker compares and confirms."""

    token: str
    terms: dict[str, Any]
    document: str
    ticket: str | None = None


@request("agreement.decide", reply=Agreement)
@dataclass(frozen=True, slots=True, kw_only=True)
class DecideAgreement:
    """By an honest broker who did not record it: it is as signed, or it is not."""

    token: str
    id: str
    approve: bool
    reason: Text


@request("agreement.end", reply=Agreement)
@dataclass(frozen=True, slots=True, kw_only=True)
class EndAgreement:
    """By a data steward or honest broker: it ends now; leases that only it covered end within seconds."""

    token: str
    id: str
    reason: Text


@request("agreement.list", reply=AgreementList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListAgreements:
    """All, or those of one project."""

    token: str
    project: str | None = None
