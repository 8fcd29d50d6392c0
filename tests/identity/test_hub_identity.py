"""Whose token it is, as the Hub says: over a real socket, with a Hub that answers as told."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import DeniedError, EnclaveError, UnavailableError
from enclave.identity import hub
from enclave.identity.hub import HubIdentity, actor_of
from enclave.identity.roles import PEOPLE_ROLES, ROLES, group_of, roles_of_groups, scope_of
from enclave.policy.model import Actor

ROSA = {"kind": "user", "name": "rosa", "scopes": ["custom:enclave:researcher", "read:users:name!user=rosa"]}


@dataclass
class FakeHub:
    """Answers ``GET /hub/api/user``."""

    url: str
    status: int = 200
    body: bytes = json.dumps(ROSA).encode()
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(f"{self.path} {self.headers['Authorization']}")
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = FakeHub(f"http://127.0.0.1:{server.server_port}/hub/api")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


def test_a_known_token_gives_person_and_roles_and_is_asked_for_once(fake: FakeHub) -> None:
    identity = HubIdentity(fake.url)
    assert identity.resolve("abc") == identity.resolve("abc") == Actor(name="rosa", roles=frozenset({"researcher"}))
    assert fake.asked == ["/hub/api/user Bearer abc"]
    identity.forget()
    identity.resolve("abc")
    assert len(fake.asked) == 2


def test_an_answer_is_asked_for_again_when_it_is_old(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "CACHE_S", 0.0)
    identity = HubIdentity(fake.url)
    identity.resolve("abc")
    fake.status = 403
    with pytest.raises(DeniedError):
        identity.resolve("abc")


def test_what_cannot_be_taken_back_asks_the_hub_anew_and_its_answer_holds_for_all_others(fake: FakeHub) -> None:
    identity = HubIdentity(fake.url)
    identity.resolve("abc")
    assert identity.resolve_anew("abc").name == "rosa"
    assert len(fake.asked) == 2
    fake.status = 403
    assert identity.resolve("abc").name == "rosa"
    for ask in (identity.resolve_anew, identity.resolve):
        with pytest.raises(DeniedError) as caught:
            ask("abc")
        assert caught.value.code == "token_invalid"
    fake.status = 500
    with pytest.raises(UnavailableError):
        identity.resolve_anew("abc")
    with pytest.raises(DeniedError):
        identity.resolve_anew("x" * 600)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_the_hub_refuses_is_denied_and_not_remembered(fake: FakeHub, status: int) -> None:
    fake.status = status
    identity = HubIdentity(fake.url)
    with pytest.raises(DeniedError) as caught:
        identity.resolve("abc")
    assert caught.value.code == "token_invalid"
    fake.status = 200
    assert identity.resolve("abc").name == "rosa"


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (200, b"no json"), (200, b"[]"), (302, b"")])
def test_a_hub_that_answers_oddly_is_unavailable(fake: FakeHub, status: int, body: bytes) -> None:
    fake.status, fake.body = status, body
    with pytest.raises(UnavailableError):
        HubIdentity(fake.url).resolve("abc")


def test_a_hub_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError):
        HubIdentity("http://127.0.0.1:1/hub/api").resolve("abc")


@pytest.mark.parametrize("token", ["", "x" * 600, "a\r\nX: y", "ü"])
def test_a_token_of_another_form_never_reaches_the_hub(fake: FakeHub, token: str) -> None:
    with pytest.raises(DeniedError):
        HubIdentity(fake.url).resolve(token)
    assert fake.asked == []


@pytest.mark.parametrize(
    "model",
    [
        {},
        {**ROSA, "kind": "service"},
        {**ROSA, "name": "../etc"},
        {**ROSA, "name": None},
        {**ROSA, "scopes": "custom:enclave:operator"},
    ],
)
def test_an_answer_about_no_person_is_denied(model: dict[str, Any]) -> None:
    with pytest.raises(DeniedError):
        actor_of(model)


@given(st.dictionaries(st.sampled_from(["kind", "name", "scopes", "x"]), st.none() | st.text() | st.lists(st.text())))
def test_any_answer_is_an_actor_with_known_roles_or_denied(model: dict[str, Any]) -> None:
    try:
        actor = actor_of(model)
    except EnclaveError:
        return
    assert actor.roles <= set(ROLES)


def test_roles_groups_and_scopes_are_one_to_one_and_no_person_is_a_service() -> None:
    assert len({group_of(r) for r in ROLES}) == len({scope_of(r) for r in ROLES}) == len(ROLES)
    for role in PEOPLE_ROLES:
        assert roles_of_groups([group_of(role), "other"]) == {role}
    assert roles_of_groups([group_of("service")]) == frozenset()
    assert roles_of_groups("enclave-operator") == roles_of_groups(None) == roles_of_groups({"enclave-operator": 1})
