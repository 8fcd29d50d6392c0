"""Whose signatures hold: the list of trusted keys, and a determination verified anew each time somebody asks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from enclave.core.errors import IntegrityError
from enclave.determination.certificate import (
    Certificate,
    Signature,
    SignedCertificate,
    countersigned_bytes,
    signature_from_text,
)
from enclave.determination.completeness import missing
from enclave.determination.trust import TrustedExpert, TrustList
from enclave.determination.verification import Verification, countersigned, signature_holds, trusts, verify
from enclave.policy.model import Actor
from enclave.registry.acts import Act, Acts
from enclave.registry.store import Row
from enclave.registry.trust import read_trust
from enclave.runtime.home import Home
from enclave.wire.messages.schema import Json

SELF = Actor("service:registry", frozenset({"service"}))


@dataclass(frozen=True, slots=True)
class Signatures:
    """Compares what is stored with the list of trusted keys as it is now."""

    acts: Acts
    home: Home
    allow_demo_keys: bool = False

    def trusted(self) -> tuple[TrustedExpert, ...]:
        """The keys that count here: none that was taken off; one marked ``demo`` in a demonstration only."""
        trust = read_trust(self.home)
        self._notice(trust)
        return tuple(one for one in trust.experts if not one.removed and (self.allow_demo_keys or not one.demo))

    def by_expert(self, row: Row, value: bytes) -> Signature | None:
        """The signature with the trusted key of the named expert that made it over this text; None when none did."""
        return self._made_by(row["expert"], "expert", row["text"].encode(), value)

    def by_steward(self, row: Row, value: bytes) -> Signature | None:
        """The same of the data steward, over this text and the expert's signature."""
        signed = stored(row)
        if signed.signature is None:
            return None
        return self._made_by(row["steward"], "data_steward", countersigned_bytes(signed.text, signed.signature), value)

    def holds_for(self, principal: str, *, role: str, signature: Signature, message: bytes) -> bool:
        """Whether a signature with a key of its own choice is by this person's trusted key over ``message``."""
        at = self.acts.clock.now()
        known = trusts(self.trusted(), principal, role=role, public_key=signature.public_key, at=at)
        return known and signature_holds(signature, message)

    def verified(self, row: Row, *, content_root: str) -> tuple[str, Certificate | None]:
        """Why the stored determination does not hold for this content now, or ``ok``; nothing is remembered."""
        signed = stored(row)
        if signed.signature is None:
            return "untrusted_expert", None
        trusted = self.trusted()
        found = self.judge(signed, row, content_root=content_root, trusted=trusted)
        document = found.certificate
        if not found.valid or document is None:
            return found.reason, document
        if row["state"] != "signed":
            return row["state"], document
        if missing(document):
            return "incomplete", document
        if not countersigned(signed, trusted=trusted, at=self.acts.clock.now()):
            return "not_countersigned", document
        return "ok", document

    def judge(
        self,
        signed: SignedCertificate,
        row: Row,
        *,
        content_root: str,
        trusted: tuple[TrustedExpert, ...] | None = None,
    ) -> Verification:
        """As ``determination.verification.verify``, for this version, by the list as it is now."""
        return verify(
            signed,
            content_root=content_root,
            version=f"{row['dataset']}@{row['version']}",
            trusted=self.trusted() if trusted is None else trusted,
            revoked=frozenset({row["id"]}) if row["state"] == "revoked" else frozenset(),
            at=self.acts.clock.now(),
        )

    def _made_by(self, principal: str, role: str, message: bytes, value: bytes) -> Signature | None:
        at = self.acts.clock.now()
        for one in self.trusted():
            signature = Signature(public_key=one.public_key, value=value)
            counts = one.principal == principal and trusts(
                (one,), principal, role=role, public_key=one.public_key, at=at
            )
            if counts and signature_holds(signature, message):
                return signature
        return None

    def _notice(self, trust: TrustList) -> None:
        """A list that was not seen before stands in the ledger before anything is decided by it.

        Raises ``IntegrityError`` for one that is older than the newest seen: a removed key would count again.
        """
        digest = hashlib.sha256(repr(trust).encode()).hexdigest()
        if self._kept("trusted_experts") == digest:
            return
        if trust.issued < self._kept("trusted_experts_issued"):
            self._refuse_older(digest)
        counting = [one for one in trust.experts if not one.removed]
        detail: dict[str, Json] = {
            "digest": digest,
            "experts": len(counting),
            "demo": sum(one.demo for one in counting),
        }
        detail |= {"removed": len(trust.experts) - len(counting)}
        self.acts.record(Act(kind="determination.trust", actor=SELF, detail=detail), "ok")
        self._keep("trusted_experts_issued", trust.issued)
        self._keep("trusted_experts", digest)

    def _refuse_older(self, digest: str) -> None:
        if self._kept("trusted_experts_refused") != digest:
            act = Act(kind="determination.trust", actor=SELF, detail={"digest": digest})
            self.acts.record(act, "refused", reason="older_list")
            self._keep("trusted_experts_refused", digest)
        raise IntegrityError(
            "trusted experts: wanted the list that was issued last, got an older one or none; put the newest one back",
            code="older_list",
        )

    def _kept(self, key: str) -> str:
        row = self.acts.store.row("select value from meta where key = ?", key)
        return str(row["value"]) if row is not None else ""

    def _keep(self, key: str, value: str) -> None:
        self.acts.store.change("insert or replace into meta values (?, ?)", key, value)


def stored(row: Row) -> SignedCertificate:
    """What the registry has of a determination: text and signatures."""
    return SignedCertificate(
        row["text"].encode(),
        *(signature_from_text(row[name]) if row[name] else None for name in ("signature", "countersignature")),
    )
