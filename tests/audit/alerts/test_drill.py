"""A drill: every rule fires for what is played, receivers get it, and nothing real changes."""

from __future__ import annotations

import json

import pytest

from enclave.audit.alerts.metrics import fetch
from enclave.audit.alerts.rules import known_rules
from enclave.audit.views import VIEW_NAMES
from enclave.core.errors import DeniedError, NotFoundError
from enclave.policy.model import Actor
from enclave.wire.client import WireClient
from enclave.wire.messages import watch as m
from enclave.wire.messages.audit import Query


def played(watchd, *, token="otto-token", rules=()):
    """A drill that ran to its end."""
    drill = watchd.ask(m.RunDrill(token=token, rules=rules))

    def done():
        found = watchd.ask(m.ShowDrill(token=token, id=drill.id))
        return found if found.complete and all(rule.channels for rule in found.rules) else None

    return watchd.wait_for(done, seconds=60)


@pytest.mark.row("S10.8")
def test_a_drill_of_all_rules_fires_all_of_them_and_tells_when_and_where(auditd, watchd):
    found = played(watchd)
    assert {rule.rule for rule in found.rules} == set(known_rules())
    for rule in found.rules:
        assert rule.fired, rule.rule
        assert [channel.channel for channel in rule.channels] == ["file"]
        assert 0 < rule.after_s <= rule.channels[0].after_s
    assert found.by == "otto"
    lines = (auditd.home.state("watch") / "alerts.jsonl").read_text().splitlines()
    assert {json.loads(line)["metadata"]["labels"][0] for line in lines} == {"drill"}
    assert [e["detail"]["drill"] for e in auditd.events(kind="drill.run", outcome="ok")] == [found.id]


def test_a_drill_plays_the_rules_that_were_named_and_can_be_played_again(watchd):
    for _ in range(4):
        found = played(watchd, rules=("new_address", "ledger_damage"))
        assert [rule.rule for rule in found.rules] == ["new_address", "ledger_damage"]


def test_no_view_and_no_count_of_real_alerts_shows_a_drill(auditd, watchd):
    views = [view for view in VIEW_NAMES if view != "events"]
    auditd.people["ada-token"] = Actor("ada", frozenset({"auditor"}))
    client = WireClient(auditd.home.socket("auditd"))

    def counts():
        found = []
        for view in views:
            found += client.call(Query(token="ada-token", sql=f"SELECT count(*) FROM {view}")).rows[0]
        return found

    before = counts()
    played(watchd)
    assert counts() == before
    client.close()
    assert sum(watchd.ask(m.AskWatchState()).open_alerts.values()) == 0
    text = fetch(auditd.home.socket("metrics"))
    assert "enclave_alerts{" not in text
    assert 'enclave_drill_alerts{rule="bulk_read"} 1.0' in text
    assert watchd.alerts(drills=False) == ()


def test_a_drill_neither_hides_nor_makes_a_real_alert(auditd, watchd):
    played(watchd, rules=("admin_without_ticket", "clock_skew"))
    auditd.client.record("project.member_add", actor="stella", role="data_steward", project="demo")
    watchd.wait_for(lambda: watchd.alerts(rule="admin_without_ticket", drills=False))
    assert {a.subject for a in watchd.alerts(drills=False)} == {"stella"}


@pytest.mark.parametrize("token", ["rosa-token", "stella-token", "made-up"])
def test_who_may_not_drill_is_refused_and_plants_nothing(auditd, watchd, token):
    for message in (m.RunDrill(token=token), m.ShowDrill(token=token)):
        with pytest.raises(DeniedError):
            watchd.ask(message)
    assert len(auditd.events(kind="drill.run", outcome="refused")) == 2
    assert auditd.events(kind="audit.drill") == []


def test_an_unknown_rule_or_drill_is_told(watchd):
    with pytest.raises(NotFoundError):
        watchd.ask(m.RunDrill(token="otto-token", rules=("no_rule",)))
    with pytest.raises(NotFoundError):
        watchd.ask(m.ShowDrill(token="otto-token"))
