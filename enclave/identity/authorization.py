"""The shell's side of the Hub's OAuth: authorization code with PKCE and a loopback redirect (RFC 8252, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlencode, urlsplit

from enclave.core.errors import DeniedError, InvalidError, UnavailableError

CLIENT_ID = "service-enclave-cli"
_MAX_ANSWER = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One sign-in of a shell: what only this process knows until the browser comes back."""

    state: str
    verifier: str
    redirect_uri: str

    def authorize_url(self, public_url: str) -> str:
        """The page to open in the browser."""
        digest = hashlib.sha256(self.verifier.encode("ascii")).digest()
        query = urlencode(
            {
                "client_id": CLIENT_ID,
                "redirect_uri": self.redirect_uri,
                "response_type": "code",
                "state": self.state,
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"),
                "code_challenge_method": "S256",
            }
        )
        return f"{public_url}/hub/api/oauth2/authorize?{query}"

    def code_from(self, callback: str) -> str:
        """The code in the address that the browser came back to; raises ``DeniedError`` for any other answer."""
        query = parse_qs(urlsplit(callback).query)
        state = query.get("state", [""])[0]
        if not hmac.compare_digest(state.encode(), self.state.encode()):
            raise DeniedError(
                "Sign-in: wanted the answer to the question of this shell, got another; run `enclave login` again",
                code="state_mismatch",
            )
        code = query.get("code", [""])[0]
        if not code:
            raise DeniedError("Sign-in: wanted a confirmation, got none; run `enclave login` again", code="not_granted")
        return code


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A Hub token and how many seconds it lives."""

    token: str
    expires_in: int


def new_attempt(redirect_uri: str) -> Attempt:
    """A fresh attempt with its own state and verifier."""
    return Attempt(state=secrets.token_urlsafe(24), verifier=secrets.token_urlsafe(48), redirect_uri=redirect_uri)


def exchange(api_url: str, *, attempt: Attempt, code: str, client: str) -> Granted:
    """Turns ``code`` into a token; raises ``DeniedError`` (``code_refused``) or ``UnavailableError``."""
    form = urlencode(
        {
            "client_id": CLIENT_ID,
            "client_secret": client,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    status, body = _post(f"{api_url}/oauth2/token", body=form, headers=headers)
    if status != HTTPStatus.OK:
        raise DeniedError("Sign-in: wanted a token, got a refusal; run `enclave login` again", code="code_refused")
    try:
        found = json.loads(body)
        return Granted(token=str(found["access_token"]), expires_in=int(found["expires_in"]))
    except (ValueError, KeyError, TypeError):
        raise InvalidError(
            "Hub: wanted a token as JSON, got another answer; are Hub and shell of one release?"
        ) from None


def end_token(api_url: str, *, token: str) -> bool:
    """Tells the Hub to end ``token`` now; says whether it did. Raises ``UnavailableError`` when it does not answer."""
    headers = {"Authorization": f"Bearer {token}"}
    status, _ = _post(f"{api_url.removesuffix('/api')}/end_token", body="", headers=headers)
    return status == HTTPStatus.NO_CONTENT


def _post(url: str, *, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
    address = urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.netloc, timeout=15)
    try:
        connection.request("POST", address.path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER)
    except (OSError, http.client.HTTPException):
        raise UnavailableError("Hub: wanted an answer, got none; is it running? `enclave demo status`") from None
    finally:
        connection.close()
