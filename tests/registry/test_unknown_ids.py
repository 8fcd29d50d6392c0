"""Who asks for something by an id or name that is not there is refused, and the refusal is in the ledger once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from enclave.core.errors import EnclaveError, InvalidError, NotFoundError
from enclave.wire.messages import grants as gm
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m

pytestmark = pytest.mark.row("S10.1")

ID = "0" * 32
MARK = "Zanaryquist"
VALUES = {
    "token": "t-hana", "id": ID, "name": "nowhere", "dataset": "nowhere", "version": 7, "project": "nowhere",
    "person": "rosa", "approve": True, "clean": True, "reason": f"{MARK} says so.", "signature": "aaaa",
    "ticket": "CHG-1",
}  # fmt: skip
ASKED = (
    pm.ShowProject, pm.CloseProject, pm.AddMember, pm.RemoveMember, m.BeginAssessment, m.SubmitSignature,
    m.DeclineDetermination, m.RevokeDetermination, m.ShowDetermination, m.ReviewVersion, m.RequestRelease,
    m.DecideRelease, gm.RequestGrant, gm.DecideGrant, gm.RevokeGrant,
)  # fmt: skip


def message(cls: Any, **changes: Any) -> Any:
    wanted = [one for one in dataclasses.fields(cls) if one.name in VALUES or one.default is dataclasses.MISSING]
    return cls(**{one.name: {**VALUES, **changes}[one.name] for one in wanted})


@pytest.mark.parametrize("person", ["stella", "hana", "edgar", "rosa"])
def test_what_is_not_there_is_one_refusal_in_the_ledger_whoever_asks(stand: Any, person: str) -> None:
    wanted = []
    for cls in ASKED:
        with pytest.raises(EnclaveError) as caught:
            stand.ask(message(cls, token=f"t-{person}"))
        wanted.append((person, caught.value.code))
    told = stand.auditd.events(outcome="refused")
    assert [(event["actor"], event["reason"]) for event in told] == wanted
    assert MARK not in str(told)


def test_what_is_no_id_is_a_refusal_too_and_stands_nowhere(stand: Any) -> None:
    by_id = [cls for cls in ASKED if "id" in cls.__slots__]
    assert len(by_id) > 5
    for cls in by_id:
        with pytest.raises(InvalidError):
            stand.ask(message(cls, id=MARK))
    told = stand.auditd.events(outcome="refused")
    assert [event["reason"] for event in told] == ["invalid"] * len(by_id)
    assert MARK not in str(told)


def test_a_broker_is_told_that_it_is_not_there(stand: Any) -> None:
    for cls in (m.DecideRelease, gm.DecideGrant, m.ShowDetermination):
        with pytest.raises(NotFoundError):
            stand.ask(message(cls))
