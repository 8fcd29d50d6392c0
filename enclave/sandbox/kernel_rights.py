"""Whether a person may start a kernel, and for which project."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from enclave.core.errors import DeniedError, InvalidError
from enclave.policy.decide import check, decide
from enclave.policy.model import SERVICE_PREFIX, Actor, Facts, ProjectFacts, Resource
from enclave.sandbox.owner import Owner
from enclave.wire.client import WireClient
from enclave.wire.messages.registry import Project, ProjectsOf


@dataclass(frozen=True, slots=True)
class Rights:
    """The project that a kernel works for and the role under which it may."""

    project: str
    role: str


def kernel_rights(registry: WireClient, *, owner: Owner, project: str | None, path: str, at: datetime) -> Rights:
    """Asks the registry, then the policy; raises ``DeniedError``, or ``InvalidError`` when the project is unclear.

    The role is the one in the project; where the identity provider's roles are known it must be among them too.
    """
    person = owner.person
    try:
        projects: tuple[Project, ...] = registry.call(ProjectsOf(person=person)).projects
    finally:
        registry.close()
    chosen = choose(projects, wanted=project, path=path)
    service = person.startswith(SERVICE_PREFIX)
    role = "service" if service else chosen.members.get(person, "")
    held = {role} if role and (owner.roles is None or role in owner.roles) else set()
    actor = Actor(person, frozenset(held))
    facts = Facts(project=ProjectFacts(name=chosen.name, state=chosen.state, member_role="" if service else role))
    check(decide(actor, "kernel.start", Resource(project=chosen.name, person=person), facts, at))
    return Rights(chosen.name, role)


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
    folders = PurePosixPath(path).parts
    if folders and folders[0] in by_name:
        return by_name[folders[0]]
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
