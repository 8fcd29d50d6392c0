"""People whom services know by a token, as the Hub would say: ``t-rosa`` is the researcher rosa."""

from __future__ import annotations

from enclave.core.errors import DeniedError
from enclave.policy.model import Actor

ROLES = {
    "rosa": "researcher",
    "rolf": "researcher",
    "edgar": "expert",
    "hana": "honest_broker",
    "holger": "honest_broker",
    "olga": "output_checker",
    "stella": "data_steward",
    "stefan": "data_steward",
    "ada": "auditor",
    "otto": "operator",
}


def resolve(token: str) -> Actor:
    """The person of a token; raises ``DeniedError`` for a token of nobody."""
    name = token.removeprefix("t-")
    if name not in ROLES or name == token:
        raise DeniedError("token: wanted a known one, got another", code="token_invalid")
    return Actor(name, frozenset({ROLES[name]}))
