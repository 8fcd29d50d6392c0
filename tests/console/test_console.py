"""The console: who gets in, what pages say, and that the daemons decide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import enclave.console
from enclave.console.pages import HEADERS
from enclave.console.words import STATES
from enclave.wire.messages import registry as r
from enclave.wire.messages import reports as p

PAGES = ("", "egress", "datasets", "agreements", "releases", "reports", "audit")
PAGES += ("audit/alerts", "audit/reviews", "audit/drills", "audit/lineage")
HERE = Path(enclave.console.__file__).parent


def test_who_is_not_signed_in_is_sent_to_the_hub(console: Any) -> None:
    for page in PAGES:
        status, headers, _ = console.browser().open(page)
        assert status == 302
        assert headers["Location"].startswith("/hub/api/oauth2/authorize?")


def test_a_form_without_session_is_refused(console: Any) -> None:
    status, _, body = console.browser().open(f"egress/{'ab' * 16}/vote", form={"vote": "approve", "reason": "x"})
    assert status == 403
    assert "Traceback" not in body


def test_somebody_without_access_to_the_console_sees_nothing(console: Any) -> None:
    browser = console.browser("mallory")
    status, _, body = browser.open("egress")
    assert status == 403
    assert "Egress desk" not in body


@pytest.mark.row("S5.2")
def test_every_answer_carries_the_strict_headers(console: Any) -> None:
    browser = console.browser("olga")
    for path in (*PAGES, "nowhere", "health", "static/console.css", f"egress/{'ab' * 16}"):
        _, headers, _ = browser.open(path)
        for name in ("Strict-Transport-Security", "Content-Security-Policy", "X-Content-Type-Options"):
            assert headers[name] == HEADERS[name], (path, name)


def test_no_page_holds_inline_script_style_or_a_foreign_address() -> None:
    for template in (HERE / "templates").glob("*.html"):
        text = template.read_text("utf-8")
        assert not re.search(r"<style|style=|\son[a-z]+=|hx-on|javascript:|https?://", text), template.name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), template.name


def test_every_form_that_changes_something_carries_a_token() -> None:
    for template in (HERE / "templates").glob("*.html"):
        for form in re.findall(r"<form.*?</form>", template.read_text("utf-8"), re.DOTALL):
            assert 'method="get"' in form or "parts.form_token(xsrf)" in form, template.name


def test_every_state_of_a_request_has_words_and_a_tone() -> None:
    from enclave.airlock.states import STATES as EGRESS_STATES

    assert set(EGRESS_STATES) <= set(STATES)


@pytest.mark.parametrize("person", ["rosa", "olga", "hana", "stella", "ada", "otto"])
def test_every_page_opens_or_says_why_not(console: Any, person: str) -> None:
    browser = console.browser(person)
    for page in PAGES:
        status, _, body = browser.open(page)
        assert status in (200, 403), (page, status, body)
        assert "<h1>" in body
        assert person in body


def test_the_menu_offers_what_a_role_may_use(console: Any) -> None:
    assert "Audit" not in console.browser("olga").open("")[2].split("</nav>")[0]
    assert "Audit" in console.browser("ada").open("")[2].split("</nav>")[0]


def test_two_checkers_approve_and_the_author_downloads_once(console: Any) -> None:
    request = console.airlock.submit().id
    page = f"egress/{request}"
    for person in ("olga", "omar"):
        browser = console.browser(person)
        assert page in browser.open("egress")[2]
        status, headers, _ = browser.send(page, f"{page}/vote", vote="approve", reason="a plain chart")
        assert (status, headers["Location"]) == (303, f"/services/console/{page}?done=voted")
        assert "Your vote is recorded." in browser.open(f"{page}?done=voted")[2]
    author = console.browser("rosa")
    _, _, shown = author.open(page)
    assert "Download the package" in shown
    token = author.token_of(shown)
    status, headers, package = author.open_bytes(f"{page}/deliver", form={"_xsrf": token})
    assert (status, headers["Content-Type"], package[:2]) == (200, "application/zip", b"PK")
    status, _, body = author.open(f"{page}/deliver", form={"_xsrf": token})
    assert status == 403
    assert "single-use" in body
    assert "Download the package" not in author.open(page)[2]


def test_a_vote_without_the_forms_token_is_refused_and_not_cast(console: Any) -> None:
    request = console.airlock.submit().id
    browser = console.browser("olga")
    status, _, _ = browser.open(f"egress/{request}/vote", form={"vote": "approve", "reason": "x"})
    assert status == 403
    assert console.airlock.auditd.events(kind="egress.vote") == []


def test_a_checker_does_not_read_the_others_vote_on_the_page_before_voting(console: Any) -> None:
    request = console.airlock.submit().id
    console.airlock.vote("olga", request, reason="SECRET-OPINION")
    assert "SECRET-OPINION" not in console.browser("omar").open(f"egress/{request}")[2]
    assert "SECRET-OPINION" not in console.browser("rosa").open(f"egress/{request}")[2]
    assert "SECRET-OPINION" in console.browser("olga").open(f"egress/{request}")[2]


def test_a_preview_is_asked_for_and_shown_as_a_marked_rendering(console: Any) -> None:
    request = console.airlock.submit({"note.txt": b"mean <b>4.5</b>\n"}).id
    browser = console.browser("olga")
    _, _, page = browser.open(f"egress/{request}")
    assert "4.5" not in page
    token = re.search(r'"X-Xsrftoken": "([^"]+)"', page)
    assert token
    status, _, piece = browser.open(
        f"egress/{request}/look/note.txt", Sec_Fetch_Mode="cors", X_Xsrftoken=token.group(1), HX_Request="true"
    )
    assert status == 200
    assert "mean &lt;b&gt;4.5" in piece
    assert "olga" in piece


def test_a_picture_preview_is_a_png_that_is_not_the_file(console: Any) -> None:
    request = console.airlock.submit().id
    browser = console.browser("olga")
    status, headers, data = browser.open_bytes(f"egress/{request}/picture/figure.png", Sec_Fetch_Mode="no-cors")
    assert (status, headers["Content-Type"], data[:4]) == (200, "image/png", b"\x89PNG")
    assert browser.open(f"egress/{request}/picture/other.png")[0] == 404


def test_text_of_an_author_is_shown_as_text(console: Any) -> None:
    request = console.airlock.submit({"a.txt": b"x\n"}).id
    _, _, page = console.browser("olga").open(f"egress/{request}")
    assert "<script>" not in page.replace("<script src=", "")


def test_a_stranger_cannot_tell_whether_a_request_exists(console: Any) -> None:
    request = console.airlock.submit().id
    browser = console.browser("rico")
    there, nowhere = browser.open(f"egress/{request}"), browser.open(f"egress/{'ab' * 16}")
    assert there[0] == nowhere[0] == 404
    strip = re.compile(r'value="[^"]*"|"X-Xsrftoken": "[^"]*"')
    assert strip.sub("", there[2]) == strip.sub("", nowhere[2])


def test_a_release_is_decided_with_digest_and_summary_in_view(console: Any) -> None:
    browser = console.browser("hana")
    _, _, page = browser.open("releases")
    for wanted in ("demo-ct@1", "12" * 32, "edgar", "<dt>patients</dt><dd>40</dd>", "1 Jan 2031"):
        assert wanted in page
    status, _, _ = browser.send("releases", f"releases/{'ef' * 16}/decide", decision="refuse", reason="other purpose")
    assert status == 303
    asked = [m for m in console.registry.asked if isinstance(m, r.DecideRelease)]
    assert (asked[0].approve, asked[0].reason, asked[0].token) == (False, "other purpose", "token-hana")


def test_a_decision_without_reason_does_not_reach_the_registry(console: Any) -> None:
    browser = console.browser("hana")
    status, _, _body = browser.send("releases", f"releases/{'ef' * 16}/decide", decision="approve", reason=" ")
    assert status == 400
    assert not [m for m in console.registry.asked if isinstance(m, r.DecideRelease)]


@pytest.mark.parametrize(("verdict", "clean"), [("clean", True), ("unclean", False)])
def test_what_an_honest_broker_says_of_a_sample_goes_to_the_registry_with_its_reason(
    console: Any, verdict: str, clean: bool
) -> None:
    browser = console.browser("hana")
    page = browser.open("releases")[2]
    assert "7 items in the sample" in page
    assert "a yes is required before the approval" in page
    form = {"version": "demo-ct@1", "verdict": verdict}
    assert browser.send("releases", "releases/review", **form, reason="seen all")[0] == 303
    assert browser.send("releases", "releases/review", **form, reason=" ")[0] == 400
    assert browser.send("releases", "releases/review", version="demo-ct@1", verdict="", reason="x")[0] == 400
    (asked,) = [m for m in console.registry.asked if isinstance(m, r.ReviewVersion)]
    assert (asked.version, asked.clean, asked.reason, asked.token) == (1, clean, "seen all", "token-hana")


@pytest.mark.parametrize("person", ["stella", "ada", "olga", "otto"])
def test_nobody_else_is_offered_the_verdict(console: Any, person: str) -> None:
    assert 'name="verdict"' not in console.browser(person).open("releases")[2]


def test_a_data_steward_asks_for_a_release(console: Any) -> None:
    status, _, _ = console.browser("stella").send("releases", "releases/request", version="demo-ct@1", project="demo")
    assert status == 303
    asked = [m for m in console.registry.asked if isinstance(m, r.RequestRelease)]
    assert (asked[0].dataset, asked[0].version, asked[0].project) == ("demo-ct", 1, "demo")


def test_a_report_is_shown_in_a_frame_that_can_start_nothing(console: Any) -> None:
    browser = console.browser("hana")
    _, _, page = browser.open(f"reports/{'aa' * 16}")
    assert re.search(r"<iframe[^>]* sandbox title", page)
    _, headers, report = browser.open(f"reports/{'aa' * 16}/page")
    assert "Validation" in report
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert "allow-" not in policy
    status, _, _ = browser.send("reports", "reports/run", entry="nightly")
    assert status == 303
    assert [m.entry for m in console.registry.asked if isinstance(m, p.RunNow)] == ["nightly"]


def test_an_auditor_reads_the_ledger_and_nobody_else_does(console: Any) -> None:
    request = console.airlock.submit().id
    with pytest.raises(Exception, match="role"):
        console.airlock.vote("ada", request)
    browser = console.browser("ada")
    for view in ("cell_executions", "dataset_access", "denials", "logins", "egress_history", "admin_actions", "events"):
        status, _, page = browser.open(f"audit?view={view}")
        assert status == 200, view
        assert "stop" not in re.findall(r'<p class="note (\w+)" role="alert"', page), view
    assert "egress.vote" in browser.open("audit?view=denials")[2]
    assert "Not held elsewhere" in browser.open("audit")[2]  # no off-host witness is set
    assert console.browser("olga").open("audit")[0] == 403
    assert 'role="alert"' in browser.open("audit?sql=SELEC")[2]


def test_a_daemon_that_is_away_is_named_in_plain_words(console: Any) -> None:
    console.airlock.stop()
    status, _, body = console.browser("olga").open("egress")
    assert status == 503
    assert "airlockd" in body
    assert console.browser("olga").open("")[0] == 200


def test_the_vendored_script_is_the_noted_one() -> None:
    import hashlib

    digest = hashlib.sha256((HERE / "static" / "htmx.min.js").read_bytes()).hexdigest()
    assert digest in (HERE / "static" / "NOTICE.md").read_text("utf-8")
