"""Assessments that a trigger reopened: no new release or grant rests on them until the expert has looked again.

What runs goes on; the expert may open the version and reaffirms, revokes, or signs a new determination.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from enclave.core.errors import InvalidError
from enclave.core.ids import VersionName
from enclave.determination.certificate import parse_certificate
from enclave.determination.triggers import fired, software_differs
from enclave.policy.model import Actor, DeterminationFacts, Facts, Resource
from enclave.registry.acts import Act, Acts, check_reason
from enclave.registry.signatures import SELF
from enclave.registry.store import Row
from enclave.wire.messages.determination import SoftwareNoted
from enclave.wire.messages.schema import Json


@dataclass(frozen=True, slots=True)
class Reassessments:
    """Which certificates wait for their expert, since when and why."""

    acts: Acts

    def look(self, name: VersionName) -> None:
        """Within the transaction that registers ``name``: reopens what the dataset's other certificates say it does."""
        row = self.acts.store.row("select summary from versions where dataset = ? and version = ?", *_of(name))
        summary = json.loads(row["summary"]) if row is not None else {}
        for one in self.acts.store.rows(
            "select * from determinations where dataset = ? and version <> ? and state = 'signed' order by id",
            *_of(name),
        ):
            for trigger in fired(parse_certificate(one["text"].encode()), summary=summary):
                self._open(one, trigger, by_version=name.version)

    def note_software(self, software_sha256: str) -> SoftwareNoted:
        """Reopens what was determined about the work of other software than runs now, once for each such software."""
        if not re.fullmatch(r"[0-9a-f]{64}", software_sha256):
            raise InvalidError("software: wanted a SHA-256 of 64 hex digits, got another form")
        reopened = []
        with self.acts.store.transaction():
            for one in self.acts.store.rows("select * from determinations where state = 'signed' order by id"):
                looked = self.acts.store.row(
                    "select 1 from reassessments where certificate = ? and software = ?", one["id"], software_sha256
                )
                if looked is None and software_differs(parse_certificate(one["text"].encode()), software_sha256):
                    self._open(one, "software_changed", software=software_sha256)
                    reopened.append(one["id"])
        return SoftwareNoted(reopened=tuple(reopened))

    def _open(self, determination: Row, trigger: str, *, by_version: int = 0, software: str = "") -> None:
        known = self.acts.store.row(
            "select 1 from reassessments where certificate = ? and reason = ? and closed = ''",
            *(determination["id"], trigger),
        )
        if known is not None:
            if software:  # waits already: the expert's word will be about this software, too
                self.acts.store.change(
                    "update reassessments set software = ? where certificate = ? and reason = ? and closed = ''",
                    *(software, determination["id"], trigger),
                )
            return
        detail: dict[str, Json] = {"certificate": determination["id"], "trigger": trigger, "by_version": by_version}
        detail |= {"software_sha256": software} if software else {}
        about = {"dataset": determination["dataset"], "version": determination["version"]}
        self.acts.record(Act(kind="determination.reopen", actor=SELF, detail=detail, **about), "ok")
        self.acts.store.change(
            "insert into reassessments (certificate, reason, by_version, opened, software) values (?, ?, ?, ?, ?)",
            *(determination["id"], trigger, by_version, self.acts.now_text(), software),
        )

    def open_for(self, certificate: str) -> tuple[str, ...]:
        """The triggers that wait for the expert; () when nothing does."""
        rows = self.acts.store.rows(
            "select reason from reassessments where certificate = ? and closed = '' order by opened, reason",
            certificate,
        )
        return tuple(row["reason"] for row in rows)

    def reaffirm(self, actor: Actor, determination: Row, reason: str) -> None:
        """The named expert looked again and stands by it; recorded with the reason, which stays out of the ledger."""
        check_reason(reason)
        certificate = determination["id"]

        def question() -> tuple[Resource, Facts]:
            about = {"dataset": determination["dataset"], "version": determination["version"]}
            facts = DeterminationFacts(
                id=certificate,
                state=self._state(certificate),
                expert=determination["expert"],
                steward=determination["steward"],
                reopened=bool(self.open_for(certificate)),
                **about,
            )
            return Resource(id=certificate, **about), Facts(determination=facts)

        def change() -> None:
            self.acts.store.change(
                "update reassessments set closed = ?, closed_by = ?, words = ? where certificate = ? and closed = ''",
                *(self.acts.now_text(), actor.name, reason, certificate),
            )

        told = Act(
            kind="determination.reaffirm",
            actor=actor,
            dataset=determination["dataset"],
            version=determination["version"],
            detail={"certificate": certificate, "triggers": list(self.open_for(certificate))},
        )
        self.acts.perform(told, question, change)

    def _state(self, certificate: str) -> str:
        row = self.acts.store.row("select state from determinations where id = ?", certificate)
        return str(row["state"]) if row is not None else ""


def _of(name: VersionName) -> tuple[str, int]:
    return name.dataset, name.version
