"""What the launcher hears from the registry about an expert who wants to look at a candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.errors import DeniedError
from enclave.sandbox.kernel_rights import Rights, kernel_rights
from enclave.sandbox.owner import Owner
from enclave.wire.client import WireClient
from enclave.wire.messages import registry as m


def _rights(stand: Any, person: str) -> Rights:
    owner = Owner(id="0" * 32, person=person, front=Path("front"), view="view")
    client = WireClient(stand.auditd.home.socket("registryd"))
    audit = AuditClient(stand.auditd.home.socket("auditd"))
    clock = LedgerClock(stand.clock, audit)  # as that of a launcher which has just begun
    try:
        return kernel_rights(client, owner=owner, project=None, path="look.ipynb", clock=clock)
    finally:
        audit.close()


def _reason(stand: Any, person: str) -> str:
    with pytest.raises(DeniedError) as refused:
        _rights(stand, person)
    return refused.value.code


def test_an_expert_may_start_a_kernel_from_the_assessments_begin_to_its_end(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    draft = stand.draft()
    assert _reason(stand, "edgar") == "not_a_member"
    stand.ask(m.BeginAssessment(token="t-edgar", id=draft.id))
    assert _rights(stand, "edgar") == Rights("", "expert")
    assert _rights(stand, "rosa") == Rights("demo", "researcher")
    assert _reason(stand, "stella") == "not_a_member"
    stand.sign(draft)
    assert _reason(stand, "edgar") == "not_a_member"


def test_an_expert_does_not_engage_themself_by_a_draft_of_their_own(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    own = stand.ask(m.DraftDetermination(token="t-edgar", text=stand.text()))
    with pytest.raises(DeniedError) as refused:
        stand.ask(m.BeginAssessment(token="t-edgar", id=own.id))
    assert refused.value.code == "self_engaged"
    assert stand.auditd.events(kind="determination.begin", outcome="refused", reason="self_engaged", actor="edgar")
    assert _reason(stand, "edgar") == "not_a_member"
    signed = stand.sign(own)  # without a look; the steward's signature is still wanted
    assert signed.state == "signed"
    assert _reason(stand, "edgar") == "not_a_member"


def test_an_assessment_that_takes_too_long_ends_the_right(stand: Any) -> None:
    stand.make_candidate()
    stand.ask(m.BeginAssessment(token="t-edgar", id=stand.draft().id))
    stand.clock.pass_(days=31)
    assert _reason(stand, "edgar") == "engagement_over"


@pytest.mark.row("S10.4")
def test_a_right_that_ended_is_not_there_again_when_the_clock_is_set_back(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    stand.ask(m.BeginAssessment(token="t-edgar", id=stand.draft().id))
    stand.clock.pass_(days=31)
    stand.auditd.client.record("audit.rebuild", actor="service:test")
    for seconds in (1, 2, 3_600, 31 * 86_400):  # small steps, then large ones
        stand.clock.pass_(seconds=-seconds)
        assert _reason(stand, "edgar") == "engagement_over"
    assert _reason(stand, "rosa") == "clock_step"  # whose right has no end
    stand.clock.pass_(days=40)
    assert _rights(stand, "rosa") == Rights("demo", "researcher")
