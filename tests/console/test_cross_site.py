"""Another site opens no page in a person's name: each look is an act, and belongs to who did it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.web import RequestHandler

from enclave.console.app import _routes, _routes_of_keys
from enclave.console.desks import Start
from enclave.console.pages import Callback, Health, Page, Static, from_elsewhere

pytestmark = pytest.mark.row("S10.1")
ID, KEY, NAME = "ab" * 16, "cd" * 16, "note.txt"
ELSEWHERE = ("cross-site", "same-site", "", "none, cross-site", "anything")
OPENED = {"Sec_Fetch_Mode": "navigate"}


def pages() -> dict[str, type[Page]]:
    """A path of every route that shows a page, and what shows it."""
    found: dict[str, type[Page]] = {}
    for path, handler, *_ in (*_routes(), *_routes_of_keys()):
        if handler not in (Callback, Health, Static) and handler.get is not RequestHandler.get:
            named = path.replace(r"([0-9a-f]{32})", ID).replace(r"([0-9a-f]{2,2048})", KEY)
            found[re.sub(r"\(\[A-Za-z0-9[^)]*\)", NAME, named)] = handler
    return found


def events(console: Any) -> list[tuple[str, str, str]]:
    told = console.airlock.auditd.events()
    return [(e["kind"], e["actor"], e.get("reason", "")) for e in told if e["kind"] != "audit.started"]


def test_no_page_but_the_start_may_be_opened_from_elsewhere() -> None:
    found = pages()
    assert len(found) > 20
    assert {handler for handler in found.values() if handler.FROM_ANYWHERE} == {Start}


@pytest.mark.parametrize("person", ["olga", "ada", "hana"])
def test_every_page_is_refused_to_another_site_with_an_event_and_nothing_else_happens(
    console: Any, person: str
) -> None:
    browser = console.browser(person)
    for path, handler in pages().items():
        before = events(console)
        status, headers, body = browser.open(path, Sec_Fetch_Site="cross-site", **OPENED)
        after = events(console)[len(before) :]
        if handler.FROM_ANYWHERE:
            assert status == 200
            assert {kind for kind, _, _ in after} <= {"egress.view"}
            continue
        assert (status, after) == (403, [("console.open", person, "cross_site")]), path
        assert "typed address" in body
        assert headers["Content-Security-Policy"]
    told = console.airlock.auditd.events(kind="console.open")
    assert {e["detail"]["page"] for e in told} == {h.__name__ for h in pages().values() if not h.FROM_ANYWHERE}


@pytest.mark.parametrize("site", ELSEWHERE)
def test_no_look_at_a_file_is_taken_for_a_person_by_another_site(console: Any, site: str) -> None:
    request = console.airlock.submit({"note.txt": b"CANARY4711 4.5\n"}).id
    browser = console.browser("olga")
    for path in (f"egress/{request}", f"egress/{request}/look/note.txt", f"egress/{request}/picture/note.txt"):
        status, _, body = browser.open(path, Sec_Fetch_Site=site, **OPENED)
        assert status == 403
        assert "CANARY4711" not in body
    ledger = console.airlock.auditd
    assert ledger.events(kind="egress.view") == []
    assert [e["actor"] for e in ledger.events(kind="console.open", outcome="refused")] == ["olga"] * 3
    assert "CANARY4711" not in repr(ledger.events())


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_pages_of_the_console_and_typed_addresses_open(console: Any, site: str) -> None:
    request = console.airlock.submit({"note.txt": b"mean 4.5\n"}).id
    browser = console.browser("olga")
    assert browser.open(f"egress/{request}", Sec_Fetch_Site=site, **OPENED)[0] == 200
    assert browser.open(f"egress/{request}/picture/note.txt", Sec_Fetch_Site=site, **OPENED)[0] == 200
    assert len(console.airlock.auditd.events(kind="egress.view", outcome="ok")) == 2
    assert console.airlock.auditd.events(kind="console.open") == []


def test_the_refusal_leads_on_by_a_link_of_the_console_itself(console: Any) -> None:
    """Who opened a bookmark and had to sign in first comes from the provider's page."""
    path = f"egress/{console.airlock.submit({'note.txt': b'mean 4.5'}).id}"
    browser = console.browser("olga")
    _, _, body = browser.open(path, Sec_Fetch_Site="cross-site", **OPENED)
    assert f'href="/services/console/{path}">Open this page</a>' in body
    assert browser.open(path, Sec_Fetch_Site="same-origin", **OPENED)[0] == 200


def test_who_is_signed_in_on_the_way_from_another_site_gets_no_further_than_the_start(console: Any) -> None:
    browser = console.browser()
    status, headers, _ = browser.open(f"egress/{ID}", Sec_Fetch_Site="cross-site", **OPENED)
    assert (status, headers["Location"].startswith("/hub/api/oauth2/authorize?")) == (302, True)
    assert console.airlock.auditd.events(kind="console.open") == []  # nobody's name yet
    browser = console.browser("olga")
    assert browser.open(f"egress/{ID}", Sec_Fetch_Site="cross-site", **OPENED)[0] == 403
    assert browser.open("", Sec_Fetch_Site="cross-site", **OPENED)[0] == 200


def test_without_the_ledger_it_is_refused_all_the_same(console: Any) -> None:
    browser = console.browser("olga")
    console.airlock.auditd.stop()
    status, _, body = browser.open("egress", Sec_Fetch_Site="cross-site", **OPENED)
    console.airlock.auditd.start()
    assert status == 503
    assert "Egress desk" not in body


HOSTS = st.sampled_from(["hub.example", "hub.example:8000", "evil.example", "hub.example.evil.example", "", "null"])


@given(
    site=st.none() | st.sampled_from(["same-origin", "none", *ELSEWHERE]),
    origin=st.none() | HOSTS.map(lambda host: f"https://{host}" if host != "null" else host),
    referer=st.none() | HOSTS.map(lambda host: f"https://{host}/services/console/egress"),
)
def test_what_the_browser_says_decides_and_where_it_says_nothing_the_address_that_asked(
    site: str | None, origin: str | None, referer: str | None
) -> None:
    named = {"Sec-Fetch-Site": site, "Origin": origin, "Referer": referer, "Host": "hub.example"}
    found = from_elsewhere({name: value for name, value in named.items() if value is not None})
    if site is not None:
        assert found is (site not in ("same-origin", "none"))
    else:
        asker = origin or referer
        own = ("https://hub.example", "https://hub.example/services/console/egress")
        assert found is (asker is not None and asker not in own)
