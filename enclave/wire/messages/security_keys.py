"""What `enclave-registryd` answers about security keys and the acts that they confirm."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.registry import Certificate
from enclave.wire.messages.schema import Json, Text, request


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityKey:
    """One enrolled key: ``public_key`` is its COSE key (base64), ``issued_by`` who vouched for the enrolment."""

    id: str
    person: str
    label: Text
    public_key: str
    enrolled: str
    issued_by: str
    used: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityKeyList:
    """A person's own keys, and the site (host name, origin) that they are bound to."""

    keys: tuple[SecurityKey, ...]
    origin: str
    site: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCode:
    """For one enrolment by one person; shown once."""

    person: str
    code: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUp:
    """What a browser is asked: ``options`` as of WebAuthn (JSON form), good until ``expires``, at ``origin`` only."""

    challenge: str
    origin: str
    expires: str
    options: dict[str, Json] = field(default_factory=dict)


@request("authenticator.code", reply=EnrolmentCode)
@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCode:
    """By a data steward or operator, for somebody else."""

    token: str
    person: str


@request("authenticator.begin", reply=StepUp)
@dataclass(frozen=True, slots=True, kw_only=True)
class BeginEnrolment:
    """By any signed-in person, for themselves."""

    token: str


@request("authenticator.enrol", reply=SecurityKey)
@dataclass(frozen=True, slots=True, kw_only=True)
class Enrol:
    """By the person whom a code was issued for; ``response`` is what their browser answered."""

    token: str
    code: str
    challenge: str
    response: Json
    label: Text


@request("authenticator.list", reply=SecurityKeyList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListSecurityKeys:
    """By any signed-in person: their own."""

    token: str


@request("authenticator.revoke", reply=SecurityKey)
@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeSecurityKey:
    """One's own; as a data steward or operator somebody else's."""

    token: str
    id: str


@request("release.confirm", reply=StepUp)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRelease:
    """By the honest broker who is about to decide: a challenge for exactly this decision with this reason."""

    token: str
    id: str
    approve: bool
    reason: Text


@request("determination.ask_signature", reply=StepUp)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskSignature:
    """By the named expert or data steward: what their browser needs to sign with a security key."""

    token: str
    id: str


@request("determination.submit_assertion", reply=Certificate)
@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitAssertion:
    """By the named expert (before it is signed) or data steward (after): an assertion over what they sign."""

    token: str
    id: str
    assertion: Json
