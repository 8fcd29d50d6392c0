"""The auditors' pages: alerts are taken up and closed, weeks listed, a drill played, a lineage drawn."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from enclave.audit.alerts.rules import known_rules

FILE = "f1" * 32
REQUEST = "11" * 16


def wait_for(look: Any) -> Any:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


@pytest.mark.row("S10.5")
def test_an_auditor_takes_an_alert_up_and_closes_it_with_a_reason(console: Any) -> None:
    auditd = console.airlock.auditd
    auditd.client.record("project.create", actor="stella", project="demo")
    ada = console.browser("ada")
    wait_for(lambda: "without a ticket about stella" in ada.open("audit/alerts")[2])
    page = ada.open("audit/alerts")[2]
    alert = re.search(r"audit/alerts/([0-9a-f]{32})/acknowledge", page).group(1)
    status, headers, _ = ada.send("audit/alerts", f"audit/alerts/{alert}/acknowledge")
    assert (status, headers["Location"].endswith("done=taken_up")) == (303, True)
    assert "taken up" in ada.open("audit/alerts?state=acknowledged")[2]
    fields = {"verdict": "expected", "reason": "Ticket OPS-3, opened late."}
    assert ada.send("audit/alerts", f"audit/alerts/{alert}/resolve", **fields)[0] == 303
    assert alert not in ada.open("audit/alerts")[2]
    closed = ada.open("audit/alerts?state=resolved&rule=admin_without_ticket")[2]
    assert "announced or allowed" in closed
    assert "Ticket OPS-3" not in closed
    assert [e["actor"] for e in auditd.events(kind="alert.resolve", outcome="ok")] == ["ada"]


@pytest.mark.parametrize("person", ["rosa", "olga", "hana", "stella", "otto"])
def test_others_see_no_alert_no_review_and_no_lineage_and_the_refusal_is_an_event(console: Any, person: str) -> None:
    browser = console.browser(person)
    for page, kind in (
        ("audit/alerts", "alert.list"),
        ("audit/reviews", "review.list"),
        (f"audit/lineage?of={FILE}", "audit.query"),
    ):
        assert browser.open(page)[0] == 403
        refused = console.airlock.auditd.events(kind=kind, outcome="refused", actor=person)
        assert len(refused) == 1, kind


def test_a_form_without_its_token_changes_nothing(console: Any) -> None:
    ada = console.browser("ada")
    for path in (f"audit/alerts/{'ab' * 16}/acknowledge", "audit/reviews/sign", "audit/drills/run"):
        assert ada.open(path, form={"period": "2026-W01", "note": "x"})[0] == 403
    assert console.airlock.auditd.events(kind="drill.run") == []


@pytest.mark.row("S10.8")
def test_an_operator_plays_a_drill_and_sees_what_fired(console: Any) -> None:
    otto = console.browser("otto")
    assert "No drill was played yet" in otto.open("audit/drills")[2]
    assert otto.send("audit/drills", "audit/drills/run")[0] == 303
    page = wait_for(lambda: (text := otto.open("audit/drills")[2]).count("<td>yes</td>") == len(known_rules()) and text)
    assert "canary_touched" in page
    assert "file after" in page


def test_a_week_that_still_runs_is_not_offered_and_a_wrong_one_is_told(console: Any) -> None:
    ada = console.browser("ada")
    assert "No week is over yet" in ada.open("audit/reviews")[2]
    status, _, body = ada.open("audit/reviews?period=soon")
    assert status == 400
    assert "ISO week" in body


@pytest.mark.row("S10.2")
def test_the_lineage_page_draws_what_led_to_a_file_and_tells_the_same_in_tables(console: Any) -> None:
    told = {"actor": "rosa", "project": "demo", "kernel": "ab" * 16, "cell": "cd" * 16}
    detail = {"request": REQUEST, "sha256": [FILE], "round": 1}
    console.airlock.auditd.client.record(
        "egress.submit", **told, detail=detail, bodies={"purpose": "<b>A talk</b>", "title": "T"}
    )
    ada = console.browser("ada")
    page = ada.open(f"audit/lineage?of={FILE}")[2]
    assert '<svg class="lineage"' in page
    assert "&lt;b&gt;A talk" in page
    assert "<b>A talk" not in page
    links = set(re.findall(r'<a href="#([^"]+)"', page)) - {"content"}
    assert links
    assert links <= set(re.findall(r'<tr id="([^"]+)"', page))
    assert "style=" not in page
    for wrong, words in (("nonsense", "NAME@V"), ("00" * 32, "got nothing")):
        assert words in ada.open(f"audit/lineage?of={wrong}")[2]
