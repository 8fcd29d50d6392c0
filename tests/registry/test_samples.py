"""A version whose recipe requires a look is approved only after the recorded yes of an honest broker."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import pytest
from registry_layouts import back_to
from statements import PURPOSE

from enclave.core.errors import ConflictError, DeniedError, InvalidError
from enclave.registry.store import RegistryStore
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m

pytestmark = pytest.mark.row("S13.6")


def asked_for(stand: Any, **review: Any) -> Any:
    """A release that waits for an honest broker."""
    stand.make_project()
    stand.make_candidate(**review)
    stand.determine()
    return stand.request()


def seen(stand: Any, *, waiting: int = 0, unclean: int = 0) -> m.Version:
    found: m.Version = stand.ask(m.NoteSample(dataset="demo-ct", version=1, waiting=waiting, unclean=unclean))
    return found


def say(stand: Any, *, clean: bool = True, token: str = "t-holger", reason: str = "All seen.") -> m.Version:
    found: m.Version = stand.ask(m.ReviewVersion(token=token, dataset="demo-ct", version=1, clean=clean, reason=reason))
    return found


def refused(stand: Any, release: Any) -> str:
    with pytest.raises(DeniedError) as caught:
        stand.decide(release)
    return caught.value.code


def test_a_required_review_stands_between_request_and_approval(stand: Any) -> None:
    release = asked_for(stand, review="required", sample=3)
    assert refused(stand, release) == "review_missing"
    with pytest.raises(ConflictError) as caught:
        say(stand)
    assert caught.value.code == "review_waiting"
    seen(stand, waiting=0)
    assert refused(stand, release) == "review_missing"
    reviewed = say(stand).review
    assert reviewed == {
        "required": True, "sample": 3, "waiting": 0, "unclean": 0, "verdict": "yes", "by": "holger",
        "reason": "All seen.",
    }  # fmt: skip
    assert stand.decide(release).state == "approved"
    told = [(e["kind"], e["outcome"], e.get("reason")) for e in stand.auditd.events() if e["kind"] == "version.review"]
    assert told == [
        ("version.review", "refused", "review_waiting"),
        ("version.review", "intent", None),
        ("version.review", "ok", None),
    ]
    assert [e["reason"] for e in stand.auditd.events(kind="release.decide", outcome="refused")] == [
        "review_missing"
    ] * 2


@pytest.mark.parametrize("name", ["rosa", "edgar", "olga", "stella", "stefan", "ada", "otto"])
def test_no_other_role_says_yes_or_no(stand: Any, name: str) -> None:
    stand.make_candidate(review="required")
    for clean in (True, False):
        with pytest.raises(DeniedError) as caught:
            say(stand, clean=clean, token=f"t-{name}")
        assert caught.value.code == "role"
    assert [e["actor"] for e in stand.auditd.events(kind="version.review", outcome="refused")] == [name] * 2
    assert stand.make_candidate(review="required").review["verdict"] == ""


def test_a_no_is_final_and_ends_the_way_to_any_project_with_its_reason_kept_out_of_the_ledger(stand: Any) -> None:
    release = asked_for(stand, review="optional", sample=2)
    assert say(stand, clean=False, reason="CANARY face visible").review["verdict"] == "no"
    with pytest.raises(ConflictError):
        say(stand)
    assert refused(stand, release) == "review_unclean"
    assert stand.decide(release, approve=False).state == "refused"
    assert "CANARY" not in repr(stand.auditd.events())


def test_a_finding_in_one_item_refuses_even_where_no_review_is_required_and_is_never_taken_back(stand: Any) -> None:
    release = asked_for(stand, review="optional", sample=2)
    seen(stand, waiting=1, unclean=1)
    seen(stand, waiting=0, unclean=0)
    assert refused(stand, release) == "review_unclean"
    with pytest.raises(DeniedError) as caught:
        say(stand)
    assert caught.value.code == "review_unclean"


def test_without_the_registrys_own_record_nothing_is_approved(stand: Any) -> None:
    release = asked_for(stand, review="optional")
    with sqlite3.connect(stand.auditd.home.state("registry") / "state.db") as db:
        db.execute("delete from samples")
    assert refused(stand, release) == "missing_fact"


def test_a_version_made_for_one_project_is_released_to_no_other(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate(only_for="lung")
    stand.determine(recipients=("demo", "lung"))
    with pytest.raises(DeniedError) as caught:
        stand.request()
    assert caught.value.code == "other_projects_pseudonyms"
    assert stand.auditd.events(kind="release.request", outcome="refused")[0]["reason"] == caught.value.code
    stand.ask(pm.CreateProject(token="t-stella", name="lung", title="Lung", purpose=PURPOSE))
    release = stand.ask(m.RequestRelease(token="t-stella", dataset="demo-ct", version=1, project="lung"))
    assert stand.decide(release).state == "approved"


@pytest.mark.parametrize("wrong", [{"review": "later"}, {"sample": -1}, {"only_for": "Not A Name"}])
def test_what_is_no_need_for_review_is_refused(stand: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        stand.make_candidate(**wrong)


@pytest.mark.parametrize("layout", [1, 2])
def test_a_registry_from_before_reviews_keeps_its_versions(bare: Any, layout: int) -> None:
    path = bare.auditd.home.state("registry") / "state.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    RegistryStore(path).close()
    with contextlib.closing(back_to(path, layout)) as db:
        db.execute(
            f"insert into versions values ('demo-ct', 1, '{'ab' * 32}', 'candidate', '{{}}', 'stella', '2026-01-01')"
        )
        db.commit()
    bare.start()
    found = bare.ask(m.ListVersions(token="t-ada", dataset=None)).versions[0]
    assert (found.only_for, found.review["required"], found.review["verdict"]) == ("", False, "")
