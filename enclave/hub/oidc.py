"""What the Hub believes of an identity provider's word: nothing that is not signed, current, ours and multi-factor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt

from enclave.core.errors import DeniedError, EnclaveError
from enclave.core.ids import check_principal
from enclave.identity.roles import roles_of_groups

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")  # no HS*, no none
LEEWAY_S = 30
_MAX_TOKEN = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRules:
    """What an id_token must say; see ``HubSettings``."""

    issuer: str
    client_id: str
    username_claim: str = "sub"
    groups_claim: str = "groups"
    mfa_amr: tuple[str, ...] = ("mfa",)
    mfa_acr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A person as the provider vouches for them, after every rule was checked."""

    name: str
    roles: frozenset[str]
    method: str  # the amr or acr value that counted as multi-factor


class SignInRefusedError(DeniedError):
    """A sign-in that a rule refuses; ``person`` is who it was, when the signature was good."""

    def __init__(self, message: str, *, code: str, person: str = "unknown") -> None:
        super().__init__(message, code=code)
        self.person = person


def key_id_of(token: str) -> str | None:
    """The ``kid`` that an unverified id_token names; raises ``SignInRefusedError`` when it is no token."""
    if not isinstance(token, str) or not 0 < len(token) <= _MAX_TOKEN:
        raise _invalid("no id_token")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise _invalid("no id_token") from None
    if header.get("alg") not in ALGORITHMS:
        raise _invalid("an algorithm that is not on the list")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def choose_key(keys: Mapping[str, Any], *, kid: str | None) -> Any:
    """The public key ``kid`` of a JWKS document, or None when it is not there (then fetch the document again)."""
    try:
        found = jwt.PyJWKSet.from_dict(dict(keys)).keys
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError):
        return None
    usable = [key for key in found if key.key_type in ("RSA", "EC", "OKP") and key.public_key_use in (None, "sig")]
    if kid is None:
        return usable[0] if len(usable) == 1 else None
    return next((key for key in usable if key.key_id == kid), None)


def check_sign_in(token: str, *, key: Any, rules: SignInRules, at: datetime) -> SignIn:
    """The person in ``token``; raises ``SignInRefusedError`` with ``id_token_invalid``, ``mfa_missing`` or ``no_role``.

    Source: OpenID Connect Core 1.0, section 3.1.3.7; RFC 8176 (amr).
    """
    claims = _verified_claims(token, key=key, rules=rules, at=at)
    name = _name(claims.get(rules.username_claim))
    method = _factor(claims, rules)
    if method is None:
        raise SignInRefusedError(
            "Sign-in: wanted a second factor (MFA), got a sign-in without one; "
            "set it up at your identity provider and sign in again",
            code="mfa_missing",
            person=name,
        )
    roles = roles_of_groups(claims.get(rules.groups_claim))
    if not roles:
        raise SignInRefusedError(
            "Sign-in: wanted a member of an enclave group, got none of them; ask your data steward to add you",
            code="no_role",
            person=name,
        )
    return SignIn(name=name, roles=roles, method=method)


def _verified_claims(token: str, *, key: Any, rules: SignInRules, at: datetime) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=rules.client_id,
            issuer=rules.issuer,
            # The times are checked below against the time that is passed in.
            options={
                "require": ["exp", "iat", "iss", "aud", "sub"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _invalid("one whose signature, issuer or audience is wrong") from None
    now = at.timestamp()
    times = (claims["exp"], claims["iat"], claims.get("nbf", 0))
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in times):
        raise _invalid("one without proper times")
    if now > times[0] + LEEWAY_S or times[1] > now + LEEWAY_S or times[2] > now + LEEWAY_S:
        raise _invalid("one that is not valid now")
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != rules.client_id:
        raise _invalid("one that was made for another client too")
    return claims


def _name(value: object) -> str:
    if isinstance(value, str) and ":" not in value:  # that form is a service's, and no service signs in here
        try:
            return check_principal(value.lower())
        except EnclaveError:
            pass
    raise _invalid("one without a usable name")


def _factor(claims: Mapping[str, Any], rules: SignInRules) -> str | None:
    amr: object = claims.get("amr")
    values: Collection[object] = amr if isinstance(amr, list) else ()
    found = next((wanted for wanted in rules.mfa_amr if wanted in values), None)
    if found is None and isinstance(claims.get("acr"), str) and claims["acr"] in rules.mfa_acr:
        return str(claims["acr"])
    return found


def _invalid(got: str) -> SignInRefusedError:
    return SignInRefusedError(
        f"Sign-in: wanted an id_token that our identity provider signed for us, got {got}; sign in again",
        code="id_token_invalid",
    )
