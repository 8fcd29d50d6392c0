"""Versions and the determinations about them: registered, drafted, signed, ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from enclave.core.canonical import canonical_bytes
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import ConflictError, IntegrityError, InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import VersionName, check_name, check_principal, check_token_id
from enclave.determination.certificate import Certificate as Document
from enclave.determination.certificate import (
    Signature,
    SignedCertificate,
    decode,
    parse_certificate,
    signature_text,
)
from enclave.determination.completeness import check_complete
from enclave.determination.states import check_move
from enclave.policy.model import Actor, CertificateFacts, DeterminationFacts, Facts, Resource, VersionFacts
from enclave.registry import samples
from enclave.registry.acts import Act, Acts, check_reason
from enclave.registry.reassessments import Reassessments
from enclave.registry.signatures import SELF, Signatures
from enclave.registry.store import Row
from enclave.registry.trust import write_revoked
from enclave.runtime.home import Home
from enclave.wire.messages.facts import Engagement
from enclave.wire.messages.registry import Certificate, CertificateList, Version, VersionList
from enclave.wire.messages.schema import Json

Find = Callable[[], Signature | None]
INTAKE = Actor("service:intake", frozenset({"service"}))


@dataclass(frozen=True, slots=True)
class Determinations:
    """The catalogue of versions and what experts have determined about them."""

    acts: Acts
    home: Home
    signatures: Signatures
    reassessments: Reassessments
    engagement: timedelta = field(default=timedelta(days=30))

    # ── versions ────────────────────────────────────────────────────────────

    def register(
        self,
        name: VersionName,
        *,
        content_root: str,
        summary: Json,
        steward: str,
        review: str,
        sample: int,
        only_for: str = "",
    ) -> Version:
        """A sealed candidate from the intake; asking twice with the same content is fine."""
        check_name(name.dataset, what="dataset")
        check_principal(steward)
        if len(content_root) != 64 or not set(content_root) <= set("0123456789abcdef"):
            raise InvalidError("content root: wanted 64 hex digits, got another form")
        samples.check_need(review, sample=sample)
        if only_for:
            check_name(only_for, what="project")
        found = self.find_version(name)
        if found is not None:
            if (found["content_root"], found["steward"]) == (content_root, steward):
                return self.version(name)
            raise ConflictError("dataset version: wanted a new number, got one that is registered with other content")

        def insert() -> Version:
            values = (name.dataset, name.version, content_root, "candidate", _dump(summary), steward)
            self.acts.store.change(
                "insert into versions (dataset, version, content_root, state, summary, steward, registered, only_for) "
                "values (?, ?, ?, ?, ?, ?, ?, ?)",
                *(*values, self.acts.now_text(), only_for),
            )
            samples.insert(self.acts.store, name, review=review, sample=sample)
            self.reassessments.look(name)
            return self.version(name)

        detail: dict[str, Json] = {"content_root": content_root, "steward": steward, "review": review, "sample": sample}
        detail |= {"only_for": only_for} if only_for else {}
        act = self._act("version.register", INTAKE, name, detail)
        return self.acts.perform(act, lambda: (Resource(dataset=name.dataset, version=name.version), Facts()), insert)

    def list_versions(self, actor: Actor, dataset: str | None) -> VersionList:
        """All versions, newest first."""
        self.acts.check_may_read(Act(kind="version.list", actor=actor, dataset=dataset))
        rows = self.acts.store.rows(
            "select dataset, version from versions where ?1 is null or dataset = ?1 order by dataset, version desc",
            dataset,
        )
        return VersionList(versions=tuple(self.version(VersionName(row["dataset"], row["version"])) for row in rows))

    def version(self, name: VersionName) -> Version:
        """One version as the wire has it; raises ``NotFoundError``."""
        row = self.version_row(name)
        current = self.current_row(name)
        projects = self.acts.store.rows(
            "select project from releases where dataset = ? and version = ? and state = 'approved' order by project",
            name.dataset,
            name.version,
        )
        return Version(
            dataset=name.dataset,
            version=name.version,
            content_root=row["content_root"],
            state=row["state"],
            summary=json.loads(row["summary"]),
            certificate=current["id"] if current else None,
            projects=tuple(one["project"] for one in projects),
            steward=row["steward"],
            only_for=row["only_for"],
            review=samples.shown(self.acts.store, name),
        )

    def find_version(self, name: VersionName) -> Row | None:
        """The stored version, None when there is none."""
        return self.acts.store.row(
            "select * from versions where dataset = ? and version = ?", name.dataset, name.version
        )

    def version_row(self, name: VersionName) -> Row:
        """The stored version; raises ``NotFoundError``."""
        row = self.find_version(name)
        if row is None:
            raise NotFoundError(f"dataset version {name}: wanted a registered one, got none of this name")
        return row

    def version_facts(self, name: VersionName, *, project: str = "") -> VersionFacts:
        """The version for the policy; raises ``NotFoundError``."""
        row = self.version_row(name)
        return VersionFacts(
            dataset=name.dataset,
            version=name.version,
            state=row["state"],
            content_root=row["content_root"],
            steward=row["steward"],
            released_to_project=project in self.version(name).projects,
            only_for=row["only_for"],
        )

    # ── drafts ──────────────────────────────────────────────────────────────

    def draft(self, actor: Actor, text: str) -> Certificate:
        """Takes the canonical text for a registered version; its root and steward must be the version's."""
        document = parse_certificate(text.encode())

        def insert() -> Certificate:
            check_complete(document)
            self._check_about(document)
            digest = hashlib.sha256(text.encode()).hexdigest()
            now = self.acts.now_text()
            self.acts.store.change(
                "insert into determinations (id, dataset, version, expert, steward, state, text, digest, drafted_by, "
                "drafted, changed) values (?, ?, ?, ?, ?, 'draft', ?, ?, ?, ?, ?)",
                *(document.id, document.dataset, document.version, document.expert.principal, document.steward),
                *(text, digest, actor.name, now, now),
            )
            return self.get(document.id)

        detail = {
            "certificate": document.id,
            "digest": hashlib.sha256(text.encode()).hexdigest(),
            "expert": document.expert.principal,
        }
        act = self._act("determination.draft", actor, document.name, detail)
        return self.acts.perform(act, lambda: self._draft_question(document), insert)

    def _draft_question(self, document: Document) -> tuple[Resource, Facts]:
        facts = Facts(
            version=self.version_facts(document.name),
            determination=DeterminationFacts(
                id=document.id, state="draft", expert=document.expert.principal, steward=document.steward
            ),
        )
        return Resource(id=document.id, dataset=document.dataset, version=document.version), facts

    def _check_about(self, document: Document) -> None:
        row = self.version_row(document.name)
        if document.content_root != row["content_root"]:
            raise InvalidError("certificate: wanted the content root of the registered version, got another root")
        if document.steward != row["steward"]:
            raise InvalidError("certificate: wanted the data steward of the registered version, got another person")
        if document.supersedes is not None:
            old = self.row(document.supersedes)
            if old["dataset"] != document.dataset:
                raise InvalidError("certificate: wanted to supersede one of the same dataset, got one of another")

    def begin(self, actor: Actor, certificate: str) -> Certificate:
        """From draft to under_assessment: the expert may look at the candidate from now on."""
        row = self.row(certificate)
        act = self._act("determination.begin", actor, _name(row), {"certificate": certificate})
        return self.acts.perform(
            act, lambda: self._question(certificate), lambda: self._move(certificate, "under_assessment")
        )

    # ── the expert's word ───────────────────────────────────────────────────

    def sign(self, actor: Actor, certificate: str, signature: str) -> Certificate:
        """Takes the expert's detached signature; refuses one that is not of a trusted key over exactly this text."""
        row, value = self.row(certificate), decode(signature)
        return self.take_signature(actor, row, lambda: self.signatures.by_expert(row, value))

    def take_signature(self, actor: Actor, row: Row, find: Find) -> Certificate:
        """As ``sign``; ``find`` gives the signature, None when nobody trusted has made it."""
        certificate = row["id"]
        taken: list[Signature] = []
        detail: dict[str, Json] = {"certificate": certificate, "digest": row["digest"], "key_digest": ""}
        act = self._act("determination.sign", actor, _name(row), detail)

        def guard() -> None:
            check_complete(parse_certificate(row["text"].encode()))
            signature = find()
            if signature is None:
                raise IntegrityError(
                    "signature: wanted one by a trusted key of this expert over this text, got another", code="altered"
                )
            root = self.version_row(_name(row))["content_root"]
            signed = SignedCertificate(row["text"].encode(), signature)
            if (reason := self.signatures.judge(signed, row, content_root=root).reason) not in ("ok", "not_yet_valid"):
                raise ConflictError(f"certificate: wanted one that can be signed, got {reason}", code=reason)
            detail["key_digest"] = hashlib.sha256(signature.public_key).hexdigest()
            taken.append(signature)

        def change() -> Certificate:
            if self.row(certificate)["state"] == "draft":
                self.acts.record(
                    self._act("determination.begin", actor, _name(row), {"certificate": certificate}), "ok"
                )
                self._move(certificate, "under_assessment")
            self.acts.store.change(
                "update determinations set signature = ? where id = ?", signature_text(taken[0]), certificate
            )
            return self._move(certificate, "signed")

        return self.acts.perform(act, lambda: self._question(certificate), change, guard=guard)

    def countersign(self, actor: Actor, certificate: str, signature: str) -> Certificate:
        """Takes the data steward's detached signature over the text and the expert's signature under it."""
        row, value = self.row(certificate), decode(signature)
        return self.take_countersignature(actor, row, lambda: self.signatures.by_steward(row, value))

    def take_countersignature(self, actor: Actor, row: Row, find: Find) -> Certificate:
        """As ``countersign``, with what ``find`` gives; only then can a release rest on the determination."""
        certificate = row["id"]
        taken: list[Signature] = []
        detail: dict[str, Json] = {"certificate": certificate, "digest": row["digest"], "key_digest": ""}
        act = self._act("determination.countersign", actor, _name(row), detail)

        def guard() -> None:
            if row["countersignature"]:
                raise ConflictError(
                    "certificate: wanted one without a counter-signature, got one that has it", code="countersigned"
                )
            signature = find()
            if signature is None:
                raise IntegrityError(
                    "counter-signature: wanted one by a trusted key of this data steward over text and signature, "
                    "got another",
                    code="altered",
                )
            detail["key_digest"] = hashlib.sha256(signature.public_key).hexdigest()
            taken.append(signature)

        def change() -> Certificate:
            self.acts.store.change(
                "update determinations set countersignature = ? where id = ?", signature_text(taken[0]), certificate
            )
            self._supersede(row)  # not at the signature: one expert alone does not end what another one signed
            return self.get(certificate)

        return self.acts.perform(act, lambda: self._question(certificate), change, guard=guard)

    def decline(self, actor: Actor, certificate: str, reason: str) -> Certificate:
        """The expert says no; nothing can be released on it."""
        row = self.row(certificate)
        check_reason(reason)

        def change() -> Certificate:
            if self.row(certificate)["state"] == "draft":
                self._move(certificate, "under_assessment")
            return self._move(certificate, "declined", reason=reason)

        act = self._act("determination.decline", actor, _name(row), {"certificate": certificate})
        return self.acts.perform(act, lambda: self._question(certificate), change)

    def revoke(self, actor: Actor, certificate: str, reason: str, *, ticket: str | None = None) -> Certificate:
        """Ends a signed determination at once; brokerd sees it at its next look (≤ 2 s)."""
        self.expire_due()
        row = self.row(certificate)
        check_reason(reason)
        act = replace(self._act("determination.revoke", actor, _name(row), {"certificate": certificate}), ticket=ticket)
        result = self.acts.perform(
            act, lambda: self._question(certificate), lambda: self._move(certificate, "revoked", reason=reason)
        )
        self.publish_revoked()
        return result

    def reaffirm(self, actor: Actor, certificate: str, reason: str) -> Certificate:
        """The expert looked again after a trigger and stands by the determination."""
        self.reassessments.reaffirm(actor, self.row(certificate), reason)
        return self.get(certificate)

    def publish_revoked(self) -> None:
        """Writes the file that tools which stand alone take; what counts here is the state."""
        rows = self.acts.store.rows("select id, changed from determinations where state = 'revoked' order by id")
        revoked = [{"id": row["id"], "revoked": row["changed"]} for row in rows]
        write_revoked(self.home, revoked, at=self.acts.clock.now())

    def expire_due(self) -> None:
        """Marks what time has ended; the decision itself never waits for this mark."""
        now = self.acts.clock.now()
        for row in self.acts.store.rows("select * from determinations where state = 'signed'"):
            if parse_time(json.loads(row["text"])["expires"]) <= now:
                act = self._act("determination.expire", SELF, _name(row), {"certificate": row["id"]})
                with self.acts.store.transaction():
                    if self.row(row["id"])["state"] == "signed":
                        self.acts.record(act, "ok")
                        self._move(row["id"], "expired")

    # ── what others ask ─────────────────────────────────────────────────────

    def show(self, actor: Actor, certificate: str) -> Certificate:
        """One determination; raises ``NotFoundError``."""
        self.acts.check_may_read(Act(kind="determination.show", actor=actor))
        self._expire_if_possible()
        return self.get(certificate)

    def list_all(self, actor: Actor, dataset: str | None, version: int | None) -> CertificateList:
        """All determinations, newest first."""
        self.acts.check_may_read(Act(kind="determination.show", actor=actor))
        self._expire_if_possible()
        rows = self.acts.store.rows(
            "select id from determinations where (?1 is null or dataset = ?1) and (?2 is null or version = ?2) "
            "order by drafted desc, id",
            dataset,
            version,
        )
        return CertificateList(certificates=tuple(self.get(row["id"]) for row in rows))

    def current_row(self, name: VersionName) -> Row | None:
        """The determination that counts for a version: the newest that both signed, else the newest that the expert
        signed, else the newest that was."""
        return self.acts.store.row(
            "select * from determinations where dataset = ? and version = ? "
            "and state in ('signed', 'expired', 'revoked', 'superseded') "
            "order by state = 'signed' and countersignature is not null desc, state = 'signed' desc, changed desc, id "
            "limit 1",
            *(name.dataset, name.version),
        )

    def certificate_facts(self, row: Row | None, name: VersionName, *, project: str) -> CertificateFacts | None:
        """A determination as verified here and now; also whether its terms name the project and its purpose."""
        version = self.find_version(name)
        if row is None or version is None:
            return None
        reason, document = self.signatures.verified(row, content_root=version["content_root"])
        if reason == "ok" and document is not None:
            reason = self._coverage(document, project)
        shown = document or parse_certificate(row["text"].encode())
        return CertificateFacts(
            id=row["id"],
            valid=reason == "ok",
            reason=reason,
            content_root=shown.content_root,
            not_before=parse_time(shown.not_before),
            expires=parse_time(shown.expires),
            expert=row["expert"],
            reopened=bool(self.reassessments.open_for(row["id"])),
        )

    def _coverage(self, document: Document, project: str) -> str:
        if not document.covers(project):
            return "not_covering"
        row = self.acts.store.row("select purpose from projects where name = ?", project)
        return "ok" if row is not None and document.covers_purpose(row["purpose"]) else "purpose_not_covered"

    def engagements(self, expert: str) -> tuple[Engagement, ...]:
        """The versions that an expert is assessing and may look at; never by the expert's own word alone."""
        rows = self.acts.store.rows(
            "select d.*, v.content_root, coalesce((select max(r.opened) from reassessments r "
            "where r.certificate = d.id and r.closed = ''), d.changed) as since "
            "from determinations d join versions v using (dataset, version) where d.expert = ? and "
            "(d.state = 'under_assessment' or d.state = 'signed' and exists (select 1 from reassessments r "
            "where r.certificate = d.id and r.closed = '')) "
            "and (d.drafted_by <> d.expert or d.countersignature is not null) order by d.dataset, d.version desc",
            expert,
        )
        return tuple(
            Engagement(
                expert=expert,
                dataset=row["dataset"],
                version=row["version"],
                content_root=row["content_root"],
                certificate=row["id"],
                until=_later(row["since"], self.engagement),
            )
            for row in rows
        )

    def row(self, certificate: str) -> Row:
        """The stored determination; raises ``NotFoundError``."""
        check_token_id(certificate, what="certificate id")
        row = self.acts.store.row("select * from determinations where id = ?", certificate)
        if row is None:
            raise NotFoundError("certificate: wanted a known one, got an id that the registry does not have")
        return row

    def get(self, certificate: str) -> Certificate:
        """The same as the wire has it."""
        row = self.row(certificate)
        return Certificate(
            id=row["id"],
            state=row["state"],
            text=row["text"],
            digest=row["digest"],
            signature=row["signature"],
            reason=row["reason"],
            countersignature=row["countersignature"],
            reopened=self.reassessments.open_for(row["id"]),
        )

    # ── inner steps ─────────────────────────────────────────────────────────

    def _move(self, certificate: str, state: str, *, reason: str = "") -> Certificate:
        check_move(self.row(certificate)["state"], state)
        self.acts.store.change(
            "update determinations set state = ?, changed = ?, reason = ? where id = ?",
            *(state, self.acts.now_text(), reason, certificate),
        )
        return self.get(certificate)

    def _supersede(self, row: Row) -> None:
        old = json.loads(row["text"]).get("supersedes")
        if old is None or self.row(old)["state"] != "signed":
            return
        detail = {"certificate": old, "by": row["id"]}
        self.acts.record(self._act("determination.supersede", SELF, _name(row), detail), "ok")
        self._move(old, "superseded")

    def _question(self, certificate: str) -> tuple[Resource, Facts]:
        row = self.row(certificate)
        name = _name(row)
        facts = Facts(
            version=self.version_facts(name),
            determination=DeterminationFacts(
                id=certificate,
                state=row["state"],
                expert=row["expert"],
                steward=row["steward"],
                dataset=name.dataset,
                version=name.version,
                drafted_by=row["drafted_by"],
            ),
        )
        return Resource(id=certificate, dataset=name.dataset, version=name.version), facts

    def _expire_if_possible(self) -> None:
        try:
            self.expire_due()
        except UnavailableError:
            self.acts.log.warning("expiry not marked: the ledger gave no receipt")

    def _act(self, kind: str, actor: Actor, name: VersionName, detail: dict[str, Json]) -> Act:
        return Act(kind=kind, actor=actor, dataset=name.dataset, version=name.version, detail=detail)


def _name(row: Row) -> VersionName:
    return VersionName(row["dataset"], row["version"])


def _dump(value: Json) -> str:
    return canonical_bytes(value).decode()


def _later(text: str, span: timedelta) -> str:
    return format_time(parse_time(text) + span)
