"""Determinations signed and countersigned with security keys: the same acts, another form of signature."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.core.errors import ConflictError
from enclave.determination.certificate import Signature, countersigned_bytes
from enclave.policy.model import Actor
from enclave.registry.acts import Act
from enclave.registry.determinations import Determinations
from enclave.registry.security_keys import SecurityKeys
from enclave.registry.signatures import stored
from enclave.registry.store import Row
from enclave.wire.messages.registry import Certificate
from enclave.wire.messages.schema import Json
from enclave.wire.messages.security_keys import StepUp


@dataclass(frozen=True, slots=True)
class Assertions:
    """The expert signs what is not signed yet, the data steward what is; a trusted key counts and no other."""

    determinations: Determinations
    keys: SecurityKeys

    def ask(self, actor: Actor, certificate: str) -> StepUp:
        """What the person's browser needs; whether they may sign is decided when they do."""
        self.determinations.acts.check_may_read(Act(kind="determination.show", actor=actor))
        row = self.determinations.row(certificate)
        return self.keys.options_over(actor, _message(row))

    def take(self, actor: Actor, certificate: str, assertion: Json) -> Certificate:
        """The signature or, once there is one, the counter-signature."""
        row = self.determinations.row(certificate)
        if row["signature"] is None:
            return self.determinations.take_signature(
                actor, row, lambda: self._by(actor, row, assertion, principal=row["expert"], role="expert")
            )
        return self.determinations.take_countersignature(
            actor, row, lambda: self._by(actor, row, assertion, principal=row["steward"], role="data_steward")
        )

    def _by(self, actor: Actor, row: Row, assertion: Json, *, principal: str, role: str) -> Signature | None:
        message = _message(row)
        signature = self.keys.signature(actor, message, assertion)
        known = self.determinations.signatures.holds_for(principal, role=role, signature=signature, message=message)
        return signature if known else None


def _message(row: Row) -> bytes:
    signed = stored(row)
    if signed.countersignature is not None:
        raise ConflictError("certificate: wanted one that waits for a signature, got one that has both")
    return signed.text if signed.signature is None else countersigned_bytes(signed.text, signed.signature)
