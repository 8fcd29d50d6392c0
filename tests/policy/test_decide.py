"""The policy over the full product of roles, actions and facts."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import DeniedError, InvalidError
from enclave.policy.decide import ACTIONS, RULES, check, decide
from enclave.policy.model import (
    NO_FACTS,
    PERSON_ROLES,
    REASONS,
    ROLES,
    Actor,
    BreakGlassFacts,
    CertificateFacts,
    DeterminationFacts,
    EgressFacts,
    EngagementFacts,
    Facts,
    ProjectFacts,
    ReleaseFacts,
    Resource,
    ReviewFacts,
    VersionFacts,
)

pytestmark = pytest.mark.row("S7.1")

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROOT = "ab" * 32
RESOURCE = Resource(project="demo", dataset="demo-ct", version=1, id="x", person="rosa")
PERSON_OF = {
    "researcher": "rosa",
    "expert": "edgar",
    "honest_broker": "hana",
    "output_checker": "olga",
    "data_steward": "stella",
    "auditor": "ada",
    "operator": "otto",
}
SERVICES = ("intake", "reports", "airlock", "broker", "launcher")
ACTORS = [Actor(name, frozenset({role})) for role, name in PERSON_OF.items()] + [
    Actor(f"service:{name}", frozenset({"service"})) for name in SERVICES
]

GOOD = Facts(
    project=ProjectFacts(name="demo", state="open", member_role=""),
    version=VersionFacts(
        dataset="demo-ct", version=1, state="released", content_root=ROOT, steward="stefan", released_to_project=True
    ),
    certificate=CertificateFacts(
        id="c",
        valid=True,
        reason="ok",
        content_root=ROOT,
        not_before=NOW - timedelta(days=1),
        expires=NOW + timedelta(days=1),
        expert="edgar",
    ),
    determination=DeterminationFacts(id="x", state="draft", expert="edgar", steward="stefan"),
    engagement=EngagementFacts(
        expert="edgar", dataset="demo-ct", version=1, content_root=ROOT, until=NOW + timedelta(days=1)
    ),
    release=ReleaseFacts(id="x", state="requested", requested_by="stefan"),
    egress=EgressFacts(
        id="x",
        author="rosa",
        project="demo",
        open_for_votes=True,
        released=True,
        withdrawable=True,
        approvers=frozenset({"olga", "omar"}),
    ),
    break_glass=BreakGlassFacts(id="x", state="requested", requested_by="stefan", actor_on_project=False),
    review=ReviewFacts(batch="x", submitted_by="stefan", waiting=True),
)

# action → who may when every fact speaks for it; written by hand, compared with the table
MAY = {
    "project.create": {"stella"},
    "project.show": set(PERSON_OF.values()),
    "project.close": {"stella"},
    "project.member_add": {"stella"},
    "project.member_remove": {"stella"},
    "intake.add": {"stella"},
    "intake.list": {"stella", "hana", "edgar"},
    "version.register": {"service:intake"},
    "version.list": set(PERSON_OF.values()),
    "determination.draft": {"edgar", "stella", "service:intake"},
    "determination.begin": {"edgar"},
    "determination.sign": {"edgar"},
    "determination.decline": {"edgar"},
    "determination.revoke": {"edgar", "hana"},
    "determination.show": set(PERSON_OF.values()),
    "release.request": {"stella"},
    "release.decide": {"hana"},
    "release.list": set(PERSON_OF.values()),
    "server.start": {"rosa", "edgar"},
    "kernel.start": {"rosa", "edgar", "service:reports"},
    "dataset.open": {"rosa", "edgar", "service:reports"},
    "egress.submit": {"rosa"},
    "egress.list": {"rosa", "olga", "ada"},
    "egress.preview": {"olga"},
    "egress.vote": {"olga"},
    "egress.release": {"service:airlock"},
    "egress.deliver": {"rosa"},
    "egress.withdraw": {"rosa"},
    "intake.review": {"stella", "hana"},
    "reidentify.request": {"stella", "hana"},
    "reidentify.approve": {"stella", "hana", "otto"},
    "reidentify.show": {"stella", "hana"},
    "reidentify.review": {"ada"},
    "reidentify.list": {"stella", "hana", "otto", "ada"},
    "audit.query": {"ada"},
    "report.list": set(PERSON_OF.values()),
    "report.run": {"stella", "hana", "service:reports"},
}


TWO = frozenset({"holger", "olaf"})
GLASS = {  # '' as the requester: the actor
    "reidentify.request": BreakGlassFacts(id="x", state="new", requested_by="", actor_on_project=False),
    "reidentify.show": BreakGlassFacts(
        id="x", state="open", requested_by="", approvers=TWO, actor_on_project=False, review_pending=True
    ),
    "reidentify.review": BreakGlassFacts(id="x", state="over", requested_by="stefan", approvers=TWO),
}


def facts_for(action: str, actor: Actor) -> Facts:
    facts = GOOD
    if actor.name == "rosa":
        facts = replace(facts, project=replace(facts.project, member_role="researcher"))
    if action == "determination.revoke":
        facts = replace(facts, determination=replace(facts.determination, state="signed"))
    if action in GLASS:
        facts = replace(
            facts, break_glass=replace(GLASS[action], requested_by=GLASS[action].requested_by or actor.name)
        )
    return facts


def resource_for(action: str) -> Resource:
    return replace(RESOURCE, person="ruth") if action == "project.member_add" else RESOURCE


def allowed(actor: Actor, action: str, facts: Facts, *, at: datetime = NOW, **changes: Any) -> str:
    return decide(actor, action, replace(resource_for(action), **changes), facts, at).reason


def who(name: str) -> Actor:
    return next(actor for actor in ACTORS if actor.name == name)


def test_the_table_and_the_hand_written_rights_name_the_same_actions() -> None:
    assert set(MAY) == ACTIONS


@pytest.mark.parametrize(("actor", "action"), list(itertools.product(ACTORS, sorted(ACTIONS))), ids=str)
def test_with_all_facts_in_favour_exactly_the_named_may(actor: Actor, action: str) -> None:
    assert (allowed(actor, action, facts_for(action, actor)) == "ok") is (actor.name in MAY[action])


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_taking_any_fact_away_never_allows_more_and_no_facts_allow_only_what_needs_none(action: str) -> None:
    names = [field.name for field in fields(Facts)]
    for actor in ACTORS:
        full = facts_for(action, actor)
        may = allowed(actor, action, full) == "ok"
        for count in range(1, len(names) + 1):
            for missing in itertools.combinations(names, count):
                fewer = replace(full, **dict.fromkeys(missing))
                assert may or allowed(actor, action, fewer) != "ok", (actor, missing)
        if any(rule.checks for rule in RULES[action]) and action != "report.run":
            bare = replace(RESOURCE, person="", id="", project="", dataset="", version=0)
            named_service = actor.name in MAY[action] and actor.name.startswith("service:")
            assert decide(actor, action, bare, NO_FACTS, NOW).reason != "ok" or named_service


def test_every_reason_has_words_and_every_action_a_rule() -> None:
    assert all(REASONS.values())
    assert all(RULES.values())
    assert all(rule.roles <= ROLES and rule.roles for rules in RULES.values() for rule in rules)


def test_the_unknown_is_refused() -> None:
    assert allowed(who("stella"), "everything.do", GOOD) == "unknown_action"
    for actor in (
        Actor("", frozenset({"auditor"})),
        Actor("ada", frozenset({"auditor", "god"})),
        Actor("ada", frozenset({"service"})),
        Actor("service:intake", frozenset({"auditor"})),
    ):
        assert allowed(actor, "audit.query", GOOD) == "unknown_actor"
    assert allowed(Actor("ada", frozenset()), "audit.query", GOOD) == "role"
    with pytest.raises(InvalidError):
        decide(who("ada"), "audit.query", RESOURCE, GOOD, NOW.replace(tzinfo=None))


def test_check_raises_with_the_reason_as_its_code() -> None:
    with pytest.raises(DeniedError) as caught:
        check(decide(who("rosa"), "audit.query", RESOURCE, GOOD, NOW))
    assert caught.value.code == "role"
    check(decide(who("ada"), "audit.query", RESOURCE, GOOD, NOW))


# ── conflict of duty, for every person in every role at once ────────────────


ALL_ROLES = frozenset(PERSON_ROLES)


@pytest.mark.parametrize("name", ["stella", "hana", "edgar", "rosa"])
def test_nobody_adds_themselves_or_works_on_their_own_project_whatever_their_roles(name: str) -> None:
    everything = Actor(name, ALL_ROLES)
    assert allowed(everything, "project.member_add", GOOD, person=name) == "self_grant"
    own = replace(GOOD, project=replace(GOOD.project, member_role="researcher"))
    assert allowed(everything, "project.member_add", own) == "own_project"
    foreign = replace(own, certificate=replace(GOOD.certificate, expert="eva"))
    assert allowed(everything, "release.request", foreign) == "own_project"
    assert allowed(everything, "release.decide", foreign) == "own_project"


@settings(max_examples=300, deadline=None)
@given(*[st.sampled_from("abcd")] * 4, st.booleans())
def test_requester_broker_steward_and_expert_of_a_release_are_kept_apart(
    requester: str, broker: str, steward: str, expert: str, approve: bool
) -> None:
    facts = replace(
        GOOD,
        version=replace(GOOD.version, steward=steward),
        certificate=replace(GOOD.certificate, expert=expert),
        release=replace(GOOD.release, requested_by=requester, approve=approve),
    )
    may = allowed(Actor(broker, ALL_ROLES), "release.decide", facts) == "ok"
    assert may is (broker not in (requester, steward, expert) and steward != expert)
    asked = allowed(Actor(requester, ALL_ROLES), "release.request", facts) == "ok"
    assert asked is (requester != expert)


@settings(max_examples=300, deadline=None)
@given(*[st.sampled_from("abc")] * 3)
def test_only_the_named_expert_who_is_not_the_steward_signs(actor: str, expert: str, steward: str) -> None:
    facts = replace(GOOD, determination=replace(GOOD.determination, expert=expert, steward=steward))
    person = Actor(actor, ALL_ROLES)
    assert (allowed(person, "determination.sign", facts) == "ok") is (actor == expert != steward)
    drafted = allowed(person, "determination.draft", facts) == "ok"
    assert drafted is (expert != steward)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from("abcd"), st.sampled_from("abcd"), st.frozensets(st.sampled_from("abcd")), st.booleans())
def test_an_author_never_votes_nobody_votes_twice_and_members_stay_out(
    author: str, checker: str, voters: frozenset[str], member: bool
) -> None:
    facts = replace(GOOD, egress=replace(GOOD.egress, author=author, voters=voters, actor_is_member=member))
    may = allowed(Actor(checker, ALL_ROLES), "egress.vote", facts) == "ok"
    assert may is (checker != author and checker not in voters and not member)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from("abc"), st.frozensets(st.sampled_from("abc")), st.frozensets(st.sampled_from("abc"), max_size=1))
def test_a_release_to_the_outside_needs_two_who_are_not_the_author_and_no_objection(
    author: str, approvers: frozenset[str], rejecters: frozenset[str]
) -> None:
    egress = replace(GOOD.egress, author=author, approvers=approvers, rejecters=rejecters)
    may = allowed(who("service:airlock"), "egress.release", replace(GOOD, egress=egress)) == "ok"
    assert may is (len(approvers) >= 2 and author not in approvers and not rejecters)


# ── opening data ────────────────────────────────────────────────────────────


def opening(**changes: Any) -> str:
    facts = facts_for("dataset.open", who("rosa"))
    for part, values in changes.items():
        facts = replace(facts, **{part: replace(getattr(facts, part), **values)})
    return allowed(who("rosa"), "dataset.open", facts)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "ok"),
        ({"project": {"state": "closed"}}, "project_not_open"),
        ({"project": {"state": "frozen"}}, "project_not_open"),
        ({"project": {"name": "other"}}, "other_resource"),
        ({"project": {"member_role": ""}}, "not_a_member"),
        ({"project": {"member_role": "auditor"}}, "not_a_member"),
        ({"version": {"state": "candidate"}}, "not_released"),
        ({"version": {"state": "withdrawn"}}, "version_not_usable"),
        ({"version": {"state": "shredded"}}, "version_not_usable"),
        ({"version": {"released_to_project": False}}, "not_released"),
        ({"version": {"version": 2}}, "other_resource"),
        ({"version": {"dataset": "other"}}, "other_resource"),
        ({"version": {"content_root": "cd" * 32}}, "certificate_other_root"),
        ({"version": {"content_root": ""}, "certificate": {"content_root": ""}}, "certificate_other_root"),
        ({"certificate": {"not_before": NOW + timedelta(seconds=1)}}, "certificate_not_yet_valid"),
        ({"certificate": {"expires": NOW}}, "certificate_expired"),
        ({"certificate": {"valid": False, "reason": "ok"}}, "certificate_invalid"),
        ({"certificate": {"valid": False, "reason": "something"}}, "certificate_invalid"),
    ]
    + [
        ({"certificate": {"valid": False, "reason": reason}}, f"certificate_{reason}")
        for reason in ("altered", "expired", "not_yet_valid", "revoked", "other_root", "untrusted_expert", "superseded")
    ],
)
def test_each_fact_that_speaks_against_a_lease_has_its_reason(changes: Any, reason: str) -> None:
    assert opening(**changes) == reason


@pytest.mark.parametrize("offset_s", [-86_401, -86_400, 0, 86_399, 86_400])
def test_a_certificate_holds_from_its_first_second_up_to_but_not_at_its_end(offset_s: int) -> None:
    at = NOW + timedelta(seconds=offset_s)
    reason = allowed(who("rosa"), "dataset.open", facts_for("dataset.open", who("rosa")), at=at)
    assert (reason == "ok") is (-86_400 <= offset_s < 86_400)


@pytest.mark.parametrize(
    "change",
    [{"expert": "eva"}, {"version": 2}, {"dataset": "other"}, {"content_root": "cd" * 32}, {"until": NOW}],
    ids=str,
)
def test_an_engagement_is_for_one_expert_one_candidate_and_a_time(change: Any) -> None:
    facts = replace(GOOD, engagement=replace(GOOD.engagement, **change))
    assert allowed(who("edgar"), "dataset.open", facts) in ("no_engagement", "engagement_over")


def test_the_second_delivery_is_refused() -> None:
    facts = replace(GOOD, egress=replace(GOOD.egress, delivered=True))
    assert allowed(who("rosa"), "egress.deliver", facts) == "delivered_already"
    facts = replace(GOOD, egress=replace(GOOD.egress, released=False))
    assert allowed(who("rosa"), "egress.deliver", facts) == "not_released_yet"


# ── break-glass ─────────────────────────────────────────────────────────────


GLASS_STATES = ("new", "requested", "lapsed", "open", "spent", "over", "reviewed")
GLASS_IN = {"request": {"new"}, "approve": {"requested"}, "show": {"open"}, "review": {"spent", "over"}}


@pytest.mark.row("S8.4")
@pytest.mark.row("S13.5")
@pytest.mark.parametrize("act", sorted(GLASS_IN))
def test_break_glass_over_all_people_states_and_memberships(act: str) -> None:
    people = ("a", "b", "c")
    groups = [frozenset(g) for n in range(3) for g in itertools.combinations(people, n)]
    product = itertools.product(people, people, groups, GLASS_STATES, (True, False, None), (True, False))
    for actor, requester, approvers, state, on_project, pending in product:
        found = BreakGlassFacts(
            id="x",
            state=state,
            requested_by=requester,
            approvers=approvers,
            actor_on_project=on_project,
            review_pending=pending,
        )
        may = (
            state in GLASS_IN[act]
            and {
                "request": actor == requester and on_project is False and not pending,
                "approve": actor != requester and actor not in approvers and on_project is False and not pending,
                "show": actor == requester and on_project is False and len(approvers - {requester}) == 2,
                "review": actor != requester and actor not in approvers,
            }[act]
        )
        facts = replace(GOOD, break_glass=found)
        reason = allowed(Actor(actor, ALL_ROLES), f"reidentify.{act}", facts)
        assert (reason == "ok") is may, (actor, found, reason)
        assert allowed(Actor(actor, ALL_ROLES), f"reidentify.{act}", facts, id="y") != "ok"


@pytest.mark.row("S13.6")
@pytest.mark.parametrize("waiting", [True, False])
@pytest.mark.parametrize("submitter", ["stella", "stefan", ""])
def test_nobody_judges_the_sample_of_their_own_batch(submitter: str, waiting: bool) -> None:
    facts = replace(GOOD, review=ReviewFacts(batch="x", submitted_by=submitter, waiting=waiting))
    assert (allowed(Actor("stella", ALL_ROLES), "intake.review", facts) == "ok") is (submitter == "stefan" and waiting)
    assert allowed(who("hana"), "intake.review", facts, id="y") != "ok"
