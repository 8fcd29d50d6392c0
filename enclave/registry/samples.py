"""What people saw of a version before it may be released: the registry's own copy, and an honest broker's verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enclave.core.errors import EnclaveError, InvalidError, UnavailableError
from enclave.core.ids import VersionName
from enclave.policy.model import Actor, Facts, Resource, SampleFacts
from enclave.registry.acts import Act, Acts, Question
from enclave.registry.store import RegistryStore, Row
from enclave.wire.messages.registry import Version
from enclave.wire.messages.schema import Json

if TYPE_CHECKING:
    from enclave.registry.determinations import Determinations

_INTAKE = Actor("service:intake", frozenset({"service"}))


@dataclass(frozen=True, slots=True)
class Samples:
    """Counts come from intake, the verdict from a person; a release is approved by what stands here."""

    acts: Acts
    determinations: Determinations

    def note(self, name: VersionName, *, waiting: int, unclean: int) -> Version:
        """Takes over where the review stands; what was found unclean once stays so."""
        check_counts(waiting, unclean)

        def change(taken_back: list[Act]) -> Version:
            self.acts.store.change(
                "update samples set waiting = ?, unclean = max(unclean, ?) where dataset = ? and version = ?",
                *(waiting, unclean, name.dataset, name.version),
            )
            if unclean:
                self._withdraw(_INTAKE, name, taken_back)
            return self.determinations.version(name)

        detail: dict[str, Json] = {"waiting": waiting, "unclean": unclean}
        return self._perform(_act("version.sample", _INTAKE, name, detail), lambda: self._question(name), change)

    def decide(self, actor: Actor, name: VersionName, *, clean: bool, reason: str) -> Version:
        """The verdict over the whole sample; a no ends the version's way to any project."""
        if not 0 < len(reason.strip()) <= 2000:
            raise InvalidError("reason: wanted 1 to 2000 characters, got none or more")

        def change(taken_back: list[Act]) -> Version:
            self.acts.store.change(
                "update samples set verdict = ?, decided_by = ?, decided = ?, reason = ? "
                "where dataset = ? and version = ?",
                *("yes" if clean else "no", actor.name, self.acts.now_text(), reason, name.dataset, name.version),
            )
            if not clean:
                self._withdraw(actor, name, taken_back)
            return self.determinations.version(name)

        act = _act("version.review", actor, name, {"clean": clean})
        return self._perform(act, lambda: self._question(name, clean=clean), change)

    def _perform(self, act: Act, question: Question, change: Callable[[list[Act]], Version]) -> Version:
        """As ``Acts.perform``; of each release that it takes back the ledger has beginning and end, as of any other."""
        taken_back: list[Act] = []
        try:
            found = self.acts.perform(act, question, lambda: change(taken_back))
        except EnclaveError as error:
            for one in taken_back:
                self.acts.record(one, "failed", reason=error.code)
            raise
        try:
            for one in taken_back:
                self.acts.record(one, "ok")
        except UnavailableError:
            self.acts.log.warning("outcome not recorded", kind="release.withdraw")  # the intent is; it is done
        return found

    def _withdraw(self, actor: Actor, name: VersionName, taken_back: list[Act]) -> None:
        """A no after a release takes it back: no lease has ground any more, and brokerd ends them at its next look."""
        standing = self.acts.store.rows(
            "select id, project from releases where dataset = ? and version = ? and state = 'approved' order by id",
            *(name.dataset, name.version),
        )
        for row in standing:
            act = replace(_act("release.withdraw", actor, name, {"release": row["id"]}), project=row["project"])
            self.acts.record(act, "intent")
            taken_back.append(act)
        self.acts.store.change(
            "update releases set state = 'withdrawn' where dataset = ? and version = ? and state = 'approved'",
            *(name.dataset, name.version),
        )
        self.acts.store.change(
            "update versions set state = 'withdrawn' where dataset = ? and version = ? and state = 'released'",
            *(name.dataset, name.version),
        )

    def _question(self, name: VersionName, *, clean: bool = True) -> tuple[Resource, Facts]:
        facts = Facts(
            version=self.determinations.version_facts(name), sample=facts_of(self.acts.store, name, clean=clean)
        )
        return Resource(dataset=name.dataset, version=name.version), facts


def check_need(review: str, *, sample: int) -> None:
    """Raises ``InvalidError`` unless ``review`` is one of the two words and the size is one."""
    if review not in ("required", "optional"):
        raise InvalidError("review: wanted required or optional, got another word")
    check_counts(sample)


def check_counts(*counts: int) -> None:
    """Raises ``InvalidError`` for a negative count."""
    if any(count < 0 for count in counts):
        raise InvalidError("review sample: wanted counts from 0, got a negative one")


def insert(store: RegistryStore, name: VersionName, *, review: str, sample: int) -> None:
    """The review of a new version: nothing seen yet."""
    store.change(
        "insert into samples (dataset, version, required, sample, waiting, unclean) values (?, ?, ?, ?, ?, 0)",
        *(name.dataset, name.version, int(review == "required"), sample, sample),
    )


def facts_of(store: RegistryStore, name: VersionName, *, clean: bool = True) -> SampleFacts | None:
    """The review for the policy; None when the registry has none."""
    row = _row(store, name)
    if row is None:
        return None
    released = store.rows(
        "select decided_by from releases where dataset = ? and version = ? and state = 'approved'",
        *(name.dataset, name.version),
    )
    return SampleFacts(
        dataset=name.dataset,
        version=name.version,
        required=bool(row["required"]),
        waiting=row["waiting"],
        unclean=row["unclean"],
        verdict=row["verdict"],
        clean=clean,
        decided_by=row["decided_by"],
        released_by=frozenset(one["decided_by"] for one in released),
    )


def shown(store: RegistryStore, name: VersionName) -> dict[str, Json]:
    """The review as the wire has it."""
    row = _row(store, name)
    if row is None:
        return {}
    counts: dict[str, Json] = {key: row[key] for key in ("sample", "waiting", "unclean", "verdict", "reason")}
    return {"required": bool(row["required"]), "by": row["decided_by"], **counts}


def _row(store: RegistryStore, name: VersionName) -> Row | None:
    return store.row("select * from samples where dataset = ? and version = ?", name.dataset, name.version)


def _act(kind: str, actor: Actor, name: VersionName, detail: dict[str, Json]) -> Act:
    return Act(kind=kind, actor=actor, dataset=name.dataset, version=name.version, detail=detail)
