"""What `enclave-registryd` answers: projects, catalogue, determinations, releases, grants, facts."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Json, request

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
    purpose: str


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


@request("project.member_add", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class AddMember:
    """By a data steward, never for themselves."""

    token: str
    name: str
    person: str
    role: str = "researcher"


@request("project.member_remove", reply=Project)
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMember:
    """By a data steward."""

    token: str
    name: str
    person: str


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
    """One sealed dataset version and where it stands: candidate | released | withdrawn | shredded."""

    dataset: str
    version: int
    content_root: str
    state: str
    summary: Json
    certificate: str | None = None
    projects: tuple[str, ...] = ()
    steward: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionList:
    """Several versions."""

    versions: tuple[Version, ...]


@request("version.register", reply=Version)
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterCandidate:
    """From intaked: a sealed candidate with the evidence of its making (counts, measures, recipe; no values)."""

    dataset: str
    version: int
    content_root: str
    summary: Json
    steward: str


@request("version.list", reply=VersionList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListVersions:
    """By any signed-in person; ``dataset`` narrows."""

    token: str
    dataset: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A determination: its canonical text, its signature once signed, its state."""

    id: str
    state: str
    text: str
    digest: str
    signature: str | None = None
    reason: str = ""


@request("determination.draft", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class DraftDetermination:
    """By an expert or data steward: the certificate text (canonical JSON) for a candidate."""

    token: str
    text: str


@request("determination.propose", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeDetermination:
    """From intaked: the certificate text that it drafted for the candidate which it has just registered."""

    text: str


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
    reason: str


@request("determination.revoke", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeDetermination:
    """By the expert or the honest broker."""

    token: str
    id: str
    reason: str


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
    """By an honest broker who is neither the requester nor the expert nor on the project."""

    token: str
    id: str
    approve: bool
    reason: str


@request("release.list", reply=ReleaseList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListReleases:
    """By any signed-in person."""

    token: str


# ── facts for policy.decide (from brokerd, launcherd, airlockd, reportd) ────


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFacts:
    """What policy needs to decide whether a person may open a version in a project now.

    ``certificate_*`` stand for the certificate that the registry verified itself (signature, trust, root).
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


@request("facts.lease", reply=LeaseFacts)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskLeaseFacts:
    """``version`` None: the newest version released to the project.

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
