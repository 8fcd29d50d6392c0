"""The intake desk over a real intake: a sample is looked at and judged item by item, by who may, each look an event."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from review_batch import ID, PICTURE, TEXT, WORDS

from enclave.wire.client import call_once
from enclave.wire.messages.intake import ShowBatch

pytestmark = pytest.mark.row("S13.6")

DESK = "intake"


def links(page: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]+/item[?][^"]+)"', page)]


def judge(intake_desk: Any, browser: Any, link: str, **form: str) -> tuple[int, Any, str]:
    _, _, page = browser.open(link)
    item = html.unescape(re.search(r'name="item" value="([^"]+)"', page).group(1))
    fields = {"_xsrf": browser.token_of(page), "item": item, **form}
    return browser.open(f"{DESK}/{ID}/judge", form=fields)


def sent(intake_desk: Any, person: str, **form: str) -> int:
    """The form sent by somebody to whom no page offers it."""
    browser = intake_desk.browser(person)
    token = re.search(r'X-Xsrftoken": "([^"]+)"', browser.open("")[2]).group(1)
    status: int = browser.open(f"{DESK}/{ID}/judge", form={"_xsrf": token, **form})[0]
    return status


def told(intake_desk: Any, kind: str) -> list[tuple[str, str, str | None]]:
    events = intake_desk.airlock.auditd.events(kind=kind)
    return [(event["actor"], event["outcome"], event.get("reason")) for event in events]


def test_a_reviewer_sees_an_item_says_yes_and_is_led_to_the_next_until_none_waits(intake_desk: Any) -> None:
    browser = intake_desk.browser("hana")
    page = browser.open(DESK)[2]
    assert "2 items, 2 not judged yet" in page
    first, *_ = links(page)
    assert told(intake_desk, "intake.look") == []
    status, headers, shown = browser.open(first)
    assert status == 200
    assert 'src="data:image/png;base64,' in shown
    assert "img-src 'self' data:;" in headers["Content-Security-Policy"]
    assert told(intake_desk, "intake.look") == [("hana", "ok", None)]
    status, headers, _ = judge(intake_desk, browser, first, verdict="clean")
    assert (status, f"item={TEXT.split('/')[0]}" in headers["Location"]) == (303, True)
    _, _, text = browser.open(headers["Location"])
    assert WORDS in text
    assert "This is the next one." in text
    status, headers, _ = judge(intake_desk, browser, headers["Location"], verdict="unclean", reason="A date of birth.")
    assert (status, headers["Location"].endswith("intake?done=sample_done")) == (303, True)
    page = browser.open(DESK)[2]
    assert "2 items, 0 not judged yet" in page
    assert "A date of birth." in page
    assert links(page) == []
    assert told(intake_desk, "intake.review") == [("hana", "ok", None)] * 2
    assert WORDS not in str(intake_desk.airlock.auditd.events())
    noted = intake_desk.registry.asked[-1]
    assert (noted.waiting, noted.unclean) == (0, 1)


def test_a_no_without_a_reason_and_a_word_that_is_neither_decide_nothing(intake_desk: Any) -> None:
    browser = intake_desk.browser("hana")
    first, *_ = links(browser.open(DESK)[2])
    for form in ({"verdict": "unclean"}, {"verdict": "unclean", "reason": "  "}, {"verdict": "fine"}, {}):
        status, _, body = judge(intake_desk, browser, first, **form)
        assert status == 400
        assert "review" in body
    assert "2 not judged yet" in browser.open(DESK)[2]
    assert told(intake_desk, "intake.review") == [("hana", "refused", "reason_missing")] * 2


def test_who_handed_the_batch_in_sees_where_it_stands_and_judges_nothing(intake_desk: Any) -> None:
    browser = intake_desk.browser("stella")
    page = browser.open(DESK)[2]
    assert links(page) == []
    assert "You handed it in: somebody else judges the sample." in page
    assert browser.open(f"{DESK}/{ID}/item?item={PICTURE}")[0] == 403
    assert sent(intake_desk, "stella", item=PICTURE, verdict="clean") == 403
    assert told(intake_desk, "intake.look") == [("stella", "refused", "reviews_own_batch")]
    assert told(intake_desk, "intake.review") == [("stella", "refused", "reviews_own_batch")]


@pytest.mark.row("S13.4")
def test_an_expert_is_offered_and_shown_no_item_but_heads(intake_desk: Any) -> None:
    intake_desk.roles["edgar"] = {"expert"}
    browser = intake_desk.browser("edgar")
    status, _, page = browser.open(DESK)
    assert (status, links(page)) == (200, [])
    assert browser.open(f"{DESK}/{ID}/item?item={TEXT}")[0] == 403
    assert told(intake_desk, "intake.look") == [("edgar", "refused", "role")]


@pytest.mark.parametrize("person", ["rosa", "olga", "ada"])
def test_who_has_no_part_in_it_sees_neither_desk_nor_item(intake_desk: Any, person: str) -> None:
    browser = intake_desk.browser(person)
    assert ">Intake</a>" not in browser.open("")[2]
    assert browser.open(DESK)[0] == 403
    status, _, body = browser.open(f"{DESK}/{ID}/item?item={TEXT}")
    assert status == 403
    assert WORDS not in body
    assert sent(intake_desk, person, item=PICTURE, verdict="clean") == 403
    assert told(intake_desk, "intake.list") == [(person, "refused", "role")]
    assert told(intake_desk, "intake.look") == told(intake_desk, "intake.review") == [(person, "refused", "role")]


def test_what_is_not_there_or_judged_already_is_refused_in_words_and_told(intake_desk: Any) -> None:
    browser = intake_desk.browser("hana")
    first, *_ = links(browser.open(DESK)[2])
    judge(intake_desk, browser, first, verdict="clean", reason="Nothing.")
    assert browser.open(first)[0] == 403
    assert sent(intake_desk, "hana", item=PICTURE, verdict="clean") == 403
    assert browser.open(f"{DESK}/{'0' * 32}/item?item={PICTURE}")[0] == 404
    assert browser.open(f"{DESK}/{ID}/item?item={'x' * 500}")[0] == 400
    assert [reason for _, outcome, reason in told(intake_desk, "intake.look") if outcome == "refused"] == [
        "not_in_sample",
        "not_found",
    ]
    kept = call_once(intake_desk.airlock.home.socket("intaked"), ShowBatch(token="token-hana", id=ID))
    assert (kept.review[PICTURE]["by"], kept.review[PICTURE]["reason"]) == ("hana", "Nothing.")


def test_every_form_works_without_a_script_and_every_control_has_a_label(intake_desk: Any) -> None:
    browser = intake_desk.browser("hana")
    first, *_ = links(browser.open(DESK)[2])
    page = browser.open(first)[2].partition("</header>")[2]
    assert "hx-" not in page
    assert "<script" not in page
    for control in re.findall(r"<(?:input|textarea) [^>]*id=\"([^\"]+)\"", page):
        assert f'for="{control}"' in page


def test_grants_are_shown_with_who_asked_who_decided_and_whether_each_opens(console: Any) -> None:
    page = console.browser("stella").open("grants")[2]
    waiting, _, decided = page.partition("<h2>Decided</h2>")
    assert "ruth" in waiting
    assert "no: grant requested" in waiting
    assert "1 Jan 2031" in waiting
    for words in ("rosa", "demo-ct@1", "active", ">yes<", "the certificate ends", "hana", "By the release."):
        assert words in decided


@pytest.mark.row("S12.1")
def test_agreements_are_shown_with_their_provisions_and_how_long_they_hold(console: Any) -> None:
    page = console.browser("hana").open("agreements")[2]
    assert page.index("Waiting for a confirmation") < page.index("Decided")
    for words in ("Example Hospital and Example University", "10 days", "destroyed within 30 days", "S4.1", "cd" * 32):
        assert words in page
    assert "22 days left" in page
    assert "renew it, or the project stops" in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
