"""`enclave-registryd`: what it serves, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError, EnclaveError, UnavailableError
from enclave.core.ids import VersionName, check_name, check_ticket
from enclave.keys.webauthn import RelyingParty
from enclave.policy.model import Actor
from enclave.registry.acts import Act, Acts
from enclave.registry.agreements import Agreements
from enclave.registry.assertions import Assertions
from enclave.registry.determinations import INTAKE, Determinations
from enclave.registry.grants import Grants
from enclave.registry.projects import Projects
from enclave.registry.reassessments import Reassessments
from enclave.registry.releases import Releases
from enclave.registry.samples import Samples
from enclave.registry.security_keys import SecurityKeys
from enclave.registry.settings import RegistrySettings
from enclave.registry.signatures import Signatures
from enclave.registry.store import RegistryStore
from enclave.registry.trust import read_trust
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, ensure_private_dir, service_uids
from enclave.runtime.log import Log
from enclave.wire.messages import agreements as ag
from enclave.wire.messages import determination as more
from enclave.wire.messages import facts as fm
from enclave.wire.messages import grants as gm
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as messages
from enclave.wire.messages import security_keys as sk
from enclave.wire.messages.schema import request_type
from enclave.wire.peer import Call, Handler, WireServer

UNKNOWN = Actor("unknown", frozenset())
_KINDS = {
    "determination.list": "determination.show",
    "determination.submit_signature": "determination.sign",
    "determination.ask_signature": "determination.show",
    "determination.submit_assertion": "determination.sign",
    "determination.submit_countersignature": "determination.countersign",
}


class RegistryDaemon:
    """The catalogue, the determinations, the releases, the grants and the projects behind one socket.

    ``resolve`` turns a person's token into an actor and raises ``DeniedError`` when it is none. ``origin`` is what
    people open in their browsers: their security keys are bound to it. Raises
    ``IntegrityError`` at the start when the list of trusted experts is not as the registry signed it.
    """

    def __init__(
        self,
        home: Home,
        *,
        resolve: Callable[[str], Actor],
        log: Log,
        settings: RegistrySettings | None = None,
        clock: Clock | None = None,
        origin: str = "http://localhost:8000",
    ) -> None:
        settings = settings or RegistrySettings()
        folder = ensure_private_dir(home.state("registry"))
        ensure_private_dir(home.run_dir, mode=0o711)
        read_trust(home)
        self._resolve = resolve
        self._daemons = service_uids(home)
        self._store = RegistryStore(folder / "state.db")
        audit = AuditClient(home.socket("auditd"), clock=clock)
        self._acts = Acts(self._store, audit, LedgerClock(clock or SystemClock(), audit), log)
        self.projects = Projects(self._acts)
        self.determinations = Determinations(
            self._acts,
            home,
            Signatures(self._acts, home, allow_demo_keys=settings.allow_demo_keys),
            Reassessments(self._acts),
            engagement=timedelta(days=settings.engagement_days),
        )
        self.grants = Grants(self._acts, self.projects, self.determinations)
        self.agreements = Agreements(self._acts, self.projects)
        self.keys = SecurityKeys(self._acts, RelyingParty(origin))
        self.releases = Releases(self._acts, self.projects, self.determinations, self.grants, self.keys)
        self.assertions = Assertions(self.determinations, self.keys)
        self.samples = Samples(self._acts, self.determinations)
        self._server = WireServer(
            home.socket("registryd"),
            {**self._for_people(), **self._for_daemons()},
            log=log,
            allowed_uids=self._daemons,
            mode=0o600 if len(self._daemons) == 1 else 0o666,
        )

    def start(self) -> None:
        """Listens from now on."""
        self._server.start()

    def close(self) -> None:
        """Stops listening; what was answered is durable."""
        self._server.close()
        self._acts.audit.close()
        self._store.close()

    # ── people: the token says who ──────────────────────────────────────────

    def _for_people(self) -> Mapping[type[Any], Handler]:
        m, p, d, r, g = messages, self.projects, self.determinations, self.releases, self.grants
        table: dict[type[Any], Callable[[Actor, Any], Any]] = {
            pm.CreateProject: lambda a, q: p.create(a, q.name, title=q.title, purpose=q.purpose, ticket=_ticket(q)),
            pm.ShowProject: lambda a, q: p.show(a, q.name),
            pm.CloseProject: lambda a, q: p.close(a, q.name, ticket=_ticket(q)),
            pm.AddMember: lambda a, q: p.add_member(a, q.name, person=q.person, role=q.role, ticket=_ticket(q)),
            pm.RemoveMember: lambda a, q: p.remove_member(a, q.name, person=q.person, ticket=_ticket(q)),
            m.ListVersions: lambda a, q: d.list_versions(a, q.dataset),
            m.DraftDetermination: lambda a, q: d.draft(a, q.text),
            m.BeginAssessment: lambda a, q: d.begin(a, q.id),
            m.SubmitSignature: lambda a, q: d.sign(a, q.id, q.signature),
            more.ReaffirmDetermination: lambda a, q: d.reaffirm(a, q.id, q.reason),
            more.WithdrawRelease: lambda a, q: r.withdraw(a, q.id, q.reason),
            more.SubmitCountersignature: lambda a, q: d.countersign(a, q.id, q.signature),
            m.DeclineDetermination: lambda a, q: d.decline(a, q.id, q.reason),
            m.RevokeDetermination: lambda a, q: d.revoke(a, q.id, q.reason, ticket=_ticket(q)),
            m.ShowDetermination: lambda a, q: d.show(a, q.id),
            m.ListDeterminations: lambda a, q: d.list_all(a, q.dataset, q.version),
            m.ReviewVersion: lambda a, q: self.samples.decide(a, _version(q), clean=q.clean, reason=q.reason),
            m.RequestRelease: lambda a, q: r.request(a, _version(q), project=q.project),
            m.DecideRelease: lambda a, q: r.decide(
                a, q.id, approve=q.approve, reason=q.reason, challenge=q.challenge, assertion=q.assertion
            ),
            m.ListReleases: lambda a, _: r.list_all(a),
            gm.RequestGrant: lambda a, q: g.request(a, _version(q), project=q.project, person=q.person, until=q.until),
            gm.DecideGrant: lambda a, q: g.decide(a, q.id, approve=q.approve, reason=q.reason),
            gm.RevokeGrant: lambda a, q: g.revoke(a, q.id, reason=q.reason),
            gm.ListGrants: lambda a, q: g.list_all(a, project=q.project),
        }
        table |= self._of_security_keys() | self._of_agreements()
        return {cls: self._as_person(cls, handler) for cls, handler in table.items()}

    def _of_security_keys(self) -> dict[type[Any], Callable[[Actor, Any], Any]]:
        k = self.keys
        return {
            sk.IssueCode: lambda a, q: k.issue_code(a, q.person),
            sk.BeginEnrolment: lambda a, _: k.begin_enrolment(a),
            sk.Enrol: lambda a, q: k.enrol(a, code=q.code, challenge=q.challenge, response=q.response, label=q.label),
            sk.ListSecurityKeys: lambda a, _: k.list_own(a),
            sk.RevokeSecurityKey: lambda a, q: k.revoke(a, q.id),
            sk.ConfirmRelease: lambda a, q: self.releases.confirm(a, q.id, approve=q.approve, reason=q.reason),
            sk.AskSignature: lambda a, q: self.assertions.ask(a, q.id),
            sk.SubmitAssertion: lambda a, q: self.assertions.take(a, q.id, q.assertion),
        }

    def _of_agreements(self) -> dict[type[Any], Callable[[Actor, Any], Any]]:
        g = self.agreements
        return {
            ag.RecordAgreement: lambda a, q: g.record(a, q.terms, document=q.document, ticket=_ticket(q)),
            ag.DecideAgreement: lambda a, q: g.decide(a, q.id, approve=q.approve, reason=q.reason),
            ag.EndAgreement: lambda a, q: g.end(a, q.id, reason=q.reason),
            ag.ListAgreements: lambda a, q: g.list_all(a, project=q.project),
        }

    def _as_person(self, cls: type[Any], handler: Callable[[Actor, Any], Any]) -> Handler:
        name = request_type(cls).name
        kind = _KINDS.get(name, name)

        def handle(message: Any, _call: Call) -> Any:
            try:
                actor = self._resolve(message.token)
            except DeniedError as error:
                self._acts.record(Act(kind=kind, actor=UNKNOWN), "refused", reason=error.code)
                raise
            try:
                return handler(actor, message)
            except UnavailableError:
                raise
            except EnclaveError as error:  # an id that is not there, a word that is none
                if not error.recorded:
                    self._acts.record(Act(kind=kind, actor=actor), "refused", reason=error.code)
                raise

        return handle

    # ── daemons: the uid says who ───────────────────────────────────────────

    def _for_daemons(self) -> Mapping[type[Any], Handler]:
        m, p, d, r = messages, self.projects, self.determinations, self.releases
        table: dict[type[Any], Callable[[Any], Any]] = {
            m.RegisterCandidate: lambda q: d.register(
                _version(q),
                content_root=q.content_root,
                summary=q.summary,
                steward=q.steward,
                review=q.review,
                sample=q.sample,
                only_for=q.only_for,
            ),
            m.NoteSample: lambda q: self.samples.note(_version(q), waiting=q.waiting, unclean=q.unclean),
            m.ProposeDetermination: lambda q: d.draft(INTAKE, q.text),
            more.NoteSoftware: lambda q: d.reassessments.note_software(q.software_sha256),
            fm.ProjectsOf: lambda q: p.of_person(q.person),
            fm.AskProjectStanding: lambda q: p.standing(q.person, check_name(q.project, what="project")),
            fm.AskEngagements: lambda q: fm.EngagementList(engagements=d.engagements(q.person)),
            fm.AskProjectDatasets: lambda q: r.project_datasets(person=q.person, project=q.project),
            fm.AskLeaseFacts: lambda q: r.lease_facts(
                person=q.person, project=q.project, dataset=q.dataset, version=q.version
            ),
        }
        return {cls: _without_call(handler) for cls, handler in table.items()}


def _without_call(handler: Callable[[Any], Any]) -> Handler:
    """Who may connect at all is the socket's own rule: no process that is none of the enclave's gets as far."""
    return lambda message, _call: handler(message)


def _version(message: Any) -> VersionName:
    return VersionName.parse(f"{message.dataset}@{message.version}")


def _ticket(message: Any) -> str | None:
    """The ticket that a message names; raises ``InvalidError`` for another form."""
    return check_ticket(message.ticket) if message.ticket else None
