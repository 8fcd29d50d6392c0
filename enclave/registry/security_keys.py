"""Security keys of people: enrolled once with a code that somebody else issued, then asked to confirm single acts.

A code is good for one person, one enrolment and 24 hours, and stands here as a hash. A challenge is the hash of the
very act that is confirmed; it is good once, for five minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from enclave.core.canonical import canonical_bytes, digest_hex
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import ConflictError, DeniedError, InvalidError, NotFoundError
from enclave.core.ids import check_principal, check_token_id
from enclave.determination.certificate import WEBAUTHN, Signature, decode, encode
from enclave.keys.webauthn import Confirmed, Credential, RelyingParty
from enclave.policy.model import Actor, Facts, Resource, SecurityKeyFacts, StepUpFacts
from enclave.registry.acts import Act, Acts, Question
from enclave.registry.store import Row
from enclave.wire.messages.schema import Json
from enclave.wire.messages.security_keys import EnrolmentCode, SecurityKey, SecurityKeyList, StepUp

CODE_LIFE: Final = timedelta(hours=24)
STEP_UP_LIFE: Final = timedelta(minutes=5)
MOST_TRIES: Final = 5
ENROL: Final[dict[str, Json]] = {"kind": "authenticator.enrol"}
_SCHEMA: Final = "enclave-step-up-v1"


@dataclass(frozen=True, slots=True)
class SecurityKeys:
    """Whose key is whose, and what they confirmed."""

    acts: Acts
    site: RelyingParty

    # ── enrolment ───────────────────────────────────────────────────────────

    def issue_code(self, actor: Actor, person: str) -> EnrolmentCode:
        """A code for somebody else; the only time that it is seen. An earlier one for the same person is void."""
        check_principal(person)
        code = "-".join(secrets.token_hex(3) for _ in range(5))  # 120 bits: a plain hash of it tells nothing
        expires = format_time(self.acts.clock.now() + CODE_LIFE)
        identity = secrets.token_hex(16)

        def insert() -> EnrolmentCode:
            self.acts.store.change("delete from enrolment_codes where person = ?", person)
            self.acts.store.change(
                "insert into enrolment_codes (id, person, digest, issued_by, issued, expires) "
                "values (?, ?, ?, ?, ?, ?)",
                *(identity, person, _digest(identity, code), actor.name, self.acts.now_text(), expires),
            )
            return EnrolmentCode(person=person, code=code, expires=expires)

        act = Act(kind="authenticator.code", actor=actor, detail={"code": identity, "person": person})
        return self.acts.perform(act, lambda: (Resource(person=person), Facts()), insert)

    def begin_enrolment(self, actor: Actor) -> StepUp:
        """What the person's browser needs to make a key; the code is asked for when the key is handed in."""
        known = [credential.id for credential in self._credentials(actor.name)]
        told = Act(kind="authenticator.begin", actor=actor)
        return self._challenge(
            told,
            ENROL,
            options=lambda value: self.site.creation_options(actor.name, challenge=value, known=known),
            question=lambda: (Resource(person=actor.name), Facts()),
        )

    def enrol(self, actor: Actor, *, code: str, challenge: str, response: Json, label: str) -> SecurityKey:
        """Takes a key with the code of somebody else; wrong codes are counted, and the fifth ends the code."""
        if not 0 < len(label.strip()) <= 60:
            raise InvalidError("security key: wanted a name for it of 1 to 60 characters, got none or more")
        self._count_try(actor)
        issued = self._code_of(actor.name)
        credential: list[Credential] = []

        def guard() -> None:
            asked = self._open_challenge(actor, challenge, ENROL)
            credential.append(self.site.check_registration(response, challenge=asked))

        def change() -> SecurityKey:
            (made,) = credential
            self.acts.store.change("delete from enrolment_codes where person = ?", actor.name)
            self._use(challenge)
            self.acts.store.change(
                "insert into security_keys (id, person, public_key, attested, sign_count, label, enrolled, issued_by) "
                "values (?, ?, ?, ?, ?, ?, ?, ?)",
                *(_key_id(made.id), actor.name, encode(made.public_key), encode(made.attested), made.sign_count),
                *(label.strip(), self.acts.now_text(), issued["issued_by"] if issued else ""),
            )
            return _shown(self._row(_key_id(made.id)))

        detail: dict[str, Json] = {"code": issued["id"] if issued else ""}
        act = Act(kind="authenticator.enrol", actor=actor, detail=detail)
        return self.acts.perform(act, lambda: self._enrol_question(actor, issued, code), change, guard=guard)

    def _enrol_question(self, actor: Actor, issued: Row | None, code: str) -> tuple[Resource, Facts]:
        at = self.acts.clock.now()
        facts = None
        if issued is not None:
            right = hmac.compare_digest(issued["digest"], _digest(issued["id"], code.strip().lower()))
            facts = SecurityKeyFacts(
                person=issued["person"],
                issued_by=issued["issued_by"],
                right=right,
                in_time=at < parse_time(issued["expires"]),
                tries=issued["tries"],
            )
        return Resource(person=actor.name), Facts(security_key=facts)

    def _count_try(self, actor: Actor) -> None:
        """Before the code is looked at and in a transaction of its own: a refusal does not take it back."""
        with self.acts.store.transaction():
            self.acts.store.change("update enrolment_codes set tries = tries + 1 where person = ?", actor.name)

    def _code_of(self, person: str) -> Row | None:
        return self.acts.store.row("select * from enrolment_codes where person = ?", person)

    # ── whose key is whose ──────────────────────────────────────────────────

    def list_own(self, actor: Actor) -> SecurityKeyList:
        """The actor's own keys, and the site that they are bound to."""
        self.acts.check_may_read(Act(kind="authenticator.list", actor=actor))
        rows = self.acts.store.rows("select * from security_keys where person = ? order by enrolled", actor.name)
        return SecurityKeyList(keys=tuple(_shown(row) for row in rows), origin=self.site.origin, site=self.site.id)

    def revoke(self, actor: Actor, key: str) -> SecurityKey:
        """Ends a key at once: one's own, or as data steward or operator a lost one of somebody else."""
        row = self._row(key)

        def change() -> SecurityKey:
            self.acts.store.change("delete from security_keys where id = ?", key)
            return _shown(row)

        act = Act(kind="authenticator.revoke", actor=actor, detail={"key": key, "person": row["person"]})
        return self.acts.perform(act, lambda: (Resource(id=key, person=row["person"]), Facts()), change)

    # ── confirming one act ──────────────────────────────────────────────────

    def ask(self, told: Act, act: dict[str, Json], *, question: Question) -> StepUp:
        """A challenge that stands for exactly ``act`` by this person; raises ``DeniedError`` when they have no key.

        ``told`` is how the asking stands in the ledger, ``question`` whether they may do the act at all.
        """
        actor = told.actor
        known = [credential.id for credential in self._credentials(actor.name)]

        def guard() -> None:
            if not known:
                raise DeniedError(
                    "step-up: wanted a security key of yours, got none enrolled; ask another person for a code",
                    code="no_security_key",
                )

        return self._challenge(
            told,
            act,
            options=lambda value: self.site.request_options(challenge=value, known=known),
            question=question,
            guard=guard,
        )

    def facts(self, actor: Actor, act: dict[str, Json], *, challenge: str, assertion: Json) -> StepUpFacts | None:
        """What is known of the confirmation of ``act``; None when the person brought none."""
        if not challenge or assertion is None:
            return None
        try:
            found = self._confirmed(actor, act, challenge=challenge, assertion=assertion)
        except (DeniedError, NotFoundError) as error:
            return StepUpFacts(person=actor.name, reason=error.code)
        return StepUpFacts(person=actor.name, reason="ok", key=_key_id(found.credential.id))

    def use(self, actor: Actor, act: dict[str, Json], *, challenge: str, assertion: Json) -> None:
        """Within the transaction of the act itself: the challenge is spent, the key has counted."""
        found = self._confirmed(actor, act, challenge=challenge, assertion=assertion)
        self._use(challenge)
        self._count_use(found)

    def signature(self, actor: Actor, message: bytes, assertion: Json) -> Signature:
        """Within a transaction: a signature over ``message`` by one of the actor's keys; raises ``DeniedError``."""
        digest = hashlib.sha256(message).digest()
        found = self.site.check_assertion(assertion, challenge=digest, credentials=self._credentials(actor.name))
        self._count_use(found)
        return Signature(public_key=found.credential.public_key, value=found.packed, algorithm=WEBAUTHN)

    def options_over(self, actor: Actor, message: bytes) -> StepUp:
        """What the person's browser needs to sign ``message``: the challenge is its SHA-256."""
        digest = hashlib.sha256(message).digest()
        known = [credential.id for credential in self._credentials(actor.name)]
        options = self.site.request_options(challenge=digest, known=known)
        expires = format_time(self.acts.clock.now() + STEP_UP_LIFE)
        return StepUp(challenge="", options=options, origin=self.site.origin, expires=expires)

    def _confirmed(self, actor: Actor, act: dict[str, Json], *, challenge: str, assertion: Json) -> Confirmed:
        asked = self._open_challenge(actor, challenge, act)
        return self.site.check_assertion(assertion, challenge=asked, credentials=self._credentials(actor.name))

    def _challenge(
        self,
        told: Act,
        act: dict[str, Json],
        *,
        options: Callable[[bytes], dict[str, Any]],
        question: Question,
        guard: Callable[[], None] | None = None,
    ) -> StepUp:
        identity, nonce = secrets.token_hex(16), secrets.token_hex(32)
        value = _bound(nonce, told.actor.name, act)
        expires = format_time(self.acts.clock.now() + STEP_UP_LIFE)

        def insert() -> StepUp:
            self.acts.store.change("delete from step_ups where expires < ?", self.acts.now_text())
            self.acts.store.change(
                "insert into step_ups (id, person, nonce, expires) values (?, ?, ?, ?)",
                *(identity, told.actor.name, nonce, expires),
            )
            return StepUp(challenge=identity, options=options(value), origin=self.site.origin, expires=expires)

        detail = {**told.detail, "challenge": identity, "act_digest": digest_hex(act)}
        return self.acts.perform(replace(told, detail=detail), question, insert, guard=guard)

    def _open_challenge(self, actor: Actor, challenge: str, act: dict[str, Json]) -> bytes:
        """The bytes that a key must have signed for this act: another act, person or moment gives others."""
        check_token_id(challenge, what="challenge")
        row = self.acts.store.row("select * from step_ups where id = ? and person = ?", challenge, actor.name)
        if row is None:
            raise DeniedError("step-up: wanted a challenge that waits for you, got none", code="step_up_used")
        if self.acts.clock.now() >= parse_time(row["expires"]):
            raise DeniedError("step-up: wanted a confirmation within five minutes, got a late one", code="step_up_late")
        return _bound(row["nonce"], actor.name, act)

    def _use(self, challenge: str) -> None:
        if self.acts.store.change("delete from step_ups where id = ?", challenge) != 1:
            raise ConflictError("step-up: wanted the first use of this confirmation, got a second", code="step_up_used")

    def _count_use(self, found: Confirmed) -> None:
        self.acts.store.change(
            "update security_keys set sign_count = ?, used = ? where id = ?",
            *(found.sign_count, self.acts.now_text(), _key_id(found.credential.id)),
        )

    def _credentials(self, person: str) -> list[Credential]:
        rows = self.acts.store.rows("select * from security_keys where person = ? order by enrolled", person)
        return [
            Credential(
                id=bytes.fromhex(row["id"]),
                public_key=decode(row["public_key"]),
                sign_count=row["sign_count"],
                attested=decode(row["attested"]),
            )
            for row in rows
        ]

    def _row(self, key: str) -> Row:
        row = self.acts.store.row("select * from security_keys where id = ?", key)
        if row is None:
            raise NotFoundError("security key: wanted a known one, got an id that the registry does not have")
        return row


def _bound(nonce: str, person: str, act: dict[str, Json]) -> bytes:
    told = {"schema": _SCHEMA, "nonce": nonce, "person": person, "act": act}
    return hashlib.sha256(canonical_bytes(told)).digest()


def _digest(identity: str, code: str) -> str:
    return hashlib.sha256(f"{identity}:{code}".encode()).hexdigest()


def _key_id(credential: bytes) -> str:
    return credential.hex()


def _shown(row: Row) -> SecurityKey:
    return SecurityKey(
        id=row["id"],
        person=row["person"],
        label=row["label"],
        public_key=row["public_key"],
        enrolled=row["enrolled"],
        issued_by=row["issued_by"],
        used=row["used"],
    )
