"""Whether a person may start a kernel, and for which project or for which assessment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import parse_time
from enclave.core.errors import DeniedError, InvalidError
from enclave.policy.decide import check, decide
from enclave.policy.model import SERVICE_PREFIX, Actor, EngagementFacts, Facts, ProjectFacts, Resource
from enclave.sandbox.owner import Owner
from enclave.wire.client import WireClient
from enclave.wire.messages.facts import AskEngagements, Engagement, ProjectsOf
from enclave.wire.messages.projects import Project


@dataclass(frozen=True, slots=True)
class Rights:
    """The project that a kernel works for and the role under which it may; without one an expert assesses."""

    project: str
    role: str


def kernel_rights(registry: WireClient, *, owner: Owner, project: str | None, path: str, clock: LedgerClock) -> Rights:
    """Asks the registry, then the policy; raises ``DeniedError``, or ``InvalidError`` when the project is unclear.

    Time is the ledger's: a clock that was set back starts nothing (``clock_step``) and brings no ended right back.

    The role is the one in the project; where the identity provider's roles are known it must be among them too.
    An expert needs no project while the registry has them engaged for a candidate: the broker then opens that one.
    """
    at = clock.asked()  # before the facts, which are judged by what the ledger knows then
    try:
        projects: tuple[Project, ...] = registry.call(ProjectsOf(person=owner.person)).projects
        engaged: tuple[Engagement, ...] = ()
        if not project and not owner.person.startswith(SERVICE_PREFIX) and _folder(path) not in _names(projects):
            engaged = registry.call(AskEngagements(person=owner.person)).engagements
    finally:
        registry.close()
    engagement = choose_engagement(engaged, alone=not projects, path=path)
    if engagement is not None:
        rights = _assessment(owner, engagement, at)
    else:
        rights = _membership(owner, choose(projects, wanted=project or None, path=path), at)
    clock.check()
    return rights


def _membership(owner: Owner, chosen: Project, at: datetime) -> Rights:
    service = owner.person.startswith(SERVICE_PREFIX)
    role = "service" if service else chosen.members.get(owner.person, "")
    facts = Facts(project=ProjectFacts(name=chosen.name, state=chosen.state, member_role="" if service else role))
    return _decided(owner, Rights(chosen.name, role), facts, at)


def _assessment(owner: Owner, engagement: Engagement, at: datetime) -> Rights:
    facts = EngagementFacts(
        expert=engagement.expert,
        dataset=engagement.dataset,
        version=engagement.version,
        content_root=engagement.content_root,
        until=parse_time(engagement.until),
    )
    return _decided(owner, Rights("", "expert"), Facts(engagement=facts), at)


def _decided(owner: Owner, rights: Rights, facts: Facts, at: datetime) -> Rights:
    held = {rights.role} if rights.role and (owner.roles is None or rights.role in owner.roles) else set()
    resource = Resource(project=rights.project, person=owner.person)
    check(decide(Actor(owner.person, frozenset(held)), "kernel.start", resource, facts, at))
    return rights


def choose_engagement(engaged: tuple[Engagement, ...], *, alone: bool, path: str) -> Engagement | None:
    """The one that runs longest: of the dataset that ``path``'s first folder names, or any when there is nothing else.

    ``alone``: the person has no project to choose.
    """
    named = [one for one in engaged if one.dataset == _folder(path)]
    found = named or (engaged if alone else ())
    return max(found, key=lambda one: parse_time(one.until), default=None)


def choose(projects: tuple[Project, ...], *, wanted: str | None, path: str) -> Project:
    """The named project; else the one named as the first folder of ``path``; else the only one."""
    by_name = {one.name: one for one in projects}
    if wanted is not None:
        if wanted not in by_name:
            raise DeniedError(
                "kernel: wanted an open project that this person is a member of, got another; "
                "a data steward adds members",
                code="not_a_member",
            )
        return by_name[wanted]
    if _folder(path) in by_name:
        return by_name[_folder(path)]
    if not projects:
        raise DeniedError(
            "kernel: wanted a member of an open project, got a person without one; a data steward adds members",
            code="not_a_member",
        )
    if len(projects) > 1:
        raise InvalidError(
            f"kernel: wanted one project, got {len(projects)} to choose from; "
            "put the notebook into a folder with the project's name",
            code="project_unclear",
        )
    return projects[0]


def _folder(path: str) -> str:
    return next(iter(PurePosixPath(path).parts), "")


def _names(projects: tuple[Project, ...]) -> set[str]:
    return {one.name for one in projects}
