"""What `enclave-registryd` answers: catalogue, determinations, releases."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Json, Text, Verbatim, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One sealed dataset version and where it stands: candidate | released | withdrawn | shredded.

    ``only_for``: the one project whose pseudonyms it has. ``review``: ``required, sample, waiting, unclean, verdict,
    by, reason``; empty when the registry knows of none.
    """

    dataset: str
    version: int
    content_root: str
    state: str
    summary: Json
    certificate: str | None = None
    projects: tuple[str, ...] = ()
    steward: str = ""
    only_for: str = ""
    review: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionList:
    """Several versions."""

    versions: tuple[Version, ...]


@request("version.register", reply=Version)
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterCandidate:
    """From intaked: a sealed candidate with the evidence of its making (counts, measures, recipe; no values).

    ``review``: required | optional, and how many items the sample has.
    """

    dataset: str
    version: int
    content_root: str
    summary: Json
    steward: str
    review: str
    sample: int = 0
    only_for: str = ""


@request("version.sample", reply=Version)
@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSample:
    """From intaked: how many items of the review sample wait, and how many were found unclean."""

    dataset: str
    version: int
    waiting: int
    unclean: int


@request("version.review", reply=Version)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewVersion:
    """By an honest broker who did not hand it in: yes, the sample is clean, or no; once every item was seen."""

    token: str
    dataset: str
    version: int
    clean: bool
    reason: str


@request("version.list", reply=VersionList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListVersions:
    """By any signed-in person; ``dataset`` narrows."""

    token: str
    dataset: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A determination: its canonical text, its state, and its signatures (JSON of algorithm, public_key, value)."""

    id: str
    state: str
    text: str
    digest: str
    signature: str | None = None
    reason: str = ""
    countersignature: str | None = None
    reopened: tuple[str, ...] = ()


@request("determination.draft", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class DraftDetermination:
    """By an expert or data steward: the certificate text (canonical JSON) for a candidate."""

    token: str
    text: Verbatim


@request("determination.propose", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeDetermination:
    """From intaked: the certificate text that it drafted for the candidate which it has just registered."""

    text: Verbatim


@request("determination.begin", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class BeginAssessment:
    """By the expert named in it: from draft to under_assessment; from then on they may look at the candidate."""

    token: str
    id: str


@request("determination.submit_signature", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSignature:
    """By the expert named in it: the detached Ed25519 signature (base64) over the canonical text."""

    token: str
    id: str
    signature: str


@request("determination.decline", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineDetermination:
    """By the expert named in it."""

    token: str
    id: str
    reason: Text


@request("determination.revoke", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeDetermination:
    """By the expert or the honest broker."""

    token: str
    id: str
    reason: Text
    ticket: str | None = None


@request("determination.show", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowDetermination:
    """By any signed-in person."""

    token: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateList:
    """Several determinations, newest first."""

    certificates: tuple[Certificate, ...]


@request("determination.list", reply=CertificateList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListDeterminations:
    """By any signed-in person; ``dataset`` and ``version`` narrow."""

    token: str
    dataset: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version on its way to a project: requested | approved | refused | withdrawn."""

    id: str
    dataset: str
    version: int
    project: str
    state: str
    requested_by: str
    decided_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseList:
    """Several releases."""

    releases: tuple[Release, ...]


@request("release.request", reply=Release)
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRelease:
    """By a data steward."""

    token: str
    dataset: str
    version: int
    project: str


@request("release.decide", reply=Release)
@dataclass(frozen=True, slots=True, kw_only=True)
class DecideRelease:
    """By an honest broker apart from requester, expert and project, with a confirmation of it (``release.confirm``)."""

    token: str
    id: str
    approve: bool
    reason: Text
    challenge: str = ""
    assertion: Json = None


@request("release.list", reply=ReleaseList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListReleases:
    """By any signed-in person."""

    token: str
