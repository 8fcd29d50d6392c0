"""What `enclave-registryd` tells other daemons: facts for ``policy.decide``, and what a person may find."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.projects import ProjectList
from enclave.wire.messages.registry import Version
from enclave.wire.messages.schema import request


@request("project.of_person", reply=ProjectList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectsOf:
    """From other daemons: the open projects a principal is a member of."""

    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStanding:
    """A project as ``policy.ProjectFacts`` wants it: ``state`` open | closed | frozen | missing.

    ``agreement``: none | live | over, of the project.
    """

    name: str
    state: str
    agreement: str
    member_role: str = ""


@request("facts.project", reply=ProjectStanding)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskProjectStanding:
    """From other daemons: how a principal stands to a project."""

    person: str
    project: str


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
