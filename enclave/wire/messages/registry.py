"""What `enclave-registryd` answers: projects, catalogue, determinations, releases, grants, facts."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Json, Text, Verbatim, request

# ── projects (token = the acting person's Hub token) ────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project and who belongs to it; ``members`` maps a principal to its role in the project."""

    name: str
    title: str
    purpose: str
    state: str
    members: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectList:
    """Several projects."""

    projects: tuple[Project, ...]


@request("project.create", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class CreateProject:
    """By a data steward."""

    token: str
    name: str
    title: str
    purpose: Text
    ticket: str | None = None


@request("project.show", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowProject:
    """By any signed-in person."""

    token: str
    name: str


@request("project.close", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseProject:
    """By a data steward; leases of its kernels end."""

    token: str
    name: str
    ticket: str | None = None


@request("project.member_add", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class AddMember:
    """By a data steward, never for themselves."""

    token: str
    name: str
    person: str
    role: str = "researcher"
    ticket: str | None = None


@request("project.member_remove", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMember:
    """By a data steward."""

    token: str
    name: str
    person: str
    ticket: str | None = None


@request("project.of_person", reply=ProjectList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectsOf:
    """From other daemons: the open projects a principal is a member of."""

    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStanding:
    """A project as ``policy.ProjectFacts`` wants it: ``state`` open | closed | frozen | missing."""

    name: str
    state: str
    member_role: str = ""


@request("facts.project", reply=ProjectStanding)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskProjectStanding:
    """From other daemons: how a principal stands to a project."""

    person: str
    project: str


# ── versions, determinations, releases ──────────────────────────────────────


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


# ── facts for policy.decide (from brokerd, launcherd, airlockd, reportd) ────


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFacts:
    """What policy needs to decide whether a person may open a version in a project now.

    ``certificate_*`` stand for the certificate that the registry verified itself (signature, trust, root),
    ``grant_*`` for the person's grant that counts ('' = none). ``agreement``: none | live | over, of the project.
    """

    project_state: str
    member_role: str
    dataset: str
    version: int
    version_state: str
    content_root: str
    released_to_project: bool
    certificate_id: str
    certificate_valid: bool
    certificate_reason: str
    certificate_root: str
    not_before: str
    expires: str
    certificate_expert: str = ""
    version_steward: str = ""
    engagement_until: str = ""
    grant_id: str = ""
    grant_state: str = ""
    grant_until: str = ""
    agreement: str = "none"


@request("facts.lease", reply=LeaseFacts)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskLeaseFacts:
    """``version`` None: the newest version that is granted to the person, else the newest released to the project.

    Always answered: what does not exist has the state ``missing``. ``engagement_until`` (RFC 3339) is set when
    the person is the expert engaged for this candidate; ``project`` may then be ''.
    """

    person: str
    project: str
    dataset: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectDatasets:
    """Names and newest released versions in one project."""

    versions: tuple[Version, ...]


@request("facts.datasets", reply=ProjectDatasets)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskProjectDatasets:
    """What is released to the project."""

    person: str
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Engagement:
    """An expert's right to look at one candidate before signing, until ``until`` (RFC 3339)."""

    expert: str
    dataset: str
    version: int
    content_root: str
    certificate: str
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngagementList:
    """Those that run."""

    engagements: tuple[Engagement, ...]


@request("facts.engagements", reply=EngagementList)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskEngagements:
    """From launcherd: the candidates that this person is engaged for."""

    person: str
