"""Who of a project may open a version: asked for by a data steward, decided by an honest broker, taken away by one.

The approval of a release grants the version to the members that the project has then. Whoever joins later needs a
grant of their own: otherwise one person alone, who adds members, would decide who sees data.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from enclave.core.clock import format_time, parse_time
from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.ids import VersionName, check_name, check_principal, check_token_id
from enclave.policy.decide import decide
from enclave.policy.model import Actor, Facts, GrantFacts, Resource
from enclave.registry.acts import Act, Acts, check_reason
from enclave.registry.determinations import Determinations
from enclave.registry.projects import Projects
from enclave.registry.store import Row
from enclave.wire.messages.grants import Grant, GrantList

_OPEN = "('requested', 'active')"


@dataclass(frozen=True, slots=True)
class Grants:
    """Requests by data stewards, decisions by honest brokers, revocations by either."""

    acts: Acts
    projects: Projects
    determinations: Determinations

    def request(self, actor: Actor, name: VersionName, *, project: str, person: str, until: str) -> Grant:
        """A request that an honest broker decides; raises ``ConflictError`` when there is one that is not over."""
        check_name(project, what="project")
        check_principal(person)
        until = self._end(until)
        grant = secrets.token_hex(16)

        def insert() -> Grant:
            self._mark_over(name, project=project, person=person)
            self.acts.store.change(
                "insert into grants (id, dataset, version, project, person, state, until, requested_by, requested) "
                "values (?, ?, ?, ?, ?, 'requested', ?, ?, ?)",
                *(grant, name.dataset, name.version, project, person, until, actor.name, self.acts.now_text()),
            )
            return self.get(grant)

        def question() -> tuple[Resource, Facts]:
            asked = GrantFacts(
                id=grant,
                person=person,
                project=project,
                dataset=name.dataset,
                version=name.version,
                state="new",
                requested_by=actor.name,
                person_is_member=bool(self.projects.standing(person, project).member_role),
            )
            return self._question(actor, grant, name, project=project, asked=asked)

        act = self._act("grant.request", actor, name, project, {"grant": grant, "person": person, "until": until})
        return self.acts.perform(act, question, insert)

    def decide(self, actor: Actor, grant: str, *, approve: bool, reason: str) -> Grant:
        """Approves or refuses; of two decisions at once one is a conflict."""
        check_reason(reason)
        row = self.row(grant)

        def update() -> Grant:
            return self._settle(row, "active" if approve else "refused", actor=actor, reason=reason)

        act = self._act_on("grant.decide", actor, row, {"approve": approve})
        return self.acts.perform(act, lambda: self._question_about(actor, grant, approve=approve), update)

    def revoke(self, actor: Actor, grant: str, *, reason: str) -> Grant:
        """Takes a grant away at once; brokerd sees it at its next look (≤ 2 s) and ends lease and kernel."""
        check_reason(reason)
        row = self.row(grant)
        act = self._act_on("grant.revoke", actor, row, {})
        return self.acts.perform(
            act,
            lambda: self._question_about(actor, grant),
            lambda: self._settle(row, "revoked", actor=actor, reason=reason),
        )

    def list_all(self, actor: Actor, *, project: str | None) -> GrantList:
        """All grants, newest first; ``project`` narrows."""
        self.acts.check_may_read(Act(kind="grant.list", actor=actor, project=project))
        rows = self.acts.store.rows(
            "select id from grants where ?1 is null or project = ?1 order by requested desc, id", project
        )
        return GrantList(grants=tuple(self.get(row["id"]) for row in rows))

    # ── steps of other acts, inside of their transaction ────────────────────

    def grant_to_members(self, actor: Actor, release: Row) -> None:
        """What the approval of a release means: its members of now may open the version."""
        name, project = VersionName(release["dataset"], release["version"]), release["project"]
        for person in self.projects.get(project).members:
            self._mark_over(name, project=project, person=person)
            if self._open_row(person, name, project=project) is not None:
                continue
            grant, now = secrets.token_hex(16), self.acts.now_text()
            detail = {"grant": grant, "person": person, "approve": True, "release": release["id"]}
            self.acts.record(self._act("grant.decide", actor, name, project, detail), "ok")
            self.acts.store.change(
                "insert into grants values (?, ?, ?, ?, ?, 'active', '', ?, ?, ?, ?, ?, ?)",
                *(grant, name.dataset, name.version, project, person, release["id"]),
                *(release["requested_by"], release["requested"], actor.name, now, "By the release."),
            )

    # ── facts ───────────────────────────────────────────────────────────────

    def of(self, person: str, name: VersionName, *, project: str) -> Row | None:
        """The grant that counts: the one that is requested or active, else the one that was decided last."""
        return self._open_row(person, name, project=project) or self.acts.store.row(
            "select * from grants where dataset = ? and version = ? and project = ? and person = ? "
            "order by decided desc, id limit 1",
            *(name.dataset, name.version, project, person),
        )

    def newest(self, person: str, *, project: str, dataset: str) -> int | None:
        """The newest released version of ``dataset`` that ``person`` has an active grant for in ``project``."""
        row = self.acts.store.row(
            "select max(g.version) as newest from grants g join releases r using (dataset, version, project) "
            "join versions v using (dataset, version) where g.person = ? and g.project = ? and g.dataset = ? "
            "and g.state = 'active' and r.state = 'approved' and v.state = 'released' "
            "and (g.until = '' or g.until > ?)",
            *(person, project, dataset, self.acts.now_text()),
        )
        return row["newest"] if row is not None else None

    def row(self, grant: str) -> Row:
        """The stored grant; raises ``NotFoundError``."""
        check_token_id(grant, what="grant id")
        row = self.acts.store.row("select * from grants where id = ?", grant)
        if row is None:
            raise NotFoundError("grant: wanted a known one, got an id that the registry does not have")
        return row

    def get(self, grant: str) -> Grant:
        """The same as the wire has it, with what the policy says to it now."""
        row = self.row(grant)
        return Grant(
            id=row["id"],
            person=row["person"],
            dataset=row["dataset"],
            version=row["version"],
            project=row["project"],
            state=row["state"],
            until=row["until"],
            release=row["release"],
            requested_by=row["requested_by"],
            decided_by=row["decided_by"],
            reason=row["reason"],
            opens=self._opens(row),
        )

    # ── inner steps ─────────────────────────────────────────────────────────

    def _opens(self, row: Row) -> str:
        """``ok``, or why the person may not open the version now."""
        actor = Actor(row["person"], frozenset({"researcher"}))
        resource, facts = self._question_about(actor, row["id"])
        return decide(actor, "dataset.open", resource, facts, self.acts.clock.now()).reason

    def _question_about(self, actor: Actor, grant: str, *, approve: bool = True) -> tuple[Resource, Facts]:
        row = self.row(grant)
        name = VersionName(row["dataset"], row["version"])
        asked = GrantFacts(
            id=grant,
            person=row["person"],
            project=row["project"],
            dataset=name.dataset,
            version=name.version,
            state=row["state"],
            requested_by=row["requested_by"],
            until=parse_time(row["until"]) if row["until"] else None,
            person_is_member=bool(self.projects.standing(row["person"], row["project"]).member_role),
            approve=approve,
        )
        return self._question(actor, grant, name, project=row["project"], asked=asked)

    def _question(
        self, actor: Actor, grant: str, name: VersionName, *, project: str, asked: GrantFacts
    ) -> tuple[Resource, Facts]:
        current = self.determinations.current_row(name)
        facts = Facts(
            project=self.projects.facts(actor.name, project),
            version=self.determinations.version_facts(name, project=project),
            certificate=self.determinations.certificate_facts(current, name, project=project),
            grant=asked,
        )
        resource = Resource(id=grant, project=project, dataset=name.dataset, version=name.version, person=asked.person)
        return resource, facts

    def _settle(self, row: Row, state: str, *, actor: Actor, reason: str) -> Grant:
        self.acts.store.change(
            "update grants set state = ?, decided_by = ?, decided = ?, reason = ? where id = ?",
            *(state, actor.name, self.acts.now_text(), reason, row["id"]),
        )
        return self.get(row["id"])

    def _open_row(self, person: str, name: VersionName, *, project: str) -> Row | None:
        return self.acts.store.row(
            f"select * from grants where dataset = ? and version = ? and project = ? and person = ? "  # noqa: S608 - a constant
            f"and state in {_OPEN}",
            *(name.dataset, name.version, project, person),
        )

    def _mark_over(self, name: VersionName, *, project: str, person: str) -> None:
        """An active grant whose time has ended makes room for the next."""
        self.acts.store.change(
            "update grants set state = 'over' where dataset = ? and version = ? and project = ? and person = ? "
            "and state = 'active' and until <> '' and until <= ?",
            *(name.dataset, name.version, project, person, self.acts.now_text()),
        )

    def _end(self, until: str) -> str:
        if not until:
            return ""
        at = parse_time(until)
        if at <= self.acts.clock.now():
            raise InvalidError("grant: wanted an end that is still to come, got a time that has passed")
        return format_time(at)

    def _act_on(self, kind: str, actor: Actor, row: Row, detail: dict[str, object]) -> Act:
        named = {"grant": row["id"], "person": row["person"], **detail}
        return self._act(kind, actor, VersionName(row["dataset"], row["version"]), row["project"], named)

    def _act(self, kind: str, actor: Actor, name: VersionName, project: str, detail: dict[str, object]) -> Act:
        return Act(
            kind=kind, actor=actor, project=project, dataset=name.dataset, version=name.version, detail=dict(detail)
        )
