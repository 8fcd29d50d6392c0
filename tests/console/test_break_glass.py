"""The break-glass desk over a real vault: forms without scripts, its refusals, alarms until each has seen them."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = [pytest.mark.row("S13.5"), pytest.mark.row("S8.4")]

SUBJECTS = tuple(f"P-{number:015d}" for number in range(60))
ORIGINAL = "Zanaryquist"
FORM = {"dataset": "demo-ct", "subjects": " ".join(SUBJECTS[:2]), "reason": "An incidental finding must be told.",
        "ticket": "IRB-17"}  # fmt: skip
DESK = "break-glass"


def asked(desk: Any, *, person: str = "hana", **changes: str) -> tuple[int, str]:
    """The answer to the form, and the id of the newest request."""
    browser = desk.browser(person)
    status, _, _ = browser.send(DESK, f"{DESK}/request", **{**FORM, **changes})
    found = re.findall(r'aria-label="Request ([0-9a-f]{32})"', browser.open(DESK)[2])
    return status, found[0] if found else ""


def sent(desk: Any, path: str, *, person: str, **form: str) -> tuple[int, str]:
    """A form sent by somebody to whom no page offers it."""
    browser = desk.browser(person)
    found = re.search(r'X-Xsrftoken": "([^"]+)"', browser.open("")[2])
    assert found
    status, _, body = browser.open(path, form={"_xsrf": found.group(1), **form})
    return status, body


def decided(desk: Any, request: str, *, person: str, decision: str = "approve", reason: str = "") -> tuple[int, str]:
    browser = desk.browser(person)
    status, _, body = browser.send(DESK, f"{DESK}/{request}/decide", decision=decision, reason=reason)
    return status, body.decode()


def test_one_asks_two_others_agree_and_the_page_never_shows_an_original(desk: Any) -> None:
    status, request = asked(desk)
    assert status == 303
    page = desk.browser("stella").open(DESK)[2]
    assert "An incidental finding must be told." in page
    assert "0 of 2" in page
    assert decided(desk, request, person="stella")[0] == 303
    assert "1 of 2" in desk.browser("otto").open(DESK)[2]
    assert decided(desk, request, person="otto")[0] == 303
    own = desk.browser("hana").open(DESK)[2]
    assert f"enclave reidentify show {request}" in own
    other = desk.browser("stella").open(DESK)[2]
    assert "Open until" in other
    assert "reidentify show" not in other
    assert ORIGINAL not in own + other


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subjects": " ".join(SUBJECTS[:51])}, "50"),
        ({"subjects": " "}, "50"),
        ({"subjects": "P-UNKNOWN"}, "pseudonyms of this dataset"),
        ({"reason": "short"}, "10 to 2000"),
        ({"ticket": "no ticket"}, "ticket"),
        ({"subjects": "x" * 9000}, "8192"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_words_and_not_kept(desk: Any, changes: Any, words: str) -> None:
    browser = desk.browser("hana")
    status, _, body = browser.send(DESK, f"{DESK}/request", **{**FORM, **changes})
    assert status in (400, 404)
    assert words in body.decode()
    assert "No request waits." in browser.open(DESK)[2]


def test_neither_the_requester_nor_the_same_approver_twice_nor_another_role_opens_it(desk: Any) -> None:
    _, request = asked(desk)
    assert 'value="approve"' not in desk.browser("hana").open(DESK)[2]
    status, body = sent(desk, f"{DESK}/{request}/decide", person="hana", decision="approve")
    assert (status, "other than who requested it" in body) == (403, True)
    assert decided(desk, request, person="otto")[0] == 303
    again, words = sent(desk, f"{DESK}/{request}/decide", person="otto", decision="approve")
    assert (again, "two different approvers" in words) == (403, True)
    for person in ("rosa", "olga", "ada"):
        assert 'value="approve"' not in desk.browser(person).open(DESK)[2]
        assert sent(desk, f"{DESK}/{request}/decide", person=person, decision="approve")[0] == 403
    assert "1 of 2" in desk.browser("stella").open(DESK)[2]


def test_one_refusal_with_a_reason_ends_it(desk: Any) -> None:
    _, request = asked(desk)
    assert decided(desk, request, person="otto")[0] == 303
    assert decided(desk, request, person="stella", decision="refuse", reason="no")[0] == 400
    assert decided(desk, request, person="stella", decision="")[0] == 400
    assert decided(desk, request, person="stella", decision="refuse", reason="The family was told already.")[0] == 303
    assert "Refused by stella: The family was told already." in desk.browser("ada").open(DESK)[2]
    assert "No request waits." in desk.browser("otto").open(DESK)[2]
    assert sent(desk, f"{DESK}/{request}/decide", person="stella", decision="approve")[0] == 409


def test_an_alarm_stands_on_every_page_of_each_auditor_and_steward_until_that_person_has_seen_it(desk: Any) -> None:
    asked(desk)
    for person in ("ada", "stella"):
        assert 'role="alert"' in desk.browser(person).open("datasets")[2]
    for person in ("hana", "olga", "rosa", "otto"):
        assert "alarm waits" not in desk.browser(person).open("datasets")[2]
    browser = desk.browser("ada")
    (alarm,) = re.findall(r"alarms/([0-9a-f]{32})/acknowledge", browser.open(DESK)[2])
    assert browser.send(DESK, f"{DESK}/alarms/{alarm}/acknowledge")[0] == 303
    assert "alarm waits" not in browser.open("datasets")[2]
    assert "1 break-glass alarm waits for you." in desk.browser("stella").open("datasets")[2]
    told = desk.airlock.auditd.events(kind="reidentify.acknowledge")
    assert [(event["actor"], event["outcome"]) for event in told] == [("ada", "intent"), ("ada", "ok")]


def test_a_refused_attempt_is_one_alarm_with_a_count_that_comes_back_when_tried_again(desk: Any) -> None:
    _, request = asked(desk)
    auditor = desk.browser("ada")
    for _ in range(3):
        decided(desk, request, person="hana")
    page = auditor.open(DESK)[2]
    assert "hana, 3 times" in page
    for alarm in re.findall(r"alarms/([0-9a-f]{32})/acknowledge", page):
        auditor.send(DESK, f"{DESK}/alarms/{alarm}/acknowledge")
    assert "alarm waits" not in auditor.open("datasets")[2]
    decided(desk, request, person="hana")
    assert "hana, 4 times" in auditor.open(DESK)[2]


@pytest.mark.parametrize("person", ["rosa", "olga"])
def test_who_has_no_part_in_it_sees_neither_desk_nor_alarms(desk: Any, person: str) -> None:
    asked(desk)
    status, _, body = desk.browser(person).open(DESK)
    assert status == 403
    assert "An incidental finding" not in body
    assert "Break-glass" not in desk.browser(person).open("")[2].split("</nav>")[0]


def test_nobody_but_auditors_and_stewards_acknowledges(desk: Any) -> None:
    asked(desk)
    (alarm,) = re.findall(r"alarms/([0-9a-f]{32})/acknowledge", desk.browser("ada").open(DESK)[2])
    browser = desk.browser("hana")
    assert browser.send(DESK, f"{DESK}/alarms/{alarm}/acknowledge")[0] == 403
    assert desk.airlock.auditd.events(kind="reidentify.acknowledge")[0]["outcome"] == "refused"


def test_every_form_works_without_a_script(desk: Any) -> None:
    asked(desk)
    page = desk.browser("stella").open(DESK)[2].partition("</header>")[2]
    assert "hx-" not in page
    for control in re.findall(r"<(?:input|textarea) [^>]*id=\"([^\"]+)\"", page):
        assert f'for="{control}"' in page


def test_a_vault_that_is_away_is_said_to_those_who_must_see_alarms(console: Any) -> None:
    assert "break-glass alarms cannot be shown" in console.browser("ada").open("datasets")[2]
    assert "break-glass alarms cannot be shown" not in console.browser("rosa").open("datasets")[2]
