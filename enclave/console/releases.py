"""Release desk and catalogue: versions, their determinations, and the way to a project."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from enclave.catalog.difference import Change, difference
from enclave.console.pages import Page
from enclave.console.security_keys import Asked
from enclave.console.words import Rows, grouped
from enclave.core.canonical import parse_json
from enclave.core.clock import parse_time
from enclave.core.errors import EnclaveError, InvalidError, NotFoundError
from enclave.core.ids import VersionName
from enclave.wire.messages import determination as more
from enclave.wire.messages import registry as messages


@dataclass(frozen=True, slots=True)
class CertificateView:
    """What a page says about a determination."""

    id: str
    state: str
    digest: str
    expert: str
    expires: str
    over: bool
    reopened: tuple[str, ...]
    groups: list[tuple[str, Rows]]


class Desk(Page):
    """What catalogue and release desk both need."""

    async def versions(self) -> list[Any]:
        """All versions, newest first."""
        reply = await self.ask("registryd", messages.ListVersions(token=self.token))
        return sorted(reply.versions, key=lambda v: (v.dataset, -v.version))

    async def certificates(self, versions: list[Any]) -> dict[str, CertificateView]:
        """The determination of each version that has one, by ``NAME@V``."""
        found = {}
        for version in versions:
            if version.certificate:
                try:
                    message = messages.ShowDetermination(token=self.token, id=version.certificate)
                    found[f"{version.dataset}@{version.version}"] = _view(await self.ask("registryd", message))
                except NotFoundError:
                    continue
        return found


class Datasets(Desk):
    """The catalogue."""

    async def get(self) -> None:
        """All versions with their state and the end of their certificate."""
        versions = await self.versions()
        self.show(
            "datasets.html",
            versions=versions,
            certificates=await self.certificates(versions),
            summaries={f"{v.dataset}@{v.version}": grouped(v.summary) for v in versions},
        )


class Releases(Desk):
    """Releases, asked for and decided."""

    async def get(self) -> None:
        """The list, the form of a data steward, the forms of an honest broker."""
        versions = await self.versions()
        reply = await self.ask("registryd", messages.ListReleases(token=self.token))
        self.show(
            "releases.html",
            waiting=[r for r in reply.releases if r.state == "requested"],
            decided=[r for r in reply.releases if r.state != "requested"],
            versions=versions,
            certificates=await self.certificates(versions),
            summaries={f"{v.dataset}@{v.version}": grouped(v.summary) for v in versions},
            changes=_changes(versions),
            reviews={f"{v.dataset}@{v.version}": v.review for v in versions if v.review},
            unreviewed=[v for v in versions if v.review.get("required") and not v.review["verdict"]],
        )


class ReviewVersion(Desk):
    """The form of an honest broker who has seen the sample of a version."""

    async def post(self) -> None:
        """Records yes or no, with a reason."""
        name, verdict = VersionName.parse(self.text_field("version")), self.text_field("verdict")
        reason = self.text_field("reason").strip()
        if verdict not in ("clean", "unclean") or not reason:
            raise InvalidError("review: wanted yes or no and a reason, got less; go back and complete it")
        message = messages.ReviewVersion(
            token=self.token, dataset=name.dataset, version=name.version, clean=verdict == "clean", reason=reason
        )
        await self.ask("registryd", message)
        self.go("releases", done="reviewed")


class RequestRelease(Desk):
    """The form of a data steward."""

    async def post(self) -> None:
        """Asks for the release of one version to one project."""
        name = VersionName.parse(self.text_field("version"))
        message = messages.RequestRelease(
            token=self.token, dataset=name.dataset, version=name.version, project=self.text_field("project").strip()
        )
        await self.ask("registryd", message)
        self.go("releases", done="requested")


class WithdrawRelease(Asked):
    """The form of who takes a release back."""

    async def post(self, release_id: str) -> None:
        """Ends it; leases under it end within seconds."""
        message = more.WithdrawRelease(token=self.token, id=release_id, reason=self.words_field("reason"))
        await self.ask("registryd", message)
        self.go("releases", done="taken_back")


class DecideRelease(Asked):
    """The form of an honest broker."""

    async def post(self, release_id: str) -> None:
        """Approves or refuses, with a reason."""
        decision, reason = self.text_field("decision"), self.words_field("reason")
        if decision not in ("approve", "refuse") or not reason:
            raise InvalidError("release: wanted approve or refuse and a reason, got less; go back and complete it")
        message = messages.DecideRelease(
            token=self.token,
            id=release_id,
            approve=decision == "approve",
            reason=reason,
            challenge=self.text_field("challenge"),
            assertion=self.proof_field("proof"),
        )
        await self.ask("registryd", message)
        self.go("releases", done="decided")


def _view(certificate: messages.Certificate) -> CertificateView:
    try:
        text = parse_json(certificate.text)
    except EnclaveError:
        text = {}
    document = text if isinstance(text, dict) else {}
    expert = document.get("expert")
    expires = str(document.get("expires", ""))
    wanted = ("counts", "results", "thresholds", "assumptions")
    return CertificateView(
        id=certificate.id,
        state=certificate.state,
        digest=certificate.digest,
        expert=str(expert.get("principal", "")) if isinstance(expert, dict) else "",
        expires=expires,
        over=_over(expires),
        reopened=certificate.reopened,
        groups=grouped({name: document[name] for name in wanted if document.get(name)}),
    )


def _changes(versions: list[Any]) -> dict[str, tuple[str, tuple[Change, ...]]]:
    """Of each version that has one before it: which that is, and what is another since."""
    known = {(v.dataset, v.version): v for v in versions}
    found = {}
    for (dataset, number), version in known.items():
        before = max((other for name, other in known if name == dataset and other < number), default=None)
        if before is not None:
            changes = difference(known[dataset, before].summary, version.summary)
            found[f"{dataset}@{number}"] = (f"{dataset}@{before}", changes)
    return found


def _over(expires: str) -> bool:
    try:
        return parse_time(expires) <= datetime.now(UTC)
    except EnclaveError:
        return False
