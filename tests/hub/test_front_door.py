"""People at the front door: the real provider, Hub, proxy, ledger, gate and single-user server."""

from __future__ import annotations

import ipaddress
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from enclave.cli import demo_people, login
from enclave.cli.init import make_home
from enclave.cli.session import Session, read_token, write_session
from enclave.core.errors import DeniedError, UnavailableError
from enclave.hub.roles_config import client_scopes
from enclave.hub.secrets_files import CONSOLE_TOKEN, read_hub_secret
from enclave.identity.authorization import end_token
from enclave.identity.hub import HubIdentity
from enclave.policy.model import Actor
from tests.hub.conftest import answers, end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rosa(door: Any) -> Any:
    session = demo_people.sign_in(door.home, "rosa")
    demo_people.start_server(session)
    yield session
    session.close()


def eventually(read: Any, *, within_s: float = 60.0) -> Any:
    end = time.monotonic() + within_s
    while not (found := read()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def test_a_person_with_a_second_factor_signs_in_and_the_ledger_says_so(door: Any) -> None:
    session = demo_people.sign_in(door.home, "ada")
    assert session.get_json("/hub/api/user")["name"] == "ada"
    event = door.events(kind="login.ok", actor="ada")[-1]
    assert event["detail"]["roles"] == ["auditor"]
    assert event["detail"]["method"] == "mfa"
    assert ipaddress.ip_address(event["source"]).is_loopback


def test_a_provider_that_came_back_with_another_key_is_believed_again(door: Any) -> None:
    demo_people.sign_in(door.home, "ada").close()
    end(door.processes["devidp"])
    door.start("devidp", "enclave.hub.devidp", "--home", str(door.home.root))
    assert eventually(lambda: answers(f"{door.settings.issuer}/jwks"), within_s=60)
    session = demo_people.sign_in(door.home, "ada")
    assert session.get_json("/hub/api/user")["name"] == "ada"
    session.close()


def test_a_person_without_a_second_factor_is_refused_in_plain_words_and_on_record(door: Any) -> None:
    with pytest.raises(DeniedError, match="second factor"):
        demo_people.sign_in(door.home, "nomfa")
    (refused,) = door.events(kind="login.refused", actor="nomfa")
    assert refused["reason"] == "mfa_missing"
    assert ipaddress.ip_address(refused["source"]).is_loopback


@pytest.mark.parametrize(
    ("person", "role"),
    [
        ("rosa", "researcher"),
        ("edgar", "expert"),
        ("hana", "honest_broker"),
        ("olga", "output_checker"),
        ("stella", "data_steward"),
        ("ada", "auditor"),
        ("otto", "operator"),
    ],
)
def test_the_shells_token_carries_exactly_the_persons_role(door: Any, person: str, role: str) -> None:
    identity = HubIdentity(door.settings.api_url)
    token = demo_people.token_for(door.home, person)
    assert identity.resolve(token) == Actor(name=person, roles=frozenset({role}))
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=door.settings.api_url, headers=headers, trust_env=False) as api:
        scopes = set(api.get("/user").json()["scopes"])
        assert scopes & set(client_scopes()) == {f"custom:enclave:{role}"}
        assert api.get("/users").status_code == 403
        assert api.post(f"/users/{person}/tokens", json={}).status_code in (403, 404)
        assert api.post(f"/users/{person}/server").status_code in (403, 404)


def test_a_shell_signs_in_by_browser_and_acts_for_that_person_until_it_signs_out(
    door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENCLAVE_SESSION", str(tmp_path / "session.json"))
    person = demo_people.sign_in(door.home, "stella")

    def browser(url: str) -> None:
        callback = demo_people.confirm_at(person, url, redirect_uri=door.settings.cli_redirect_uri)
        threading.Timer(0.2, lambda: httpx.get(callback, trust_env=False)).start()

    monkeypatch.setattr("webbrowser.open", browser)
    login.login(home=door.home.root, browser=True)
    assert (tmp_path / "session.json").stat().st_mode & 0o777 == 0o600
    login.whoami(home=door.home.root, json_path="-")
    assert json.loads(capsys.readouterr().out)["roles"] == ["data_steward"]
    assert HubIdentity(door.settings.api_url).resolve(read_token(door.home)).name == "stella"
    token = read_token(door.home)
    (tmp_path / "session.json").chmod(0o644)
    with pytest.raises(DeniedError, match="owner only"):
        read_token(door.home)
    login.logout(home=door.home.root)
    assert "the token has ended" in capsys.readouterr().err
    with pytest.raises(DeniedError, match="enclave login"):
        read_token(door.home)
    with pytest.raises(DeniedError) as caught:  # a copy of it counts for nobody any more
        HubIdentity(door.settings.api_url).resolve(token)
    assert caught.value.code == "token_invalid"
    assert door.events(kind="login.out", actor="stella")
    login.logout(home=door.home.root)
    assert "was not signed in" in capsys.readouterr().err


def test_a_shells_token_ends_itself_and_no_other(door: Any) -> None:
    otto = demo_people.sign_in(door.home, "otto")
    kept, ended = demo_people.token_for(door.home, "ada"), demo_people.issue_cli_token(door.home, otto)
    identity = HubIdentity(door.settings.api_url)
    assert end_token(door.settings.api_url, token=ended)
    assert not end_token(door.settings.api_url, token=ended)
    assert not end_token(door.settings.api_url, token="0" * 32)
    assert not end_token(door.settings.api_url, token=read_hub_secret(door.home, CONSOLE_TOKEN))
    assert identity.resolve(kept).name == "ada"
    with pytest.raises(DeniedError):
        identity.resolve(ended)
    session = demo_people.sign_in(door.home, "ada")
    assert session.post("/hub/end_token").status_code == 403  # a browser's session is no token


def test_without_the_hub_a_shell_forgets_its_token_and_says_that_it_counts_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENCLAVE_SESSION", str(tmp_path / "session.json"))
    home = make_home(tmp_path / "home", port=19_800)  # nobody listens there
    write_session(home, Session(token="t" * 32, person="ada", expires=int(time.time()) + 60))
    login.logout(home=home.root)
    assert "The Hub did not answer" in capsys.readouterr().err
    assert not (tmp_path / "session.json").exists()


def test_a_token_that_the_hub_does_not_know_is_refused(door: Any) -> None:
    with pytest.raises(DeniedError) as caught:
        HubIdentity(door.settings.api_url).resolve("0" * 32)
    assert caught.value.code == "token_invalid"


def test_a_person_who_is_no_researcher_gets_no_server_and_makes_no_token(door: Any) -> None:
    session = demo_people.sign_in(door.home, "omar")
    session.get("/hub/home")
    assert session.post("/hub/api/users/omar/server").status_code in (403, 404)
    assert session.post("/hub/api/users/omar/tokens", json={}).status_code in (403, 404)
    assert session.post("/hub/api/users/rosa/server").status_code in (403, 404)


def test_jupyterlab_comes_through_proxy_gate_and_server_with_a_strict_policy(door: Any, rosa: Any) -> None:
    page = rosa.get("/user/rosa/lab")
    assert page.status_code == 200
    assert "jupyter-config-data" in page.text
    assert "connect-src 'self'" in page.headers["Content-Security-Policy"]
    assert rosa.get_json("/user/rosa/api/contents/first.py")["content"] == "print(1)\n"
    assert [*rosa.get_json("/user/rosa/api/kernelspecs")["kernelspecs"]] == ["enclave-python"]
    rosa.put_json("/user/rosa/api/contents/note.md", {"type": "file", "format": "text", "content": "x"})


@pytest.mark.row("S4.5")
@pytest.mark.parametrize(
    "path",
    [
        "files/first.py",
        "view/first.py",
        "nbconvert/html/first.ipynb",
        "api/nbconvert",
        "api/terminals",
        "terminals/1",
        "lsp/status",
        "api/contents/values.csv",
        "api/contents/first.py?format=base64",
        "lab/api/extensions",
        "api/shutdown",
    ],
)
def test_what_is_on_no_list_is_refused_by_the_gate(door: Any, rosa: Any, path: str) -> None:
    assert rosa.get(f"/user/rosa/{path}").status_code == 403


def test_refusals_of_the_gate_are_events(door: Any, rosa: Any) -> None:
    assert rosa.get("/user/rosa/view/first.py").status_code == 403
    routes = eventually(lambda: {e["detail"]["route"] for e in door.events(kind="gate.refused", actor="rosa")})
    assert "download" in routes


def test_a_websocket_passes_with_the_persons_cookie_and_is_refused_from_another_origin(door: Any, rosa: Any) -> None:
    path = "/user/rosa/api/events/subscribe"
    cookie = rosa.cookie_header(path)
    origin = door.settings.url
    sock = websocket.create_connection(rosa.websocket_url(path), cookie=cookie, timeout=30, origin=origin)
    assert sock.connected
    sock.close()
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(rosa.websocket_url(path), cookie=cookie, timeout=30, origin="http://elsewhere")
    assert caught.value.status_code == 403
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(rosa.websocket_url(path), timeout=30, origin=origin)
    assert caught.value.status_code == 403


def test_the_server_gets_a_token_for_its_own_server_and_activity_only(door: Any, rosa: Any) -> None:
    environment = door.launcher.started[-1].environment
    headers = {"Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}"}
    with httpx.Client(base_url=door.settings.api_url, headers=headers, trust_env=False) as api:
        scopes = api.get("/user").json()["scopes"]
        granted = {scope.split("!")[0] for scope in scopes}
        assert granted <= {"access:servers", "users:activity", "read:users:name", "read:users:activity"} | {
            "read:users:groups"
        }, json.dumps(scopes)
        assert api.delete("/users/rosa/server").status_code in (403, 404)


def test_the_server_reaches_nothing_of_the_hub_but_its_own(door: Any, rosa: Any) -> None:
    folder = next(iter(door.launcher.place.glob("*/hub.sock")))
    token = door.launcher.started[-1].environment["JUPYTERHUB_API_TOKEN"]
    transport = httpx.HTTPTransport(uds=str(folder))
    with httpx.Client(transport=transport, base_url="http://hub", headers={"Authorization": f"token {token}"}) as api:
        assert api.get("/hub/api").status_code == 200
        assert api.get("/hub/api/user").json()["name"] == "rosa"
        for path in ("/hub/api/users", "/hub/api/users/olga", "/hub/api/proxy", "/hub/home", "/hub/api/../login"):
            assert api.get(path).status_code == 403
        assert api.post("/hub/api/users/olga/activity", json={}).status_code == 403
        assert api.post("/hub/api/oauth2/token", data={"client_id": "service-enclave-cli"}).status_code == 403
    assert eventually(lambda: [e for e in door.events(kind="gate.refused") if e["detail"]["leg"] == "server"])


def test_another_person_does_not_get_into_the_server(door: Any, rosa: Any) -> None:
    olga = demo_people.sign_in(door.home, "olga")
    answer = olga.get("/user/rosa/lab")
    assert answer.status_code in (403, 404)
    assert "jupyter-config-data" not in answer.text


def test_signing_out_is_an_event_and_ends_the_session(door: Any) -> None:
    hana = demo_people.sign_in(door.home, "hana")
    hana.get("/hub/home")
    assert hana.get("/hub/logout").status_code == 200
    assert door.events(kind="login.out", actor="hana")
    assert hana.get("/hub/api/user").status_code == 403


def test_a_server_that_ends_while_it_starts_is_told_at_once(door: Any) -> None:
    stand_in = door.launcher
    stand_in.broken = True
    try:
        session = demo_people.sign_in(door.home, "rosa")
        session.get("/hub/home")
        if session.get_json("/hub/api/users/rosa").get("servers"):
            session.delete("/hub/api/users/rosa/server")
            assert eventually(lambda: not session.get_json("/hub/api/users/rosa").get("servers"))
        with pytest.raises(UnavailableError):
            demo_people.start_server(session)
    finally:
        stand_in.broken = False


def test_nobody_signs_in_while_the_ledger_is_down(door: Any) -> None:
    process = door.processes["auditd"]
    process.send_signal(19)
    try:
        with pytest.raises(Exception, match=r"receipt|status 503"):
            demo_people.sign_in(door.home, "edgar")
    finally:
        process.send_signal(18)
    assert demo_people.sign_in(door.home, "edgar").get_json("/hub/api/user")["name"] == "edgar"
