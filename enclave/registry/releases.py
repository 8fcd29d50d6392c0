"""A version on its way to a project, and what daemons ask before they open one."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Final

from enclave.core.errors import NotFoundError
from enclave.core.ids import VersionName, check_name, check_principal, check_token_id
from enclave.determination.certificate import parse_certificate
from enclave.policy.model import SERVICE_PREFIX, Actor, Facts, ReleaseFacts, Resource
from enclave.registry.acts import Act, Acts, check_reason
from enclave.registry.determinations import Determinations
from enclave.registry.grants import Grants
from enclave.registry.projects import MISSING, Projects
from enclave.registry.samples import facts_of
from enclave.registry.security_keys import SecurityKeys
from enclave.registry.store import Row
from enclave.wire.messages.facts import LeaseFacts, ProjectDatasets
from enclave.wire.messages.registry import Release, ReleaseList
from enclave.wire.messages.schema import Json
from enclave.wire.messages.security_keys import StepUp

_NEVER: Final = "1970-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class Releases:
    """Requests by data stewards, decisions by honest brokers, and the facts that follow from them."""

    acts: Acts
    projects: Projects
    determinations: Determinations
    grants: Grants
    keys: SecurityKeys

    def request(self, actor: Actor, name: VersionName, *, project: str) -> Release:
        """A request that an honest broker decides; raises ``ConflictError`` when there is an open or approved one."""
        check_name(project, what="project")
        release = secrets.token_hex(16)
        current = self.determinations.current_row(name)
        certificate = current["id"] if current else ""

        def insert() -> Release:
            self.acts.store.change(
                "insert into releases (id, dataset, version, project, state, certificate, requested_by, requested) "
                "values (?, ?, ?, ?, 'requested', ?, ?, ?)",
                *(release, name.dataset, name.version, project, certificate, actor.name, self.acts.now_text()),
            )
            return self.get(release)

        def question() -> tuple[Resource, Facts]:
            facts = Facts(
                project=self.projects.facts(actor.name, project),
                version=self.determinations.version_facts(name, project=project),
                certificate=self.determinations.certificate_facts(
                    self._row_or_none(certificate), name, project=project
                ),
            )
            return Resource(project=project, dataset=name.dataset, version=name.version), facts

        detail = {"release": release, "certificate": certificate}
        act = self._act("release.request", actor, name, project, detail)
        return self.acts.perform(act, question, insert)

    def confirm(self, actor: Actor, release: str, *, approve: bool, reason: str) -> StepUp:
        """What the broker's security key must sign before ``decide`` with the same words counts."""
        check_reason(reason)
        row = self.row(release)
        act = self._confirmed_act(row, approve=approve, reason=reason)
        name = VersionName(row["dataset"], row["version"])
        told = self._act("release.confirm", actor, name, row["project"], {"release": release, "approve": approve})
        return self.keys.ask(told, act, question=lambda: self._decision_question(actor, release, approve=approve))

    def decide(
        self,
        actor: Actor,
        release: str,
        *,
        approve: bool,
        reason: str,
        challenge: str = "",
        assertion: Json = None,
    ) -> Release:
        """Approves or refuses; an approval is a grant to the members of now. Of two at once one is a conflict.

        Either needs the confirmation of exactly this by a security key of the broker's.
        """
        check_reason(reason)
        row = self.row(release)
        name = VersionName(row["dataset"], row["version"])
        about = self._confirmed_act(row, approve=approve, reason=reason)
        proof = {"challenge": challenge, "assertion": assertion}
        confirmed = self.keys.facts(actor, about, **proof)

        def update() -> Release:
            self.keys.use(actor, about, **proof)
            return self._write_decision(actor, row, approve=approve, reason=reason)

        def question() -> tuple[Resource, Facts]:
            resource, facts = self._decision_question(actor, release, approve=approve)
            return resource, replace(facts, step_up=confirmed)

        detail = {"release": release, "certificate": row["certificate"], "approve": approve, "challenge": challenge}
        detail |= {"key": confirmed.key} if confirmed else {}
        act = self._act("release.decide", actor, name, row["project"], detail)
        return self.acts.perform(act, question, update)

    def withdraw(self, actor: Actor, release: str, reason: str) -> Release:
        """Takes an approved release back: its project's leases on the version end within seconds."""
        check_reason(reason)
        row = self.row(release)
        name = VersionName(row["dataset"], row["version"])

        def change() -> Release:
            self.acts.store.change("update releases set state = 'withdrawn', reason = ? where id = ?", reason, release)
            return self.get(release)

        act = self._act("release.withdraw", actor, name, row["project"], {"release": release})
        return self.acts.perform(act, lambda: self._decision_question(actor, release, approve=False), change)

    def _write_decision(self, actor: Actor, row: Row, *, approve: bool, reason: str) -> Release:
        self.acts.store.change(
            "update releases set state = ?, decided_by = ?, decided = ?, reason = ? where id = ?",
            *("approved" if approve else "refused", actor.name, self.acts.now_text(), reason, row["id"]),
        )
        if approve:
            self.acts.store.change(
                "update versions set state = 'released' where dataset = ? and version = ?",
                *(row["dataset"], row["version"]),
            )
            self.grants.grant_to_members(actor, row)
        return self.get(row["id"])

    def _confirmed_act(self, row: Row, *, approve: bool, reason: str) -> dict[str, Json]:
        """All of the decision that a confirmation stands for; the certificate by the digest of its text."""
        return {
            "kind": "release.decide",
            "release": row["id"],
            "dataset": row["dataset"],
            "version": row["version"],
            "project": row["project"],
            "certificate": self.determinations.row(row["certificate"])["digest"],
            "approve": approve,
            "reason": hashlib.sha256(reason.encode("utf-8")).hexdigest(),
        }

    def _decision_question(self, actor: Actor, release: str, *, approve: bool) -> tuple[Resource, Facts]:
        row = self.row(release)
        name, project = VersionName(row["dataset"], row["version"]), row["project"]
        facts = Facts(
            project=self.projects.facts(actor.name, project),
            version=self.determinations.version_facts(name, project=project),
            certificate=self.determinations.certificate_facts(
                self.determinations.row(row["certificate"]), name, project=project
            ),
            release=ReleaseFacts(id=release, state=row["state"], requested_by=row["requested_by"], approve=approve),
            sample=facts_of(self.acts.store, name),
        )
        return Resource(id=release, project=project, dataset=name.dataset, version=name.version), facts

    def list_all(self, actor: Actor) -> ReleaseList:
        """All releases, newest first."""
        self.acts.check_may_read(Act(kind="release.list", actor=actor))
        rows = self.acts.store.rows("select id from releases order by requested desc, id")
        return ReleaseList(releases=tuple(self.get(row["id"]) for row in rows))

    # ── facts for other daemons ─────────────────────────────────────────────

    def lease_facts(self, *, person: str, project: str, dataset: str, version: int | None) -> LeaseFacts:
        """What is true now; what does not exist has the state ``missing``. Decides nothing."""
        check_principal(person)
        check_name(dataset, what="dataset")
        standing = self.projects.standing(person, project)
        name = self._wanted(person, project, dataset, version)
        row = self.determinations.find_version(name) if name else None
        if name is None or row is None:
            return _missing(standing.state, standing.member_role, dataset, version or 0)
        current = self.determinations.current_row(name)
        grant = self.grants.of(person, name, project=project)
        held = self.determinations.certificate_facts(current, name, project=project)
        return LeaseFacts(
            project_state=standing.state,
            member_role=standing.member_role,
            dataset=dataset,
            version=name.version,
            version_state=row["state"],
            content_root=row["content_root"],
            released_to_project=project in self.determinations.version(name).projects,
            certificate_id=held.id if held else "",
            certificate_valid=held.valid if held else False,
            certificate_reason=held.reason if held else MISSING,
            certificate_root=held.content_root if held else "",
            not_before=parse_certificate(current["text"].encode()).not_before if current else _NEVER,
            expires=parse_certificate(current["text"].encode()).expires if current else _NEVER,
            certificate_expert=held.expert if held else "",
            version_steward=row["steward"],
            engagement_until=self._engagement_until(person, name),
            grant_id=grant["id"] if grant else "",
            grant_state=grant["state"] if grant else "",
            grant_until=grant["until"] if grant else "",
            agreement=self.projects.agreement(project),
        )

    def project_datasets(self, *, person: str, project: str) -> ProjectDatasets:
        """Of each dataset in the project the newest version that the person may open; nothing for no member."""
        check_principal(person)
        standing = self.projects.standing(person, project)
        if standing.state != "open" or not (standing.member_role or person.startswith(SERVICE_PREFIX)):
            return ProjectDatasets(versions=())
        rows = self.acts.store.rows(
            "select r.dataset, max(r.version) as version from releases r join versions v using (dataset, version) "
            "where r.project = ? and r.state = 'approved' and v.state = 'released' "
            "group by r.dataset order by r.dataset",
            project,
        )
        names = (
            VersionName(
                row["dataset"], self.grants.newest(person, project=project, dataset=row["dataset"]) or row["version"]
            )
            for row in rows
        )
        return ProjectDatasets(versions=tuple(self.determinations.version(name) for name in names))

    def _wanted(self, person: str, project: str, dataset: str, version: int | None) -> VersionName | None:
        if version is not None:
            return VersionName(dataset, version) if version > 0 else None
        granted = self.grants.newest(person, project=project, dataset=dataset)
        if granted is not None:
            return VersionName(dataset, granted)
        row = self.acts.store.row(
            "select max(version) as newest from releases where project = ? and dataset = ? and state = 'approved'",
            project,
            dataset,
        )
        if row is not None and row["newest"] is not None:
            return VersionName(dataset, row["newest"])
        engaged = [one.version for one in self.determinations.engagements(person) if one.dataset == dataset]
        return VersionName(dataset, engaged[0]) if engaged else None

    def _engagement_until(self, person: str, name: VersionName) -> str:
        found = (
            one.until
            for one in self.determinations.engagements(person)
            if (one.dataset, one.version) == (name.dataset, name.version)
        )
        return next(found, "")

    def _row_or_none(self, certificate: str) -> Row | None:
        return self.determinations.row(certificate) if certificate else None

    def row(self, release: str) -> Row:
        """The stored release; raises ``NotFoundError``."""
        check_token_id(release, what="release id")
        row = self.acts.store.row("select * from releases where id = ?", release)
        if row is None:
            raise NotFoundError("release: wanted a known one, got an id that the registry does not have")
        return row

    def get(self, release: str) -> Release:
        """The same as the wire has it."""
        row = self.row(release)
        return Release(
            id=row["id"],
            dataset=row["dataset"],
            version=row["version"],
            project=row["project"],
            state=row["state"],
            requested_by=row["requested_by"],
            decided_by=row["decided_by"],
            reason=row["reason"],
        )

    def _act(self, kind: str, actor: Actor, name: VersionName, project: str, detail: dict[str, object]) -> Act:
        return Act(
            kind=kind, actor=actor, project=project, dataset=name.dataset, version=name.version, detail=dict(detail)
        )


def _missing(project_state: str, member_role: str, dataset: str, version: int) -> LeaseFacts:
    return LeaseFacts(
        project_state=project_state,
        member_role=member_role,
        dataset=dataset,
        version=version,
        version_state=MISSING,
        content_root="",
        released_to_project=False,
        certificate_id="",
        certificate_valid=False,
        certificate_reason=MISSING,
        certificate_root="",
        not_before=_NEVER,
        expires=_NEVER,
    )
