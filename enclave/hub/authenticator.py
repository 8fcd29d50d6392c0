"""People sign in at the identity provider; the Hub checks its word itself and records each sign-in."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from typing import Any

import jwt
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthLogoutHandler
from tornado.web import HTTPError
from traitlets import Tuple, Unicode

from enclave.audit.client import AuditClient
from enclave.core.errors import EnclaveError
from enclave.hub.end_token import PATH, EndTokenHandler
from enclave.hub.oidc import SignIn, SignInRefusedError, SignInRules, check_sign_in, choose_key, key_id_of
from enclave.identity.roles import group_of
from enclave.runtime.clock import SystemClock

_STATE_KEY = "enclave_sign_in"


class EnclaveLogoutHandler(OAuthLogoutHandler):
    """Signing out is an event too; it never fails for want of a receipt."""

    async def handle_logout(self) -> None:
        """Records who leaves, then ends the session."""
        user = self.current_user
        if user is not None:
            await self.authenticator.record_sign_out(user.name)
        await super().handle_logout()


class EnclaveAuthenticator(GenericOAuthenticator):
    """``GenericOAuthenticator`` that verifies the id_token, requires a second factor and needs a receipt.

    oauthenticator takes user info from the provider without checking the id_token's signature; here the
    id_token, verified against the provider's keys, is the only source of name, groups and factors.
    """

    issuer = Unicode(help="The `iss` that an id_token must have.").tag(config=True)
    jwks_url = Unicode(help="Where the provider publishes its keys (JWKS).").tag(config=True)
    groups_claim = Unicode("groups", help="The claim that names a person's groups.").tag(config=True)
    mfa_amr = Tuple(("mfa",), help="Any of these in `amr` is a second factor (RFC 8176).").tag(config=True)
    mfa_acr = Tuple((), help="Any of these as `acr` is a second factor.").tag(config=True)
    audit_socket = Unicode(help="The ledger's socket; without a receipt nobody gets in.").tag(config=True)

    logout_handler = EnclaveLogoutHandler

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """The sign-in pages, and the way by which a shell's token ends."""
        return [*super().get_handlers(app), (PATH, EndTokenHandler)]

    _keys: dict[str, Any] | None = None
    _audit: AuditClient | None = None

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """The verified person as user info; raises ``SignInRefusedError``."""
        token = token_info.get("id_token") or ""
        key = await self._key(key_id_of(token))
        rules = SignInRules(
            issuer=self.issuer,
            client_id=self.client_id,
            username_claim=self.username_claim,
            groups_claim=self.groups_claim,
            mfa_amr=tuple(self.mfa_amr),
            mfa_acr=tuple(self.mfa_acr),
        )
        sign_in = check_sign_in(token, key=key, rules=rules, at=SystemClock().now())
        return {self.username_claim: sign_in.name, _STATE_KEY: sign_in}

    def build_auth_state_dict(self, token_info: dict[str, Any], user_info: dict[str, Any]) -> dict[str, Any]:
        """Keeps the checked sign-in only: no token of the provider is stored anywhere."""
        del token_info
        return {_STATE_KEY: user_info[_STATE_KEY]}

    async def get_user_groups(self, auth_state: dict[str, Any]) -> set[str]:
        """The enclave groups of the person; other groups of the provider are nobody's business here."""
        return {group_of(role) for role in _sign_in(auth_state).roles}

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> dict[str, Any] | None:
        """As the base class, with each refusal recorded and told in plain words."""
        try:
            model: dict[str, Any] = await super().authenticate(handler, data, **kwargs)
        except SignInRefusedError as error:
            await self._record_refusal(error, handler)
            raise HTTPError(403, "%s", error.message) from None
        except Exception as error:  # noqa: BLE001 - whatever went wrong, it is a refusal and an event
            self.log.error("Sign-in failed: %s", type(error).__name__)  # noqa: TRY400 - its text may hold a token
            refusal = SignInRefusedError(
                "Sign-in: wanted the identity provider's answer, got none that can be used; try again",
                code="provider_failed",
            )
            await self._record_refusal(refusal, handler)
            raise HTTPError(503, "%s", refusal.message) from None
        return model

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Allows exactly those whose id_token was checked and named an enclave group."""
        if auth_model is None:
            return False
        sign_in = auth_model["auth_state"][_STATE_KEY]
        return isinstance(sign_in, SignIn) and sign_in.name == username and bool(sign_in.roles)

    async def run_post_auth_hook(self, handler: Any, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Records the sign-in; without a receipt it does not happen."""
        model: dict[str, Any] = await super().run_post_auth_hook(handler, auth_model)
        sign_in = _sign_in(model["auth_state"])
        await self._record(
            "login.ok",
            actor=sign_in.name,
            source=_address(handler),
            detail={"method": sign_in.method, "roles": sorted(sign_in.roles), "issuer": self.issuer},
        )
        model["auth_state"] = None
        return model

    async def record_sign_out(self, name: str) -> None:
        """Writes ``login.out``; a sign-out is not held up when the ledger is down."""
        try:
            await asyncio.to_thread(self._client().record, "login.out", actor=name)
        except EnclaveError as error:
            self.log.error("Sign-out not recorded: %s", error.code)  # noqa: TRY400 - the code says it all

    async def _record_refusal(self, error: SignInRefusedError, handler: Any) -> None:
        await self._record(
            "login.refused",
            actor=error.person,
            source=_address(handler),
            outcome="refused",
            reason=error.code,
            detail={"issuer": self.issuer},
        )

    async def _record(self, kind: str, **fields: Any) -> None:
        try:
            await asyncio.to_thread(self._client().record, kind, **fields)
        except EnclaveError as error:
            self.log.error("Sign-in not recorded: %s", error.code)  # noqa: TRY400 - the code says it all
            raise HTTPError(
                503, "%s", "Sign-in: wanted a receipt from the ledger, got none; nobody is let in until it is back"
            ) from None

    def _client(self) -> AuditClient:
        if self._audit is None:
            self._audit = AuditClient(Path(self.audit_socket))
        return self._audit

    async def _key(self, kid: str | None) -> Any:
        """The provider's key ``kid``; its document is fetched again once when the key is not known.

        A token that names no key could mean any: a provider that numbers none may have changed its one, so what it
        publishes now is asked each time.
        """
        if kid is None:
            self._keys = None
        for _ in range(2):
            key = choose_key(self._keys, kid=kid) if self._keys is not None else None
            if key is not None:
                return key
            self._keys = await self.httpfetch(self.jwks_url, "Fetching the provider's keys...")
        key = choose_key(self._keys or {}, kid=kid)
        if key is None:
            raise SignInRefusedError(
                "Sign-in: wanted an id_token signed by a key that our provider publishes, got another key",
                code="id_token_invalid",
            )
        return key


def _sign_in(auth_state: dict[str, Any]) -> SignIn:
    found = auth_state.get(_STATE_KEY)
    if not isinstance(found, SignIn):
        raise jwt.InvalidTokenError("no checked sign-in")
    return found


def _address(handler: Any) -> str | None:
    """The address that the request came from, as the Hub takes it from its own proxy; None when it is none."""
    try:
        return str(ipaddress.ip_address(str(handler.request.remote_ip)))
    except (AttributeError, ValueError):
        return None
