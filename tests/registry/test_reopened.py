"""A later version of the cohort reopens the assessment; a no after a release ends what rests on it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_layouts import back_to
from statements import EVIDENCE

from enclave.broker.facts import may_open
from enclave.core.errors import ConflictError, DeniedError, InvalidError, UnavailableError
from enclave.determination.completeness import TRIGGERS
from enclave.determination.triggers import fired
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m
from enclave.wire.messages.determination import NoteSoftware, ReaffirmDetermination, WithdrawRelease

pytestmark = pytest.mark.row("S13.7")

SAME = {name: EVIDENCE[name] for name in ("counts", "column_roles", "deidentification")}


def opens(stand: Any, *, version: int = 1) -> str:
    found = stand.facts(version=version)
    return may_open(found, person="rosa", role="researcher", project="demo", at=stand.clock.now()).reason


def later(stand: Any, summary: dict[str, Any]) -> None:
    stand.ask(
        m.RegisterCandidate(
            dataset="demo-ct", version=2, content_root="cd" * 32, summary=summary, steward="stella", review="optional"
        )
    )


def state(stand: Any, certificate: m.Certificate) -> m.Certificate:
    found: m.Certificate = stand.ask(m.ShowDetermination(token="t-ada", id=certificate.id))
    return found


def asked_again(stand: Any) -> m.Release:
    stand.ask(pm.CreateProject(token="t-stella", name="lung", title="Lung", purpose="To show."))
    found: m.Release = stand.ask(m.RequestRelease(token="t-stella", dataset="demo-ct", version=1, project="lung"))
    return found


# ── triggers ────────────────────────────────────────────────────────────────


class Stated:
    """The part of a certificate that triggers look at."""

    def __init__(self, triggers: tuple[str, ...] = TRIGGERS) -> None:
        self.triggers = triggers
        self.counts, self.column_roles = EVIDENCE["counts"], EVIDENCE["column_roles"]
        self.deidentification = EVIDENCE["deidentification"]


CHANGES: dict[str, tuple[str, Any]] = {
    "columns_added": ("column_roles", {"patients": {**EVIDENCE["column_roles"]["patients"], "zip": "plain"}}),
    "rows_changed": ("counts", {**EVIDENCE["counts"], "rows": 41}),
    "software_changed": ("deidentification", {**EVIDENCE["deidentification"], "software_sha256": "56" * 32}),
}


@given(st.sets(st.sampled_from(sorted(CHANGES))), st.sets(st.sampled_from(TRIGGERS)))
def test_exactly_what_changed_fires_and_only_what_the_certificate_names(changed: set[str], named: set[str]) -> None:
    summary = {**SAME, **dict(CHANGES[name] for name in changed)}
    triggers = tuple(name for name in TRIGGERS if name in named)
    assert set(fired(Stated(triggers), summary=summary)) == (changed | {"new_release_of_cohort"}) & named


@pytest.mark.parametrize("summary", [{}, None, {"counts": {}}, {"column_roles": {}, "counts": 3}])
def test_what_a_summary_does_not_tell_counts_as_changed(summary: Any) -> None:
    assert {"rows_changed", "software_changed", "new_release_of_cohort"} <= set(fired(Stated(), summary=summary))


def test_a_column_less_is_no_new_column() -> None:
    summary = {**SAME, "column_roles": {"patients": {"age": "quasi_identifier"}}}
    assert fired(Stated(), summary=summary) == ("new_release_of_cohort",)


def test_a_later_version_reopens_the_assessment_and_what_runs_goes_on(stand: Any) -> None:
    signed = stand.release(recipients=("demo", "lung"))
    later(stand, {**SAME, **dict([CHANGES["rows_changed"]])})
    assert state(stand, signed).reopened == ("new_release_of_cohort", "rows_changed")
    assert state(stand, signed).state == "signed"
    events = stand.auditd.events(kind="determination.reopen")
    assert [event["detail"]["trigger"] for event in events] == ["rows_changed", "new_release_of_cohort"]
    assert {event["actor"] for event in events} == {"service:registry"}
    assert opens(stand) == "ok"
    with pytest.raises(DeniedError) as caught:
        asked_again(stand)
    assert caught.value.code == "certificate_reopened"
    (refused,) = stand.auditd.events(kind="release.request", outcome="refused")
    assert refused["reason"] == "certificate_reopened"


def test_the_expert_may_look_at_the_version_again_and_reaffirms(stand: Any) -> None:
    signed = stand.release(recipients=("demo", "lung"))
    later(stand, SAME)
    (engaged,) = stand.daemon.determinations.engagements("edgar")
    assert (engaged.version, engaged.certificate) == (1, signed.id)
    for token, reason in (("t-rosa", "role"), ("t-hana", "role"), ("t-stella", "role")):
        with pytest.raises(DeniedError) as caught:
            stand.ask(ReaffirmDetermination(token=token, id=signed.id, reason="Fine."))
        assert caught.value.code == reason
    found = stand.ask(ReaffirmDetermination(token="t-edgar", id=signed.id, reason="CANARY-REASON"))
    assert (found.reopened, found.state) == ((), "signed")
    assert stand.daemon.determinations.engagements("edgar") == ()
    assert "CANARY-REASON" not in repr(stand.auditd.events())
    assert asked_again(stand).state == "requested"
    with pytest.raises(ConflictError):
        stand.ask(ReaffirmDetermination(token="t-edgar", id=signed.id, reason="Twice."))


def test_registering_the_same_version_twice_reopens_once(stand: Any) -> None:
    stand.release()
    later(stand, SAME)
    later(stand, SAME)
    assert len(stand.auditd.events(kind="determination.reopen")) == 1


def note(stand: Any, software: str) -> tuple[str, ...]:
    found: tuple[str, ...] = stand.ask(NoteSoftware(software_sha256=software * 32)).reopened
    return found


def test_other_software_reopens_what_was_determined_about_the_work_of_the_old_once(stand: Any) -> None:
    signed = stand.release(recipients=("demo", "lung"))
    assert note(stand, "34") == ()  # what the certificate states
    assert note(stand, "56") == (signed.id,)
    assert state(stand, signed).reopened == ("software_changed",)
    (event,) = stand.auditd.events(kind="determination.reopen")
    assert event["detail"] == {
        "certificate": signed.id,
        "trigger": "software_changed",
        "by_version": 0,
        "software_sha256": "56" * 32,
    }
    assert opens(stand) == "ok"
    with pytest.raises(DeniedError) as caught:
        asked_again(stand)
    assert caught.value.code == "certificate_reopened"
    assert note(stand, "56") == ()
    stand.ask(ReaffirmDetermination(token="t-edgar", id=signed.id, reason="The change is of words only."))
    assert note(stand, "56") == ()  # the expert spoke about this software
    assert note(stand, "78") == (signed.id,)
    assert len(stand.auditd.events(kind="determination.reopen")) == 2


def test_software_that_comes_with_a_new_version_is_not_asked_about_twice(stand: Any) -> None:
    signed = stand.release()
    later(stand, {**SAME, **dict([CHANGES["software_changed"]])})
    assert state(stand, signed).reopened == ("new_release_of_cohort", "software_changed")
    note(stand, "56")
    stand.ask(ReaffirmDetermination(token="t-edgar", id=signed.id, reason="Looked at both."))
    assert note(stand, "56") == ()
    assert state(stand, signed).reopened == ()


def test_a_registry_of_before_knows_no_software_that_was_looked_at(stand: Any) -> None:
    signed = stand.release()
    later(stand, {**SAME, **dict([CHANGES["software_changed"]])})
    stand.stop()
    back_to(stand.auditd.home.state("registry") / "state.db", 6).close()
    stand.start()
    assert state(stand, signed).reopened == ("new_release_of_cohort", "software_changed")
    assert note(stand, "34") == ()


def test_only_a_hash_is_software_and_without_a_ledger_nothing_is_reopened(stand: Any) -> None:
    signed = stand.release()
    with pytest.raises(InvalidError):
        stand.ask(NoteSoftware(software_sha256="new"))
    stand.auditd.stop()
    with pytest.raises(UnavailableError):
        note(stand, "56")
    assert stand.daemon.determinations.get(signed.id).reopened == ()


# ── a no after a release ────────────────────────────────────────────────────


def released(stand: Any, **review: Any) -> m.Release:
    stand.make_project()
    stand.make_candidate(**review)
    stand.determine()
    found: m.Release = stand.decide(stand.request())
    return found


@pytest.mark.row("S13.6")
@pytest.mark.parametrize("how", ["verdict", "item"])
def test_a_no_to_the_sample_after_the_release_ends_its_leases(stand: Any, how: str) -> None:
    released(stand, sample=3)
    assert opens(stand) == "ok"
    if how == "verdict":
        stand.ask(
            m.ReviewVersion(token="t-hana", dataset="demo-ct", version=1, clean=False, reason="A name in a corner.")
        )
    else:
        stand.ask(m.NoteSample(dataset="demo-ct", version=1, waiting=0, unclean=1))
    assert opens(stand) == "version_not_usable"
    (release,) = stand.ask(m.ListReleases(token="t-ada")).releases
    assert release.state == "withdrawn"
    events = stand.auditd.events(kind="release.withdraw")
    actor = "hana" if how == "verdict" else "service:intake"
    assert [(e["outcome"], e["actor"], e["project"]) for e in events] == [
        ("intent", actor, "demo"),
        ("ok", actor, "demo"),
    ]
    assert {(e["dataset"], e["version"], e["detail"]["release"]) for e in events} == {("demo-ct", 1, release.id)}
    order = [e["kind"] for e in stand.auditd.events() if e["kind"].startswith(("version.", "release.withdraw"))]
    cause = "version.review" if how == "verdict" else "version.sample"
    assert order[-4:] == [cause, "release.withdraw", cause, "release.withdraw"]


@pytest.mark.row("S13.6")
def test_a_no_before_any_release_takes_none_back_and_without_a_ledger_none_is(stand: Any) -> None:
    released(stand, sample=3)
    stand.auditd.stop()
    with pytest.raises(UnavailableError):
        stand.ask(m.NoteSample(dataset="demo-ct", version=1, waiting=0, unclean=1))
    stand.auditd.start()
    assert opens(stand) == "ok"
    stand.make_candidate(version=2, sample=3)
    stand.ask(m.NoteSample(dataset="demo-ct", version=2, waiting=0, unclean=1))
    assert stand.auditd.events(kind="release.withdraw") == []


@pytest.mark.row("S16.1")
@pytest.mark.parametrize("token", ["t-hana", "t-holger", "t-stella"])
def test_a_release_that_is_taken_back_opens_nothing_and_can_be_asked_for_anew(stand: Any, token: str) -> None:
    release = released(stand)
    found = stand.ask(WithdrawRelease(token=token, id=release.id, reason="CANARY-REASON"))
    assert (found.state, opens(stand)) == ("withdrawn", "not_released")
    assert "CANARY-REASON" not in repr(stand.auditd.events())
    with pytest.raises(ConflictError):
        stand.ask(WithdrawRelease(token=token, id=release.id, reason="Twice."))
    assert stand.request().state == "requested"


def test_nobody_else_takes_a_release_back(stand: Any) -> None:
    release = released(stand)
    for name in ("rosa", "edgar", "olga", "ada", "otto"):
        with pytest.raises(DeniedError):
            stand.ask(WithdrawRelease(token=f"t-{name}", id=release.id, reason="No."))
    assert len(stand.auditd.events(kind="release.withdraw", outcome="refused")) == 5
    assert opens(stand) == "ok"


@pytest.mark.parametrize(("reviewer", "broker"), list(itertools.product(("hana", "holger"), repeat=2)))
def test_one_person_says_yes_once_for_one_version(stand: Any, reviewer: str, broker: str) -> None:
    stand.make_project()
    stand.make_candidate(review="required", sample=0)
    stand.determine()
    stand.ask(
        m.ReviewVersion(token=f"t-{reviewer}", dataset="demo-ct", version=1, clean=True, reason="Seen all of it.")
    )
    release = stand.request()
    if reviewer != broker:
        assert stand.decide(release, token=f"t-{broker}").state == "approved"
        return
    with pytest.raises(DeniedError) as caught:
        stand.decide(release, token=f"t-{broker}")
    assert caught.value.code == "yes_twice"
    assert stand.auditd.events(kind="release.decide", outcome="refused")[-1]["reason"] == "yes_twice"
