"""The register of agreements: a data steward records what was signed, an honest broker confirms it, either ends it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from enclave.core.canonical import canonical_bytes
from enclave.core.errors import NotFoundError
from enclave.core.ids import check_name, check_token_id
from enclave.governance.agreement import Terms, check_document, span_of, terms_of, to_table
from enclave.policy.model import Actor, AgreementFacts, Facts, Resource
from enclave.registry.acts import Act, Acts, check_reason
from enclave.registry.projects import Projects
from enclave.registry.store import Row
from enclave.wire.messages.agreements import Agreement, AgreementList


@dataclass(frozen=True, slots=True)
class Agreements:
    """Agreements of projects; what they cover, the policy asks through the project's facts."""

    acts: Acts
    projects: Projects

    def record(self, actor: Actor, terms: dict[str, Any], *, document: str, ticket: str | None = None) -> Agreement:
        """Writes down a signed agreement; it counts once an honest broker has confirmed it."""
        found = terms_of(terms)
        check_document(document)
        agreement = secrets.token_hex(16)

        def insert() -> Agreement:
            text = canonical_bytes(to_table(found)).decode()
            self.acts.store.change(
                "insert into agreements (id, project, terms, document, state, recorded_by, recorded) "
                "values (?, ?, ?, ?, 'recorded', ?, ?)",
                *(agreement, found.project, text, document, actor.name, self.acts.now_text()),
            )
            return self.get(agreement)

        def question() -> tuple[Resource, Facts]:
            facts = Facts(project=self.projects.facts(actor.name, found.project))
            return Resource(id=agreement, project=found.project), facts

        act = Act(
            kind="agreement.record",
            actor=actor,
            project=found.project,
            ticket=ticket,
            detail={"agreement": agreement, "agreement_kind": found.kind, "document": document},
        )
        return self.acts.perform(act, question, insert)

    def decide(self, actor: Actor, agreement: str, *, approve: bool, reason: str) -> Agreement:
        """Confirms that the record is as signed, or refuses it."""
        check_reason(reason)
        row = self._row(agreement)

        def update() -> Agreement:
            self.acts.store.change(
                "update agreements set state = ?, decided_by = ?, decided = ?, reason = ? where id = ?",
                *("in_force" if approve else "refused", actor.name, self.acts.now_text(), reason, agreement),
            )
            return self.get(agreement)

        return self.acts.perform(
            self._act("agreement.decide", actor, row, {"approve": approve}),
            lambda: self._question(actor, agreement),
            update,
        )

    def end(self, actor: Actor, agreement: str, *, reason: str) -> Agreement:
        """Ends it now; brokerd sees it at its next look (≤ 2 s)."""
        check_reason(reason)
        row = self._row(agreement)

        def update() -> Agreement:
            self.acts.store.change(
                "update agreements set state = 'ended', ended_by = ?, ended = ?, reason = ? where id = ?",
                *(actor.name, self.acts.now_text(), reason, agreement),
            )
            return self.get(agreement)

        return self.acts.perform(
            self._act("agreement.end", actor, row, {}), lambda: self._question(actor, agreement), update
        )

    def list_all(self, actor: Actor, *, project: str | None) -> AgreementList:
        """All agreements, newest first; ``project`` narrows."""
        if project is not None:
            check_name(project, what="project")
        self.acts.check_may_read(Act(kind="agreement.list", actor=actor, project=project))
        rows = self.acts.store.rows(
            "select id from agreements where ?1 is null or project = ?1 order by recorded desc, rowid desc", project
        )
        return AgreementList(agreements=tuple(self.get(row["id"]) for row in rows))

    def get(self, agreement: str) -> Agreement:
        """One as the wire has it; raises ``NotFoundError``."""
        row = self._row(agreement)
        terms = _terms(row)
        stands, days_left = self._stands(terms, row["state"])
        return Agreement(
            id=row["id"],
            project=row["project"],
            terms=to_table(terms),
            document=row["document"],
            state=row["state"],
            standing=stands,
            days_left=days_left,
            recorded_by=row["recorded_by"],
            recorded=row["recorded"],
            decided_by=row["decided_by"],
            ended_by=row["ended_by"],
            reason=row["reason"],
        )

    def _stands(self, terms: Terms, state: str) -> tuple[str, int | None]:
        if state != "in_force":
            return {"recorded": "waits"}.get(state, state), None
        span, at = span_of(terms, state), self.acts.clock.now()
        if at < span.begins:
            return "not_begun", None
        return ("live", (span.ends - at).days) if at < span.ends else ("expired", None)

    def _row(self, agreement: str) -> Row:
        check_token_id(agreement, what="agreement id")
        row = self.acts.store.row("select * from agreements where id = ?", agreement)
        if row is None:
            raise NotFoundError("agreement: wanted a known one, got an id that the registry does not have")
        return row

    def _question(self, actor: Actor, agreement: str) -> tuple[Resource, Facts]:
        row = self._row(agreement)
        facts = AgreementFacts(id=agreement, project=row["project"], state=row["state"], recorded_by=row["recorded_by"])
        resource = Resource(id=agreement, project=row["project"])
        return resource, Facts(project=self.projects.facts(actor.name, row["project"]), agreement=facts)

    def _act(self, kind: str, actor: Actor, row: Row, detail: dict[str, Any]) -> Act:
        return Act(kind=kind, actor=actor, project=row["project"], detail={"agreement": row["id"], **detail})


def _terms(row: Row) -> Terms:
    return terms_of(json.loads(row["terms"]))
