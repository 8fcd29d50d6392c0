"""`enclave-vaultd`: takes the key back to patients, counts it, and gives it to nobody but break-glass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError, EnclaveError
from enclave.core.ids import check_name, check_token_id
from enclave.keys.box import open_box
from enclave.keys.uri import file_uri
from enclave.policy.model import Actor
from enclave.reidentification.alarms import AlarmStore
from enclave.reidentification.desk import BreakGlassDesk, VaultFiles
from enclave.reidentification.key_map import KeyMap, parse_entry
from enclave.reidentification.requests import RequestStore
from enclave.reidentification.settings import VaultSettings
from enclave.reidentification.standing import RegistryStanding
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, ensure_private_dir, service_uids
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.schema import Done
from enclave.wire.messages.vault import (
    AcknowledgeAlarm,
    ApproveBreakGlass,
    AskState,
    ListAlarms,
    ListBreakGlass,
    RefuseBreakGlass,
    RequestBreakGlass,
    ReviewBreakGlass,
    ShowBreakGlass,
    StoreMap,
    VaultState,
)
from enclave.wire.peer import Call, Handler, WireServer

_INTAKE = "service:intake"


def nobody(_token: str) -> Actor:
    """For a vault without break-glass: no token is anybody's."""
    raise DeniedError("vault: wanted a person who is signed in, got nobody", code="token_invalid")


class VaultDaemon:
    """The re-identification vault behind one socket; only daemons and commands of this enclave may ask.

    ``resolve`` turns a person's token into an actor and raises ``DeniedError`` when it is none.
    """

    def __init__(
        self,
        home: Home,
        *,
        log: Log,
        resolve: Callable[[str], Actor] = nobody,
        settings: VaultSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        ensure_private_dir(home.run_dir, mode=0o711)
        clock = clock or SystemClock()
        box = open_box(file_uri(home.key_file("vault")))
        self._audit = AuditClient(home.socket("auditd"), clock=clock)
        self._map = KeyMap(home.state("vault"), box=box)
        self._registry = WireClient(home.socket("registryd"))
        self.desk = BreakGlassDesk(
            files=VaultFiles(
                requests=RequestStore(home.state("vault") / "requests", box=box),
                alarms=AlarmStore(home.state("vault") / "alarms", box=box),
                keys=self._map,
            ),
            audit=self._audit,
            resolve=resolve,
            standing=RegistryStanding(self._registry),
            clock=LedgerClock(clock, self._audit),
            settings=settings or VaultSettings(),
            log=log,
        )
        uids = service_uids(home)
        self._server = WireServer(
            home.socket("vaultd"),
            {StoreMap: self._store, AskState: self._state, **self._for_people()},
            log=log,
            allowed_uids=uids,
            mode=0o600 if len(uids) == 1 else 0o666,
        )

    def start(self) -> None:
        """Listens from now on."""
        self._server.start()

    def close(self) -> None:
        """Stops listening; what was answered is durable."""
        self._server.close()
        self._registry.close()
        self._audit.close()

    def _for_people(self) -> dict[type[Any], Handler]:
        desk = self.desk
        return {
            RequestBreakGlass: lambda q, _: desk.request(q),
            ApproveBreakGlass: lambda q, _: desk.approve(q.token, q.id),
            RefuseBreakGlass: lambda q, _: desk.refuse(q.token, q.id, reason=q.reason),
            ListAlarms: lambda q, _: desk.list_alarms(q.token),
            AcknowledgeAlarm: lambda q, _: desk.acknowledge(q.token, q.id),
            ShowBreakGlass: lambda q, _: desk.show(q.token, q.id),
            ReviewBreakGlass: lambda q, _: desk.review(q.token, q.id, finding=q.finding),
            ListBreakGlass: lambda q, _: desk.list_all(q.token),
        }

    def _store(self, message: StoreMap, _call: Call) -> Done:
        check_name(message.dataset, what="dataset")
        check_token_id(message.batch, what="intake batch")
        detail = {"batch": message.batch, "rows": len(message.rows)}
        self._record("intent", message, detail)
        try:
            rows = tuple(map(parse_entry, message.rows))
            subjects = self._map.merge(message.dataset, rows, project=message.project)
        except EnclaveError as error:
            self._record("failed", message, detail, reason=error.code)
            raise
        except OSError:
            self._record("failed", message, detail, reason="disk")
            raise
        self._record("ok", message, {**detail, "subjects": subjects})
        return Done()

    def _record(self, outcome: str, message: StoreMap, detail: dict[str, object], *, reason: str | None = None) -> None:
        self._audit.record(
            "vault.store",
            actor=_INTAKE,
            role="service",
            outcome=outcome,
            reason=reason,
            dataset=message.dataset,
            project=message.project or None,
            ticket=message.batch,
            detail=detail,
        )

    def _state(self, _message: AskState, _call: Call) -> VaultState:
        return VaultState(datasets=self._map.counts())
