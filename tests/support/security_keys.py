"""People with security keys in files: they answer the registry as a browser would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enclave.keys.software_authenticator import SoftwareAuthenticator
from enclave.wire.messages import registry as m
from enclave.wire.messages import security_keys as sk

VOUCHES = "t-otto"


def enrolled(ask: Any, person: str, folder: Path, *, vouched_by: str = VOUCHES) -> SoftwareAuthenticator:
    """The person's key; the first time it is made and enrolled with a code that somebody else issues."""
    path = folder / f"{person}.security-key"
    if path.exists():
        return SoftwareAuthenticator(path)
    key = SoftwareAuthenticator.make(path)
    code = ask(sk.IssueCode(token=vouched_by, person=person)).code
    begun = ask(sk.BeginEnrolment(token=f"t-{person}"))
    response = key.register(begun.options, origin=begun.origin)
    ask(sk.Enrol(token=f"t-{person}", code=code, challenge=begun.challenge, response=response, label="test"))
    return key


def decision(
    ask: Any, release: str, folder: Path, *, person: str, approve: bool = True, reason: str = "It fits."
) -> m.DecideRelease:
    """The decision with the person's confirmation of exactly this."""
    key = enrolled(ask, person, folder)
    asked = ask(sk.ConfirmRelease(token=f"t-{person}", id=release, approve=approve, reason=reason))
    assertion = key.confirm(asked.options, origin=asked.origin)
    return m.DecideRelease(
        token=f"t-{person}",
        id=release,
        approve=approve,
        reason=reason,
        challenge=asked.challenge,
        assertion=assertion,
    )
