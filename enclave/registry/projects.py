"""Projects and their members."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.ids import check_name, check_principal
from enclave.governance.agreement import span_of, terms_of
from enclave.governance.agreement import standing as standing_of_agreements
from enclave.policy.model import NO_FACTS, SERVICE_PREFIX, Actor, Facts, ProjectFacts, Resource
from enclave.registry.acts import Act, Acts
from enclave.wire.messages.facts import ProjectStanding
from enclave.wire.messages.projects import Project, ProjectList

MEMBER_ROLES: Final = frozenset({"researcher"})
MISSING: Final = "missing"
REPORTS: Final = "service:reports"


@dataclass(frozen=True, slots=True)
class Projects:
    """Who works on what, and why."""

    acts: Acts

    def create(self, actor: Actor, name: str, *, title: str, purpose: str, ticket: str | None = None) -> Project:
        """A new open project without members."""
        check_name(name, what="project")
        title, purpose = _words(title, "project title", 200), _words(purpose, "project purpose", 2000)
        store = self.acts.store

        def insert() -> Project:
            values = (name, title, purpose, "open", actor.name, self.acts.now_text())
            store.change("insert into projects values (?, ?, ?, ?, ?, ?)", *values)
            return self.get(name)

        act = Act(kind="project.create", actor=actor, project=name, ticket=ticket, words={"purpose": purpose})
        return self.acts.perform(act, lambda: (Resource(project=name), NO_FACTS), insert)

    def show(self, actor: Actor, name: str) -> Project:
        """One project; raises ``NotFoundError``."""
        check_name(name, what="project")
        self.acts.check_may_read(Act(kind="project.show", actor=actor, project=name))
        return self.get(name)

    def close(self, actor: Actor, name: str, *, ticket: str | None = None) -> Project:
        """No lease, no kernel and no submission from then on."""
        check_name(name, what="project")

        def update() -> Project:
            self.acts.store.change("update projects set state = 'closed' where name = ?", name)
            return self.get(name)

        act = Act(kind="project.close", actor=actor, project=name, ticket=ticket)
        return self.acts.perform(act, lambda: self._question(actor, name), update)

    def add_member(self, actor: Actor, name: str, *, person: str, role: str, ticket: str | None = None) -> Project:
        """Makes ``person`` a member; raises ``ConflictError`` when they are one already."""
        check_name(name, what="project")
        _check_person(person)
        if role not in MEMBER_ROLES:
            raise InvalidError(f"member role: wanted one of {', '.join(sorted(MEMBER_ROLES))}, got another one")

        def insert() -> Project:
            values = (name, person, role, actor.name, self.acts.now_text())
            self.acts.store.change("insert into members values (?, ?, ?, ?, ?)", *values)
            return self.get(name)

        detail = {"person": person, "project_role": role}
        act = Act(kind="project.member_add", actor=actor, project=name, ticket=ticket, detail=detail)
        return self.acts.perform(act, lambda: self._question(actor, name, person=person), insert)

    def remove_member(self, actor: Actor, name: str, *, person: str, ticket: str | None = None) -> Project:
        """Ends a membership; its grants and leases end with it, and do not come back with a new membership."""
        check_name(name, what="project")
        _check_person(person)

        def delete() -> Project:
            gone = self.acts.store.change("delete from members where project = ? and person = ?", name, person)
            if not gone:
                raise NotFoundError("project: wanted one of its members, got somebody else; see `enclave project show`")
            self.acts.store.change(
                "update grants set state = 'revoked', decided_by = ?, decided = ?, reason = 'No longer a member.' "
                "where project = ? and person = ? and state in ('requested', 'active')",
                *(actor.name, self.acts.now_text(), name, person),
            )
            return self.get(name)

        detail = {"person": person}
        act = Act(kind="project.member_remove", actor=actor, project=name, ticket=ticket, detail=detail)
        return self.acts.perform(act, lambda: self._question(actor, name, person=person), delete)

    def of_person(self, person: str) -> ProjectList:
        """The open projects that ``person`` is a member of; the report service works for every open one."""
        check_principal(person)
        rows = self.acts.store.rows(
            "select name from projects p where state = 'open' and (?1 = ?2 or exists "
            "(select 1 from members m where m.project = p.name and m.person = ?1)) order by name",
            person,
            REPORTS,
        )
        return ProjectList(projects=tuple(self.get(row["name"]) for row in rows))

    def standing(self, person: str, name: str) -> ProjectStanding:
        """How ``person`` stands to the project; a project that does not exist has the state ``missing``."""
        check_principal(person)
        row = self.acts.store.row("select state from projects where name = ?", name)
        member = self.acts.store.row("select role from members where project = ? and person = ?", name, person)
        return ProjectStanding(
            name=name,
            state=row["state"] if row else MISSING,
            agreement=self.agreement(name),
            member_role=member["role"] if member else "",
        )

    def facts(self, person: str, name: str) -> ProjectFacts:
        """The same for the policy; raises ``NotFoundError``."""
        standing = self.standing(person, name)
        if standing.state == MISSING:
            raise _not_found()
        return ProjectFacts(
            name=name, state=standing.state, member_role=standing.member_role, agreement=standing.agreement
        )

    def agreement(self, name: str) -> str:
        """Whether an agreement covers the project now: none | live | over."""
        rows = self.acts.store.rows("select terms, state from agreements where project = ?", name)
        spans = (span_of(terms_of(json.loads(row["terms"])), row["state"]) for row in rows)
        return standing_of_agreements(spans, self.acts.clock.now())

    def get(self, name: str) -> Project:
        """One project as the wire has it; raises ``NotFoundError``."""
        row = self.acts.store.row("select * from projects where name = ?", name)
        if row is None:
            raise _not_found()
        members = self.acts.store.rows("select person, role from members where project = ? order by person", name)
        return Project(
            name=name,
            title=row["title"],
            purpose=row["purpose"],
            state=row["state"],
            members={member["person"]: member["role"] for member in members},
        )

    def _question(self, actor: Actor, name: str, *, person: str = "") -> tuple[Resource, Facts]:
        return Resource(project=name, person=person), Facts(project=self.facts(actor.name, name))


def _not_found() -> NotFoundError:
    return NotFoundError("project: wanted an existing one, got a name that nobody has created")


def _check_person(person: str) -> None:
    check_principal(person)
    if person.startswith(SERVICE_PREFIX):
        raise InvalidError("member: wanted a person, got a service")


def _words(text: str, what: str, limit: int) -> str:
    text = text.strip()
    if not 0 < len(text) <= limit:
        raise InvalidError(f"{what}: wanted 1 to {limit} characters, got {len(text)}")
    return text
