"""Refusals and alarms of break-glass over the wire: who may, who may not, and that a restart forgets neither."""

from __future__ import annotations

from typing import Any

import pytest

from enclave.core.errors import ConflictError, DeniedError, EnclaveError, NotFoundError
from enclave.wire.messages import vault as m

pytestmark = [pytest.mark.row("S13.5"), pytest.mark.row("S8.4")]
WHY = "The family was told already."


def refuse(stand: Any, request: m.BreakGlass, *, by: str, reason: str = WHY) -> m.BreakGlass:
    found: m.BreakGlass = stand.ask(m.RefuseBreakGlass(token=f"t-{by}", id=request.id, reason=reason))
    return found


def alarms(stand: Any, *, by: str = "ada") -> tuple[m.Alarm, ...]:
    found: tuple[m.Alarm, ...] = stand.ask(m.ListAlarms(token=f"t-{by}")).alarms
    return found


def test_one_refusal_ends_a_request_for_good(stand: Any) -> None:
    made = stand.request()
    stand.approve(made, by="hana")
    ended = refuse(stand, made, by="otto")
    assert (ended.state, ended.refused_by, ended.refusal) == ("refused", "otto", WHY)
    stand.stop()
    stand.start()
    for act in (lambda: stand.approve(made, by="stefan"), lambda: refuse(stand, made, by="stefan"),
                lambda: stand.show(made)):  # fmt: skip
        with pytest.raises(ConflictError):
            act()
    assert WHY not in str(stand.auditd.events())


@pytest.mark.parametrize(
    ("name", "code"),
    [("stella", "requester_decides"), ("rosa", "role"), ("edgar", "role"), ("olga", "role"), ("ada", "role")],
)
def test_only_who_might_approve_may_refuse_and_each_attempt_is_an_event_and_an_alarm(
    stand: Any, name: str, code: str
) -> None:
    made = stand.request(by="stella")
    with pytest.raises(DeniedError) as caught:
        refuse(stand, made, by=name)
    assert caught.value.code == code
    (event,) = stand.auditd.events(kind="reidentify.refuse")
    assert (event["actor"], event["outcome"], event["reason"]) == (name, "refused", code)
    newest = {(alarm.stage, alarm.actor, alarm.reason) for alarm in alarms(stand)}
    assert ("refused", name, code) in newest
    assert stand.all()[0].state == "requested"


def test_a_member_of_a_project_of_the_dataset_refuses_nothing(stand: Any) -> None:
    made = stand.request()
    stand.registry.members["second"].add("hana")
    with pytest.raises(DeniedError) as caught:
        refuse(stand, made, by="hana")
    assert caught.value.code == "own_project"


@pytest.mark.parametrize("name", ["rosa", "edgar", "hana", "olga", "otto"])
def test_only_auditors_and_stewards_see_and_acknowledge_alarms(stand: Any, name: str) -> None:
    stand.request()
    (alarm,) = alarms(stand)
    for message in (m.ListAlarms(token=f"t-{name}"), m.AcknowledgeAlarm(token=f"t-{name}", id=alarm.id)):
        with pytest.raises(DeniedError):
            stand.ask(message)
    assert [e["actor"] for e in stand.auditd.events(kind="reidentify.acknowledge", outcome="refused")] == [name]
    assert alarms(stand) == (alarm,)


def test_an_alarm_waits_for_each_one_over_a_restart_and_holds_no_original(stand: Any) -> None:
    made = stand.opened()
    stand.show(made)
    found = alarms(stand)
    assert {alarm.stage for alarm in found} == {"shown", "opened", "requested"}
    assert all((alarm.request, alarm.subjects, alarm.ticket) == (made.id, 2, "IRB-17") for alarm in found)
    stand.ask(m.AcknowledgeAlarm(token="t-ada", id=found[0].id))
    stand.stop()
    stand.start()
    assert alarms(stand) == found[1:]
    assert alarms(stand, by="stefan") == found
    assert "Zanaryquist" not in str(found)


def test_an_unknown_alarm_is_not_found_and_a_changed_file_is_noticed(stand: Any) -> None:
    with pytest.raises(NotFoundError):
        stand.ask(m.AcknowledgeAlarm(token="t-ada", id="0" * 32))
    stand.request()
    (path,) = (stand.auditd.home.state("vault") / "alarms").glob("*.alarm")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(EnclaveError) as caught:
        alarms(stand)
    assert caught.value.family == "integrity"
