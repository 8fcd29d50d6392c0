"""What `enclave-registryd` answers about determinations beyond drafting and signing."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.registry import Certificate, Release
from enclave.wire.messages.schema import Text, request


@request("determination.submit_countersignature", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitCountersignature:
    """By the data steward named in it, once it is signed: theirs (base64) over the text and the expert's signature."""

    token: str
    id: str
    signature: str


@request("determination.reaffirm", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReaffirmDetermination:
    """By the expert named in it, after a trigger reopened the assessment: they looked again and stand by it."""

    token: str
    id: str
    reason: Text


@request("release.withdraw", reply=Release)
@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawRelease:
    """By an honest broker or a data steward: takes an approved release back; leases under it end within seconds."""

    token: str
    id: str
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareNoted:
    """The certificates that the registry reopened for it."""

    reopened: tuple[str, ...]


@request("determination.note_software", reply=SoftwareNoted)
@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSoftware:
    """From intaked, at its start and every hour: the hash of the software that de-identifies and measures now."""

    software_sha256: str
