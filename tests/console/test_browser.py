"""The console in a real browser: under its strict policy everything a person needs still works, by keyboard too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from chromium import opened_browser
from playwright.sync_api import Page, expect

from enclave.wire.messages.registry import ReviewVersion


@pytest.fixture
def open_as(console: Any) -> Iterator[Any]:
    """A page signed in as a person; what the browser complains about is collected in ``open_as.complaints``."""
    with opened_browser() as browser:

        def page_for(person: str) -> Page:
            cookies = console.browser(person).cookies
            context = browser.new_context(base_url=f"http://127.0.0.1:{console.port}/services/console/")
            kept = {name: value for name, value in cookies.items() if name == "service-console"}
            context.add_cookies(
                [{"name": n, "value": v, "domain": "127.0.0.1", "path": "/services/console/"} for n, v in kept.items()]
            )
            page = context.new_page()
            page.on("console", lambda m: page_for.complaints.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: page_for.complaints.append(str(error)))
            return page

        page_for.complaints = []
        yield page_for


@pytest.mark.slow
def test_a_checker_looks_and_votes_and_the_author_downloads(console: Any, open_as: Any) -> None:
    request = console.airlock.submit({"figure one.png": console.picture, "note.txt": b"mean 4.5\n"}).id
    for person in ("olga", "omar"):
        page = open_as(person)
        page.goto("egress")
        page.get_by_role("link", name="Figure").click()
        page.get_by_role("button", name="Look at figure one.png").click()
        picture = page.get_by_alt_text("Marked preview of figure one.png")
        expect(picture).to_be_visible()
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 0
        page.get_by_role("button", name="Look at note.txt").click()
        expect(page.get_by_text("mean 4.5")).to_be_visible()
        page.get_by_label("Approve").check()
        page.get_by_label("Reason").fill("a plain chart")
        page.get_by_role("button", name="Cast the vote").click()
        expect(page.get_by_role("status")).to_have_text("Your vote is recorded.")
    author = open_as("rosa")
    author.goto(f"egress/{request}")
    with author.expect_download() as download:
        author.get_by_role("button", name="Download the package").click()
    assert download.value.suggested_filename == f"egress-{request[:12]}.zip"
    author.get_by_role("button", name="Download the package").click()
    expect(author.get_by_role("alert")).to_contain_text("single-use")
    assert [text for text in open_as.complaints if "403" not in text] == []


@pytest.mark.slow
def test_the_vote_can_be_cast_with_the_keyboard_alone(console: Any, open_as: Any) -> None:
    request = console.airlock.submit().id
    page = open_as("olga")
    page.goto(f"egress/{request}")
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()")
        seen.append(focused)
        if focused == "vote":
            page.keyboard.press("Space")
        if focused == "reason":
            page.keyboard.type("fine")
        if focused == "Cast the vote":
            page.keyboard.press("Enter")
            break
    assert seen[0] == "Skip to the content"
    expect(page.get_by_role("status")).to_have_text("Your vote is recorded.")
    assert [vote["vote"] for vote in console.airlock.show("olga", request).votes] == ["approve"]


def tab_to(page: Page, *, name: str, most: int = 60) -> None:
    """Presses Tab until the control of this name or text has the focus, which must show."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "[document.activeElement.name, document.activeElement.textContent.trim(),"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        if name in focused[:2]:
            assert focused[2] != "none"
            return
    raise AssertionError(f"no {name} within {most} steps")


@pytest.mark.slow
def test_a_sample_is_looked_at_and_judged_with_the_keyboard_alone(intake_desk: Any, open_as: Any) -> None:
    page = open_as("hana")
    page.goto("intake")
    tab_to(page, name="Look at the first item that waits")
    page.keyboard.press("Enter")
    picture = page.get_by_alt_text("De-identified image of the sample")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") == 8
    tab_to(page, name="It is clean: nothing says who it is")
    page.keyboard.press("Enter")
    expect(page.get_by_label("De-identified text of the sample")).to_have_text("No change since the last look.")
    tab_to(page, name="reason")
    page.keyboard.type("A date of birth.")
    tab_to(page, name="It is not clean")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("No item of this sample waits.")
    told = intake_desk.airlock.auditd.events(kind="intake.review")
    assert [event["detail"]["clean"] for event in told] == [True, False]
    assert open_as.complaints == []


@pytest.mark.slow
def test_break_glass_is_asked_for_approved_and_its_alarm_acknowledged_with_the_keyboard_alone(
    desk: Any, open_as: Any
) -> None:
    page = open_as("hana")
    page.goto("break-glass")
    for name, text in (
        ("dataset", "demo-ct"),
        ("subjects", "P-000000000000000"),
        ("reason", "An incidental finding must be told."),
        ("ticket", "IRB-17"),
    ):
        tab_to(page, name=name)
        page.keyboard.type(text)
    tab_to(page, name="Ask; this raises an alarm")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The request is recorded")
    approver = open_as("otto")
    approver.goto("break-glass")
    tab_to(approver, name="Approve")
    approver.keyboard.press("Enter")
    expect(approver.get_by_role("status")).to_have_text("The decision is recorded.")
    expect(approver.get_by_text("(1 of 2)")).to_be_visible()
    auditor = open_as("ada")
    auditor.goto("break-glass")
    tab_to(auditor, name="I have seen this alarm")
    auditor.keyboard.press("Enter")
    expect(auditor.get_by_role("status")).to_contain_text("You have acknowledged the alarm.")
    acts = {event["kind"] for event in desk.airlock.auditd.events(outcome="ok")}
    assert {"reidentify.request", "reidentify.approve", "reidentify.acknowledge"} <= acts
    assert open_as.complaints == []


@pytest.mark.slow
def test_the_sample_of_a_version_gets_its_yes_with_the_keyboard_alone(console: Any, open_as: Any) -> None:
    page = open_as("hana")
    page.goto("releases")
    card = page.get_by_label("Review sample of demo-ct@1")
    expect(card).to_be_visible()
    card.get_by_role("textbox").focus()
    page.keyboard.type("All seven looked at.")
    tab_to(page, name="Yes, nothing in it says who somebody is")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("What you said of the sample is recorded.")
    (said,) = [message for message in console.registry.asked if isinstance(message, ReviewVersion)]
    assert (said.clean, said.reason) == (True, "All seven looked at.")
