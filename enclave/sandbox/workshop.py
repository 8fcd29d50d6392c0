"""What all parts of one launcher work with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.event import Event
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import Clock, format_time
from enclave.runtime.log import Log
from enclave.sandbox.cgroups import Cgroups
from enclave.sandbox.code_folders import CodeFolders
from enclave.sandbox.debts import Debts
from enclave.sandbox.display_budgets import DisplayBudgets
from enclave.sandbox.places import Places
from enclave.sandbox.sandboxed import Births
from enclave.sandbox.set_store import PackageSets
from enclave.sandbox.settings import LauncherSettings
from enclave.sandbox.spare_tap import SpareTap
from enclave.sandbox.uids import Uids


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What starting a sandbox takes: folders, uids, the thread that starts children, limits."""

    places: Places
    settings: LauncherSettings
    uids: Uids
    births: Births
    cgroups: Cgroups


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop(Bench):
    """The same with the ledger, the display budgets, the package sets, code folders and the spare tap.

    ``clock`` is the machine's, by which events are dated; rights are judged by ``time``.
    """

    display: DisplayBudgets
    audit: AuditClient
    debts: Debts
    sets: PackageSets
    code: CodeFolders
    taps: SpareTap
    clock: Clock
    time: LedgerClock
    log: Log

    def event(self, kind: str, *, actor: str, outcome: str, **fields: Any) -> Event:
        """An event of now; ``fields`` are those of ``Event``."""
        time = format_time(self.clock.now())
        return Event(id=secrets.token_hex(16), time=time, kind=kind, actor=actor, outcome=outcome, **fields)
