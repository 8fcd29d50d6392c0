"""The airlock's hand on the ledger: acts and refusals of egress, always before their effect is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from enclave.audit.client import AuditClient
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.policy.model import Actor

NOBODY = "anonymous"
SERVICE = "service:airlock"
SELF = Actor(SERVICE, frozenset({"service"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What an event is about: its kind, who acts, and the ids that are known so far."""

    kind: str
    actor: str
    role: str | None = None
    project: str | None = None
    kernel: str | None = None
    cell: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class Trail:
    """Writes the events of the airlock; a missing receipt raises ``UnavailableError`` and nothing is done."""

    def __init__(self, audit: AuditClient) -> None:
        self._audit = audit

    @property
    def ledger(self) -> AuditClient:
        """The client itself, for what is no act: misuse of a socket."""
        return self._audit

    def intent(self, deed: Deed, **detail: Any) -> None:
        """It is about to happen."""
        self._write(deed, "intent", None, detail)

    def done(self, deed: Deed, *, bodies: Mapping[str, str] | None = None, **detail: Any) -> None:
        """It happened; written before the change is committed. ``bodies`` are people's words, kept encrypted."""
        self._write(deed, "ok", None, detail, bodies)

    def refused(self, deed: Deed, reason: str) -> None:
        """It may not happen; the caller raises why."""
        self._write(deed, "refused", reason, {})

    @contextmanager
    def telling(self, deed: Deed, *, failed: bool = False) -> Iterator[None]:
        """Turns an error of ours inside into a refused (or failed) event, then lets it go on.

        A ledger or neighbour that does not answer is no refusal: the same request may succeed later.
        """
        try:
            yield
        except UnavailableError:
            raise
        except EnclaveError as error:
            self._write(deed, "failed" if failed else "refused", error.code, {})
            raise

    def _write(
        self,
        deed: Deed,
        outcome: str,
        reason: str | None,
        detail: dict[str, Any],
        bodies: Mapping[str, str] | None = None,
    ) -> None:
        self._audit.record(
            deed.kind,
            actor=deed.actor,
            outcome=outcome,
            reason=reason,
            role=deed.role,
            project=deed.project,
            kernel=deed.kernel,
            cell=deed.cell,
            detail={**deed.detail, **detail},
            bodies=bodies,
        )
