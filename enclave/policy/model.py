"""What a decision is made of: who, on what, which facts. Frozen, pure, made by the services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, get_args

Role = Literal[
    "researcher", "expert", "honest_broker", "output_checker", "data_steward", "auditor", "operator", "service"
]
ROLES: Final[frozenset[str]] = frozenset(get_args(Role))
PERSON_ROLES: Final[frozenset[str]] = ROLES - {"service"}
SERVICE_PREFIX: Final = "service:"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or a service as its identity was proven; ``roles`` are those of the identity provider."""

    name: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What is acted on. Only the names that the action needs are filled."""

    project: str = ""
    dataset: str = ""
    version: int = 0
    id: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """``reason`` is a stable code (``ok`` when allowed), ``message`` for people, ``role`` the one that allowed it."""

    allowed: bool
    reason: str
    message: str
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """The project: ``state`` is open | closed | frozen; ``member_role`` is the actor's own ('' = none).

    ``agreement``: none (it works under none) | live | over, as ``governance.agreement.standing`` says.
    """

    name: str
    state: str
    member_role: str = ""
    agreement: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """The dataset version: ``state`` is candidate | released | withdrawn | shredded.

    ``only_for``: the one project whose pseudonyms it has, '' when they are the dataset's, None when nobody knows.
    """

    dataset: str
    version: int
    state: str
    content_root: str
    steward: str = ""
    released_to_project: bool = False
    only_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """The signed determination as the registry verified it (``reason`` ok | altered | revoked | …).

    ``reopened``: a trigger fired that its expert has not answered; what runs goes on, nothing new rests on it.
    """

    id: str
    valid: bool
    reason: str
    content_root: str
    not_before: datetime
    expires: datetime
    expert: str = ""
    reopened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterminationFacts:
    """A determination on its way: ``state`` as in ``determination.states``; ``expert`` is named in its text.

    ``drafted_by``: a person's name, or a service's. ``reopened``: whether a trigger fired that its expert has not
    answered.
    """

    id: str
    state: str
    expert: str
    steward: str
    dataset: str = ""
    version: int = 0
    drafted_by: str = ""
    reopened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngagementFacts:
    """An expert's right to look at one candidate before signing; no release follows from it."""

    expert: str
    dataset: str
    version: int
    content_root: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFacts:
    """A release request: ``state`` is requested | approved | refused | withdrawn.

    ``approve`` is what the actor is about to say; a refusal needs no valid certificate.
    """

    id: str
    state: str
    requested_by: str
    approve: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantFacts:
    """One person's grant: ``state`` is new | requested | active | refused | revoked | over.

    ``until`` None: as long as the certificate. ``approve`` is what the actor is about to say.
    """

    id: str
    person: str
    project: str
    dataset: str
    version: int
    state: str
    requested_by: str = ""
    until: datetime | None = None
    person_is_member: bool = False
    approve: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementFacts:
    """One agreement of a project: ``state`` is recorded | in_force | refused | ended."""

    id: str
    project: str
    state: str
    recorded_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressFacts:
    """An egress request. The words of its states belong to the airlock; what they mean for policy stands here.

    ``actor_is_member`` and ``author_is_member`` are whether the actor, and whether the author still, belongs to the
    request's project. ``approve`` is what the actor is about to say, ``until`` when the delivery ends.
    """

    id: str
    author: str
    project: str
    open_for_votes: bool = False
    released: bool = False
    delivered: bool = False
    withdrawable: bool = False
    actor_is_member: bool = False
    author_is_member: bool = False
    approve: bool = True
    until: datetime | None = None
    voters: frozenset[str] = frozenset()
    approvers: frozenset[str] = frozenset()
    rejecters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassFacts:
    """A re-identification request: ``state`` is new | requested | refused | lapsed | open | spent | over | reviewed.

    ``actor_on_project``: whether the actor belongs to a project that the dataset is released to; None is unknown.
    ``review_pending``: an earlier request of the same requester was opened and no auditor has reviewed it.
    """

    id: str
    state: str
    requested_by: str
    approvers: frozenset[str] = frozenset()
    actor_on_project: bool | None = None
    review_pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFacts:
    """A batch whose review sample a person judges: ``waiting`` is whether the image is in it and not judged yet,
    ``face`` whether it is a head from the front, ``kept`` whether that is kept to be seen, judged or not."""

    batch: str
    submitted_by: str
    waiting: bool = False
    face: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFacts:
    """The review of a version's sample: what waits, what was found unclean, and the verdict ('' | yes | no).

    ``clean`` is what the actor is about to say; ``decided_by`` who gave the verdict, ``released_by`` who approved a
    release of the version.
    """

    dataset: str
    version: int
    required: bool
    waiting: int
    unclean: int
    verdict: str
    clean: bool = True
    decided_by: str = ""
    released_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OversightFacts:
    """What an auditor acts on: an alert (``state`` open | acknowledged | resolved) or a week of the ledger.

    ``subject`` is whom an alert is about. Of a week: whether it is ``over``, how many of its alerts nobody took up
    (``untouched``), who signed it already.
    """

    id: str
    subject: str = ""
    state: str = ""
    over: bool = False
    untouched: int = 0
    signed_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityKeyFacts:
    """The code with which a person enrols a key: whom it was issued for and by whom, and whether it is the right one.

    ``tries`` counts this one too.
    """

    person: str
    issued_by: str
    right: bool
    in_time: bool
    tries: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUpFacts:
    """What a security key confirmed of this very act: ``reason`` is ``ok`` or why it does not count."""

    person: str
    reason: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a service found out before it asked. What is None is unknown, and unknown is a denial."""

    project: ProjectFacts | None = None
    version: VersionFacts | None = None
    certificate: CertificateFacts | None = None
    determination: DeterminationFacts | None = None
    engagement: EngagementFacts | None = None
    release: ReleaseFacts | None = None
    grant: GrantFacts | None = None
    agreement: AgreementFacts | None = None
    egress: EgressFacts | None = None
    break_glass: BreakGlassFacts | None = None
    review: ReviewFacts | None = None
    sample: SampleFacts | None = None
    oversight: OversightFacts | None = None
    security_key: SecurityKeyFacts | None = None
    step_up: StepUpFacts | None = None


NO_FACTS: Final = Facts()

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ok": "allowed",
        "unknown_action": "action: wanted one that the policy knows, got another; nothing unknown is allowed",
        "unknown_actor": "actor: wanted a person or service with known roles, got another combination",
        "role": "role: wanted one that may do this, got none; ask the operator which group gives it",
        "service": "service: wanted the service that does this, got another one",
        "missing_fact": "facts: wanted all that this decision needs, got fewer; without them it is a refusal",
        "other_resource": "facts: wanted those of the thing acted on, got those of another",
        "project_not_open": "project: wanted an open one, got one that is closed or frozen",
        "agreement_over": "agreement: wanted one in force for this project, got one that has ended; record a new one",
        "agreement_state": "agreement: wanted one in a state in which this can be done, got another",
        "not_a_member": "project: wanted a member with this role, got somebody else; a data steward adds members",
        "own_project": "conflict of duty: wanted somebody outside of the project, got one of its members",
        "self_grant": "conflict of duty: wanted a grant to somebody else, got one to oneself",
        "requester_decides": "conflict of duty: wanted somebody other than who requested it, got the same person",
        "expert_is_steward": "conflict of duty: wanted expert and data steward to be two people, got one",
        "expert_is_broker": "conflict of duty: wanted expert and honest broker to be two people, got one",
        "steward_is_broker": "conflict of duty: wanted steward and honest broker to be two people, got one",
        "self_engaged": "determination: wanted one drafted by intake or the data steward, got the expert's own draft",
        "not_named_expert": "determination: wanted the expert named in it, got somebody else",
        "not_named_steward": "determination: wanted the data steward named in it, got somebody else",
        "determination_state": "determination: wanted a state in which this can be done, got another",
        "version_not_usable": "dataset version: wanted one that is there, got a withdrawn or shredded one",
        "not_released": "dataset version: wanted one released to this project, got one that is not",
        "no_engagement": "engagement: wanted an expert engaged for this candidate, got somebody else",
        "engagement_over": "engagement: wanted one that still runs, got one that is over",
        "certificate_missing": "certificate: wanted a signed determination, got none; its expert signs one first",
        "certificate_altered": "certificate: wanted the bytes that were signed, got others; ask its expert",
        "certificate_expired": "certificate: wanted one within its time, got an expired one; it must be renewed",
        "certificate_not_yet_valid": "certificate: wanted one within its time, got one before it; wait for its begin",
        "certificate_revoked": "certificate: wanted one in force, got a revoked one; ask its expert for a new one",
        "certificate_other_root": "certificate: wanted one for this content root, got another's; ask for its own",
        "certificate_untrusted_expert": "certificate: wanted a trusted expert's key, got another; ask the operator",
        "certificate_superseded": "certificate: wanted one in force, got one that a newer one replaced; use that",
        "certificate_not_covering": "certificate: wanted one for this project, got one for others; ask its expert",
        "certificate_purpose_not_covered": "certificate: wanted one for this purpose, got other ones; ask its expert",
        "certificate_incomplete": "certificate: wanted every statement it rests on, got fewer; draft it anew",
        "certificate_not_countersigned": "certificate: wanted a counter-signature, got none; ask its data steward",
        "certificate_reopened": "certificate: wanted one without open triggers, got one that waits for its expert",
        "yes_twice": "conflict of duty: wanted two people's yes to sample and release, got one person's",
        "certificate_invalid": "certificate: wanted a valid one, got one that is not; see its history",
        "release_state": "release: wanted one that waits for a decision, got one that is decided",
        "not_granted": "grant: wanted one for this version, got none; a data steward asks for it, a broker approves it",
        "grant_revoked": "grant: wanted one in force, got a revoked one",
        "grant_over": "grant: wanted one within its time, got one that has ended",
        "grant_state": "grant: wanted one in a state in which this can be done, got another",
        "grantee_not_member": "grant: wanted a member of the project, got somebody else; add them to it first",
        "author_votes": "conflict of duty: wanted a checker other than the author, got the author",
        "voted_already": "egress: wanted one vote per checker, got a second one",
        "not_open_for_votes": "egress: wanted a request in review, got one in another state",
        "too_few_approvals": "egress: wanted approvals of two different checkers, got fewer",
        "rejected": "egress: wanted no objection, got one",
        "author_left": "egress: wanted an author who belongs to the project, got one who left; nothing leaves for them",
        "not_the_author": "egress: wanted the author of the request, got somebody else",
        "not_released_yet": "egress: wanted a released request, got one in another state",
        "delivered_already": "egress: wanted the first delivery, got a second; a delivery is single-use",
        "delivery_over": "egress: wanted a delivery within its time, got a late one; hand the files in again",
        "break_glass_state": "break-glass: wanted a request in a state in which this can be done, got another",
        "break_glass_over": "break-glass: wanted one that is open, got one whose time or number of shows is used up",
        "break_glass_review": "break-glass: wanted the requester's earlier one reviewed by an auditor, got one not",
        "approved_already": "break-glass: wanted two different approvers, got the same one again",
        "not_the_requester": "break-glass: wanted the person who requested it, got somebody else",
        "took_part": "conflict of duty: wanted a reviewer who had no part in it, got one who had",
        "reviews_own_batch": "conflict of duty: wanted somebody other than who handed it in, got the same person",
        "not_in_sample": "review sample: wanted an image that waits for a judgement, got another",
        "review_waiting": "review sample: wanted every item seen before a yes, got some that wait",
        "review_unclean": "review sample: wanted nothing found in it, got a finding; the batch must be made anew",
        "review_missing": "review sample: wanted the recorded yes of an honest broker, as its recipe says, got none",
        "review_decided": "review sample: wanted one that waits for a verdict, got one that has it",
        "other_projects_pseudonyms": "dataset version: wanted one made for this project, got one made for another",
        "own_alert": "conflict of duty: wanted an auditor whom the alert is not about, got the one it is about",
        "alert_state": "alert: wanted one in a state in which this can be done, got another",
        "week_not_over": "review: wanted a week that is over, got one that still runs",
        "alerts_untouched": "review: wanted every alert of the week taken up first, got some that nobody looked at",
        "signed_already": "review: wanted one signature per auditor and week, got a second",
        "own_enrolment": "conflict of duty: wanted a code issued by another person, got one's own",
        "not_own_key": "security key: wanted one's own, got that of somebody else; a data steward may end it",
        "enrolment_code_missing": "security key: wanted a code that another person issued, got none that waits",
        "enrolment_code_wrong": "security key: wanted the code that was issued, got another; five tries end it",
        "enrolment_code_late": "security key: wanted a code within 24 hours, got an older one; ask for a new one",
        "enrolment_code_tries": "security key: wanted at most five tries of a code, got more; ask for a new one",
        "step_up_missing": "step-up: wanted this act confirmed with a security key, got no confirmation",
        "step_up_used": "step-up: wanted a confirmation that waits for this act, got one that is spent or of another",
        "step_up_late": "step-up: wanted a confirmation within five minutes, got a late one",
        "security_key_invalid": "step-up: wanted exactly this act confirmed by the person's key, got another answer",
        "not_withdrawable": "egress: wanted a request that can still be withdrawn, got one that cannot",
    }
)
