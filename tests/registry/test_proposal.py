"""The determination that intake drafts: a proposal like any other, made by a service."""

from __future__ import annotations

from typing import Any

import pytest

from enclave.core.errors import ConflictError, DeniedError
from enclave.wire.messages import registry as m


def test_the_named_expert_finds_intakes_draft_begins_and_signs_it(stand: Any) -> None:
    stand.make_candidate()
    proposed = stand.ask(m.ProposeDetermination(text=stand.text()))
    (found,) = stand.ask(m.ListDeterminations(token="t-edgar", dataset="demo-ct", version=1)).certificates
    assert (found.id, found.state) == (proposed.id, "draft")
    stand.ask(m.BeginAssessment(token="t-edgar", id=found.id))
    assert stand.sign(found).state == "signed"
    (event,) = stand.auditd.events(kind="determination.draft", outcome="ok")
    assert (event["actor"], event["role"]) == ("service:intake", "service")


def test_the_same_draft_twice_is_a_plain_conflict_and_changes_nothing(stand: Any) -> None:
    stand.make_candidate()
    text = stand.text()
    first = stand.ask(m.ProposeDetermination(text=text))
    with pytest.raises(ConflictError) as refused:
        stand.ask(m.ProposeDetermination(text=text))
    assert refused.value.code == refused.value.family  # what intake takes for "is there already"
    assert stand.ask(m.ListDeterminations(token="t-edgar")).certificates == (first,)


def test_a_draft_whose_expert_is_the_steward_is_refused_to_intake_too(stand: Any) -> None:
    stand.make_candidate()
    with pytest.raises(DeniedError) as refused:
        stand.ask(m.ProposeDetermination(text=stand.text(expert="stella")))
    assert refused.value.code == "expert_is_steward"
    assert stand.auditd.events(kind="determination.draft", outcome="refused")[0]["reason"] == "expert_is_steward"
