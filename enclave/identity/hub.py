"""Who a Hub token speaks for: every service asks the Hub itself and believes nobody else."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from enclave.core.errors import DeniedError, EnclaveError, UnavailableError
from enclave.core.ids import check_principal
from enclave.identity.roles import ROLES, SCOPE_PREFIX
from enclave.policy.model import Actor

CACHE_S = 30.0  # a role that was taken away is gone from every service after at most this long
_MAX_CACHE = 4096
_MAX_TOKEN = 512
_MAX_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    until: float
    actor: Actor


class HubIdentity:
    """Resolves a Hub OAuth token to the person and the roles that the Hub gives it.

    ``api_url`` is the Hub's API, ``http://127.0.0.1:8001/hub/api`` or ``http+unix://%2F…/hub/api``.
    Roles are the custom scopes of the *token*, so a token that was issued for less carries less.
    Thread-safe. Answers are kept for 30 s, refusals are not.
    """

    def __init__(self, api_url: str, *, timeout_s: float = 5.0) -> None:
        self._url = urlsplit(api_url.rstrip("/"))
        self._timeout_s = timeout_s
        self._cache: dict[str, _Entry] = {}
        self._guard = threading.Lock()

    def resolve(self, token: str) -> Actor:
        """The actor of ``token``; raises ``DeniedError`` (``token_invalid``) or ``UnavailableError``."""
        key = _key_of(token)
        with self._guard:
            entry = self._cache.get(key)
        if entry is not None and entry.until > time.monotonic():
            return entry.actor
        return self._heard(key, token)

    def resolve_anew(self, token: str) -> Actor:
        """As ``resolve``, but the Hub is asked in any case: for what cannot be taken back once it is done."""
        key = _key_of(token)
        with self._guard:
            self._cache.pop(key, None)
        return self._heard(key, token)

    def _heard(self, key: str, token: str) -> Actor:
        actor = actor_of(self._ask(token))
        with self._guard:
            if len(self._cache) >= _MAX_CACHE:
                self._cache.clear()
            self._cache[key] = _Entry(time.monotonic() + CACHE_S, actor)
        return actor

    def forget(self) -> None:
        """Drops what was kept, so that the next question goes to the Hub."""
        with self._guard:
            self._cache.clear()

    def _ask(self, token: str) -> dict[str, Any]:
        connection = _connection(self._url.scheme, self._url.netloc, timeout_s=self._timeout_s)
        try:
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            connection.request("GET", f"{self._url.path}/user", headers=headers)
            answer = connection.getresponse()
            body = answer.read(_MAX_ANSWER)
        except (OSError, http.client.HTTPException):
            raise _unavailable("no answer") from None
        finally:
            connection.close()
        if answer.status in (401, 403):
            raise _invalid()
        if answer.status != 200:
            raise _unavailable(f"status {answer.status}")
        try:
            model = json.loads(body)
        except ValueError:
            raise _unavailable("an answer that is not JSON") from None
        if not isinstance(model, dict):
            raise _unavailable("an answer of another form")
        return model


def actor_of(model: dict[str, Any]) -> Actor:
    """The actor in the Hub's answer to ``GET /user``; raises ``DeniedError`` when it is no person.

    A service's own token (``kind`` "service") speaks for nobody: services have no roles.
    """
    name, scopes = model.get("name"), model.get("scopes")
    if model.get("kind") != "user" or not isinstance(name, str) or ":" in name or not isinstance(scopes, list):
        raise _invalid()
    try:
        check_principal(name)
    except EnclaveError:
        raise _invalid() from None
    found = {s.removeprefix(SCOPE_PREFIX) for s in scopes if isinstance(s, str) and s.startswith(SCOPE_PREFIX)}
    return Actor(name=name, roles=frozenset(found & set(ROLES)))


def _key_of(token: str) -> str:
    """What a token's answer is kept under, not the token itself; raises ``DeniedError`` for what can be none."""
    if not token or len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise _invalid()
    return hashlib.sha256(token.encode("ascii")).hexdigest()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Opens the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(scheme: str, netloc: str, *, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "http+unix":
        return _UnixConnection(unquote(netloc), timeout_s=timeout_s)
    if scheme == "https":
        return http.client.HTTPSConnection(netloc, timeout=timeout_s)
    return http.client.HTTPConnection(netloc, timeout=timeout_s)


def _invalid() -> DeniedError:
    return DeniedError(
        "Hub token: wanted one that the Hub knows, got another; sign in again with `enclave login`",
        code="token_invalid",
    )


def _unavailable(got: str) -> UnavailableError:
    return UnavailableError(
        f"Hub: wanted to know whose token this is, got {got}; is the Hub running? `enclave demo status`",
        code="hub_unavailable",
    )
