"""What the Hub believes of an id_token."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from enclave.hub.oidc import SignInRefusedError, SignInRules, check_sign_in, choose_key, key_id_of

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULES = SignInRules(issuer="http://localhost:8003", client_id="enclave-hub", mfa_acr=("gold",))
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def document(*keys: tuple[str, rsa.RSAPrivateKey]) -> dict[str, Any]:
    made = [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(k.public_key())), "kid": kid} for kid, k in keys]
    return {"keys": made}


PUBLIC = choose_key(document(("one", KEY)), kid="one")


def claims(**changed: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "iss": RULES.issuer,
        "aud": RULES.client_id,
        "sub": "rosa",
        "iat": int(AT.timestamp()),
        "exp": int((AT + timedelta(minutes=5)).timestamp()),
        "amr": ["pwd", "mfa"],
        "groups": ["enclave-researcher", "staff"],
    }
    return {name: value for name, value in {**base, **changed}.items() if value is not None}


def token(key: Any = KEY, *, algorithm: str = "RS256", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm=algorithm, headers={"kid": "one"})


def test_a_signed_current_multi_factor_token_of_a_member_is_believed() -> None:
    found = check_sign_in(token(), key=PUBLIC, rules=RULES, at=AT)
    assert (found.name, found.roles, found.method) == ("rosa", {"researcher"}, "mfa")


def test_an_accepted_context_class_counts_as_a_second_factor() -> None:
    assert check_sign_in(token(amr=None, acr="gold"), key=PUBLIC, rules=RULES, at=AT).method == "gold"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"amr": ["pwd"]}, "mfa_missing"),
        ({"amr": None}, "mfa_missing"),
        ({"amr": "mfa"}, "mfa_missing"),
        ({"amr": [], "acr": "silver"}, "mfa_missing"),
        ({"groups": ["staff"]}, "no_role"),
        ({"groups": None}, "no_role"),
        ({"groups": ["enclave-service"]}, "no_role"),
        ({"iss": "http://elsewhere"}, "id_token_invalid"),
        ({"aud": "another"}, "id_token_invalid"),
        ({"aud": ["enclave-hub", "another"]}, "id_token_invalid"),
        ({"exp": int(AT.timestamp()) - 60}, "id_token_invalid"),
        ({"iat": int(AT.timestamp()) + 600}, "id_token_invalid"),
        ({"nbf": int(AT.timestamp()) + 600}, "id_token_invalid"),
        ({"exp": None}, "id_token_invalid"),
        ({"exp": True}, "id_token_invalid"),
        ({"sub": "../x"}, "id_token_invalid"),
        ({"sub": "service:reports"}, "id_token_invalid"),
        ({"sub": None}, "id_token_invalid"),
    ],
)
def test_each_missing_promise_has_its_own_refusal(changed: dict[str, Any], code: str) -> None:
    with pytest.raises(SignInRefusedError) as caught:
        check_sign_in(token(**changed), key=PUBLIC, rules=RULES, at=AT)
    assert caught.value.code == code
    if code != "id_token_invalid":
        assert caught.value.person == "rosa"


def test_a_token_signed_by_another_key_or_by_a_shared_secret_is_refused() -> None:
    for forged in (token(OTHER), token("s" * 64, algorithm="HS256"), jwt.encode(claims(), "", algorithm="none")):
        with pytest.raises(SignInRefusedError) as caught:
            key_id_of(forged)
            check_sign_in(forged, key=PUBLIC, rules=RULES, at=AT)
        assert caught.value.code == "id_token_invalid"
        assert caught.value.person == "unknown"


def test_a_changed_byte_is_refused() -> None:
    head, body, signature = token().split(".")
    changed = ".".join((head, body[:-2] + ("A" if body[-2] != "A" else "B") + body[-1], signature))
    with pytest.raises(SignInRefusedError):
        check_sign_in(changed, key=PUBLIC, rules=RULES, at=AT)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda b: b.decode("latin-1")))
def test_anything_else_is_refused_without_another_error(text: str) -> None:
    with pytest.raises(SignInRefusedError):
        key_id_of(text)
        check_sign_in(text, key=PUBLIC, rules=RULES, at=AT)


def test_the_key_is_chosen_by_its_id_and_odd_documents_hold_none() -> None:
    both = document(("one", KEY), ("two", OTHER))
    assert choose_key(both, kid="two").key_id == "two"
    assert choose_key(both, kid="three") is None
    assert choose_key(both, kid=None) is None
    for odd in ({}, {"keys": []}, {"keys": "x"}, {"keys": [{"kty": "oct", "k": "AA", "kid": "one"}]}):
        assert choose_key(odd, kid="one") is None
