"""The console over real sockets: a real airlock and ledger; Hub, registry and reports are given at their protocols."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import importlib.util
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from review_batch import keep_batch
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from enclave.audit.alerts.daemon import WatchDaemon
from enclave.audit.alerts.settings import WatchSettings
from enclave.console.app import PREFIX, HubPlace, make_app
from enclave.core.canonical import canonical_bytes
from enclave.core.errors import DeniedError
from enclave.core.secret import Secret
from enclave.intake.daemon import IntakeDaemon
from enclave.keys.files import new_symmetric
from enclave.policy.model import Actor
from enclave.reidentification.daemon import VaultDaemon
from enclave.runtime.home import Home
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import agreements as ag
from enclave.wire.messages import grants as gm
from enclave.wire.messages import registry as r
from enclave.wire.messages import reports as p
from enclave.wire.messages.vault import StoreMap
from enclave.wire.peer import Call, Reply, WireServer


def _airlock_kit() -> Any:
    """The airlock tests' own stand: the same real daemon, not a copy of it."""
    path = Path(__file__).parents[1] / "airlock" / "conftest.py"
    spec = importlib.util.spec_from_file_location("airlock_kit", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["airlock_kit"] = module
    spec.loader.exec_module(module)
    return module


kit = _airlock_kit()
airlock = kit.airlock
PEOPLE = {**kit.PEOPLE, "stella": {"data_steward"}, "mallory": set()}


class FakeHub(http.server.BaseHTTPRequestHandler):
    """The two answers of a Hub that the console asks for: a code becomes a token, a token a person."""

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").split(" ")[-1]
        name = token.removeprefix("token-")
        if name not in PEOPLE or name == token:
            return self._say(403, {})
        scopes = [f"custom:enclave:{role}" for role in PEOPLE[name]]
        access = ["access:services!service=console"] if name != "mallory" else []
        return self._say(200, {"kind": "user", "name": name, "scopes": [*scopes, *access], "groups": []})

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._say(200, {"access_token": "token-" + body["code"][0].removeprefix("code-"), "token_type": "Bearer"})

    def _say(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


CERTIFICATE = canonical_bytes(
    {
        "expert": {"principal": "edgar"},
        "expires": "2031-01-01T00:00:00.000000Z",
        "counts": {"patients": 40},
        "results": {"k": 5},
    }
).decode()
REPORT = b"<html><body><h1>Validation</h1><script>alert(1)</script></body></html>"


def agreements() -> tuple[ag.Agreement, ...]:
    """One that waits, one in force that ends soon; the words of people are hostile."""
    terms = {
        "kind": "dua", "title": "<script>alert(1)</script>", "project": "demo", "provider": "Example Hospital",
        "recipient": "Example University", "permitted_uses": ["Research"], "safeguards": ["S4.1"],
        "subcontractors": [], "breach_notice_days": 10, "signed": "2026-11-01", "begins": "2026-11-02",
        "ends": "2026-12-24", "at_end": "destroy", "at_end_days": 30,
    }  # fmt: skip
    waits = ag.Agreement(
        id="1a" * 16, project="demo", terms=terms, document="cd" * 32, state="recorded", standing="waits",
        days_left=None, recorded_by="stella", recorded="2026-11-03T10:00:00Z", decided_by="", ended_by="", reason="",
    )  # fmt: skip
    live = replace(waits, id="1b" * 16, state="in_force", standing="live", days_left=22, decided_by="hana")
    return waits, live


@dataclass
class Registry:
    """A registry and a report service that remember what they were asked."""

    asked: list[Any] = field(default_factory=list)

    def handlers(self) -> dict[type[Any], Any]:
        version = r.Version(
            dataset="demo-ct",
            version=1,
            content_root="ab" * 32,
            state="released",
            summary={"records": 40, "risk": {"k": 5}},
            certificate="cd" * 16,
            projects=("demo",),
            review={"required": True, "sample": 7, "waiting": 0, "unclean": 0, "verdict": "", "by": "", "reason": ""},
        )
        release = r.Release(
            id="ef" * 16, dataset="demo-ct", version=1, project="demo", state="requested", requested_by="stella"
        )
        grant = gm.Grant(
            id="0a" * 16, person="rosa", dataset="demo-ct", version=1, project="demo", state="active", opens="ok",
            requested_by="stella", decided_by="hana", reason="By the release.",
        )  # fmt: skip
        asked = replace(
            grant, id="0b" * 16, person="ruth", state="requested", opens="grant_requested",
            until="2031-01-01T00:00:00Z", decided_by="", reason="",
        )  # fmt: skip
        shown = r.Certificate(id="cd" * 16, state="signed", text=CERTIFICATE, digest="12" * 32)
        answers = {
            r.ListVersions: r.VersionList(versions=(version,)),
            r.ShowDetermination: shown,
            r.ListReleases: r.ReleaseList(releases=(release,)),
            r.RequestRelease: release,
            r.DecideRelease: release,
            r.ReviewVersion: version,
            gm.ListGrants: gm.GrantList(grants=(asked, grant)),
            r.NoteSample: version,
            ag.ListAgreements: ag.AgreementList(agreements=agreements()),
        }
        return {cls: self._answer(value) for cls, value in answers.items()}

    def report_handlers(self) -> dict[type[Any], Any]:
        run = p.ReportRun(
            id="aa" * 16,
            report="dataset_validation",
            project="demo",
            dataset="demo-ct",
            state="done",
            queued="2026-11-22T10:00:00Z",
            finished="2026-11-22T10:01:00Z",
        )
        return {
            p.ListRuns: self._answer(p.ReportRunList(runs=(run,), entries=("nightly",))),
            p.RunNow: self._answer(run),
            p.ShowPage: self._page,
        }

    def _answer(self, value: Any) -> Any:
        def handler(message: Any, call: Call) -> Any:
            self.asked.append(message)
            return value

        return handler

    def _page(self, message: Any, call: Call) -> Reply:
        return Reply(p.ReportPage(name="report.html", size_bytes=len(REPORT), sha256="00"), (kit.memory(REPORT),))


@dataclass
class Browser:
    """A browser in small: cookies, forms with their token, no following of redirects."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def open(self, path: str, *, form: dict[str, str] | None = None, **headers: str) -> tuple[int, Any, str]:
        status, answer, body = self.open_bytes(path, form=form, **headers)
        return status, answer, body.decode("utf-8", "replace")

    def open_bytes(self, path: str, *, form: dict[str, str] | None = None, **headers: str) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", **self.headers}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        body = None
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form)
        target = path if path.startswith("/") else PREFIX + path
        connection.request("POST" if form is not None else "GET", target, body=body, headers=sent)
        answer = connection.getresponse()
        data = answer.read()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        connection.close()
        return answer.status, answer.headers, data

    def sign_in(self, person: str) -> Browser:
        """The OAuth way: to the Hub, back with a code, a cookie."""
        _, headers, _ = self.open("")
        query = parse_qs(urlsplit(headers["Location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        status, _, _ = self.open(f"oauth_callback?code=code-{person}&state={query['state'][0]}")
        assert status == 302
        return self

    def token_of(self, page: str) -> str:
        """The form token that a page carries."""
        found = re.search(r'name="_xsrf" value="([^"]+)"', page)
        assert found, "the page has no form"
        return found.group(1)

    def send(self, page_path: str, form_path: str, **fields: str) -> tuple[int, Any, bytes]:
        """Opens a page and sends one of its forms."""
        _, _, page = self.open(page_path)
        return self.open_bytes(form_path, form={"_xsrf": self.token_of(page), **fields})


@dataclass
class ConsoleStand:
    """A running console on a loopback port."""

    airlock: Any
    registry: Registry
    port: int
    roles: dict[str, set[str]] = field(default_factory=lambda: PEOPLE)
    servers: dict[str, WireServer] = field(default_factory=dict)

    @property
    def picture(self) -> bytes:
        return kit.picture()

    def browser(self, person: str | None = None) -> Browser:
        browser = Browser(self.port)
        return browser.sign_in(person) if person else browser


@pytest.fixture
def console(airlock: Any, auditd: Any) -> Iterator[ConsoleStand]:
    home: Home = airlock.home
    registry = Registry()
    own = airlock.neighbours
    own.stop("registryd")
    servers = {
        name: WireServer(home.socket(name), {**handlers}, log=Log(name), allowed_uids=frozenset({os.getuid()}))
        for name, handlers in (
            ("registryd", {**registry.handlers(), **own.registry_handlers()}),
            ("reportd", registry.report_handlers()),
        )
    }
    for server in servers.values():
        server.start()
    hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    auditd.people.update({f"token-{name}": kit.Actor(name, frozenset(roles)) for name, roles in PEOPLE.items()})
    place = HubPlace(
        api_url=f"http://127.0.0.1:{hub.server_port}/hub/api", token=Secret(secrets.token_hex(16).encode())
    )
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        HTTPServer(make_app(home, hub=place, log=Log("console"))).add_sockets(sockets)
        ports.append(sockets[0].getsockname()[1])
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    watchd = WatchDaemon(
        home, log=Log("watchd"), resolve=auditd._person, settings=WatchSettings(look_s=0.05, metrics="")
    )
    watchd.start()
    yield ConsoleStand(airlock, registry, ports[0], servers=servers)
    watchd.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    hub.shutdown()
    for server in servers.values():
        server.close()
    own.start("registryd")


SUBJECTS = tuple(f"P-{number:015d}" for number in range(60))
ORIGINAL = "Zanaryquist"


def person_of(console: ConsoleStand) -> Callable[[str], Actor]:
    """Who a token stands for, as the Hub would say it to a daemon."""

    def resolve(token: str) -> Actor:
        name = token.removeprefix("token-")
        if name not in console.roles:
            raise DeniedError("token: wanted one of the Hub, got another", code="token_invalid")
        return Actor(name, frozenset(console.roles[name]))

    return resolve


@pytest.fixture
def desk(console: ConsoleStand) -> Iterator[ConsoleStand]:
    """The console with a vault beside it; of all people nobody here is on a project of the dataset."""
    home = console.airlock.home
    new_symmetric(home.key_file("vault"))
    daemon = VaultDaemon(home, log=Log("vaultd"), resolve=person_of(console))
    daemon.start()
    client = WireClient(home.socket("vaultd"))
    rows = tuple({"pseudonym": one, "original_ids": [f"{ORIGINAL}-{one}"], "offset_days": -3} for one in SUBJECTS)
    client.call(StoreMap(dataset="demo-ct", batch="b" * 32, rows=rows))
    yield console
    client.close()
    daemon.close()


@pytest.fixture
def intake_desk(console: ConsoleStand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConsoleStand]:
    """The console with an intake beside it that holds one sealed batch of stella's."""
    monkeypatch.setattr("enclave.intake.pipeline._PAUSES_S", ())
    keep_batch(console.airlock.home, tmp_path / "work")
    daemon = IntakeDaemon(console.airlock.home, resolve=person_of(console), log=Log("intaked"))
    daemon.start()
    yield console
    daemon.close()
