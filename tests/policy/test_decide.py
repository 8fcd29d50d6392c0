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
from enclave.policy.checks import Case
from enclave.policy.decide import ACTIONS, RULES, check, decide
from enclave.policy.model import (
    NO_FACTS,
    PERSON_ROLES,
    REASONS,
    ROLES,
    Actor,
    AgreementFacts,
    BreakGlassFacts,
    CertificateFacts,
    DeterminationFacts,
    EgressFacts,
    EngagementFacts,
    Facts,
    GrantFacts,
    OversightFacts,
    ProjectFacts,
    ReleaseFacts,
    Resource,
    ReviewFacts,
    SampleFacts,
    SecurityKeyFacts,
    StepUpFacts,
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
        dataset="demo-ct",
        version=1,
        state="released",
        content_root=ROOT,
        steward="stefan",
        released_to_project=True,
        only_for="",
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
    determination=DeterminationFacts(id="x", state="draft", expert="edgar", steward="stefan", drafted_by="stefan"),
    engagement=EngagementFacts(
        expert="edgar", dataset="demo-ct", version=1, content_root=ROOT, until=NOW + timedelta(days=1)
    ),
    release=ReleaseFacts(id="x", state="requested", requested_by="stefan"),
    grant=GrantFacts(
        id="x",
        person="rosa",
        project="demo",
        dataset="demo-ct",
        version=1,
        state="active",
        requested_by="stefan",
        person_is_member=True,
    ),
    agreement=AgreementFacts(id="x", project="demo", state="recorded", recorded_by="stefan"),
    egress=EgressFacts(
        id="x",
        author="rosa",
        project="demo",
        open_for_votes=True,
        released=True,
        withdrawable=True,
        author_is_member=True,
        until=NOW + timedelta(days=1),
        approvers=frozenset({"olga", "omar"}),
    ),
    break_glass=BreakGlassFacts(id="x", state="requested", requested_by="stefan", actor_on_project=False),
    review=ReviewFacts(batch="x", submitted_by="stefan", waiting=True),
    sample=SampleFacts(
        dataset="demo-ct", version=1, required=True, waiting=0, unclean=0, verdict="yes", decided_by="holger"
    ),
    oversight=OversightFacts(id="x", subject="rolf", state="open", over=True),
    step_up=StepUpFacts(person="hana", reason="ok", key="ab"),
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
    "version.sample": {"service:intake"},
    "version.review": {"hana"},
    "version.list": set(PERSON_OF.values()),
    "determination.draft": {"edgar", "stella", "service:intake"},
    "determination.begin": {"edgar"},
    "determination.sign": {"edgar"},
    "determination.countersign": {"stella"},
    "determination.reaffirm": {"edgar"},
    "determination.decline": {"edgar"},
    "determination.revoke": {"edgar", "hana"},
    "determination.show": set(PERSON_OF.values()),
    "release.request": {"stella"},
    "release.decide": {"hana"},
    "release.list": set(PERSON_OF.values()),
    "release.confirm": {"hana"},
    "release.withdraw": {"stella", "hana"},
    "authenticator.code": {"stella", "otto"},
    "authenticator.begin": set(PERSON_OF.values()),
    "authenticator.enrol": set(PERSON_OF.values()),
    "authenticator.list": set(PERSON_OF.values()),
    "authenticator.revoke": {"rosa", "stella", "otto"},
    "agreement.record": {"stella"},
    "agreement.decide": {"hana"},
    "agreement.end": {"stella", "hana"},
    "agreement.list": {"stella", "hana", "edgar", "ada", "otto"},
    "grant.request": {"stella"},
    "grant.decide": {"hana"},
    "grant.revoke": {"stella", "hana"},
    "grant.list": set(PERSON_OF.values()),
    "server.start": {"rosa", "edgar"},
    "kernel.end_other": {"otto"},
    "kernel.freeze": {"otto", "stella"},
    "kernel.end_frozen": {"otto", "stella"},
    "kernel.start": {"rosa", "edgar", "service:reports"},
    "dataset.open": {"rosa", "edgar", "service:reports"},
    "egress.submit": {"rosa"},
    "egress.list": {"rosa", "olga", "ada"},
    "egress.preview": {"olga"},
    "egress.vote": {"olga"},
    "egress.release": {"service:airlock"},
    "egress.deliver": {"rosa"},
    "egress.withdraw": {"rosa"},
    "intake.look": {"stella", "hana"},
    "intake.review": {"stella", "hana"},
    "reidentify.request": {"stella", "hana"},
    "reidentify.approve": {"stella", "hana", "otto"},
    "reidentify.refuse": {"stella", "hana", "otto"},
    "reidentify.alarms": {"stella", "ada"},
    "reidentify.acknowledge": {"stella", "ada"},
    "reidentify.show": {"stella", "hana"},
    "reidentify.review": {"ada"},
    "reidentify.list": {"stella", "hana", "otto", "ada"},
    "audit.query": {"ada"},
    "audit.hold_place": {"ada", "stella"},
    "audit.hold_lift": {"ada"},
    "audit.hold_list": {"ada", "stella"},
    "audit.retention_plan": {"ada", "stella"},
    "audit.retention_apply": {"stella"},
    "alert.list": {"ada"},
    "alert.acknowledge": {"ada"},
    "alert.resolve": {"ada"},
    "canary.declare": {"ada"},
    "drill.run": {"ada", "otto"},
    "drill.show": {"ada", "otto"},
    "review.list": {"ada"},
    "review.sign": {"ada"},
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


def facts_for(action: str, actor: Actor) -> Facts:  # noqa: C901 - one line per act whose facts differ
    facts = GOOD
    if actor.name == "rosa":
        facts = replace(facts, project=replace(facts.project, member_role="researcher"))
    if action == "determination.revoke":
        facts = replace(facts, determination=replace(facts.determination, state="signed"))
    if action in ("determination.reaffirm", "determination.countersign"):
        facts = replace(facts, determination=replace(facts.determination, state="signed", reopened=True))
    if action == "determination.countersign":
        facts = replace(facts, determination=replace(facts.determination, steward="stella"))
    if action == "agreement.end":
        facts = replace(facts, agreement=replace(facts.agreement, state="in_force"))
    if action == "release.withdraw":
        facts = replace(facts, release=replace(facts.release, state="approved"))
    if action == "grant.decide":
        facts = replace(facts, grant=replace(facts.grant, state="requested"))
    if action == "version.review":
        facts = replace(facts, sample=replace(facts.sample, verdict="", decided_by=""))
    if action == "authenticator.enrol":
        code = SecurityKeyFacts(person=actor.name, issued_by="stefan", right=True, in_time=True)
        facts = replace(facts, security_key=code)
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


class Watched:
    """Facts that remember which of them a check has read."""

    def __init__(self, facts: Facts) -> None:
        self._facts, self.read = facts, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._facts, name)


def facts_read(action: str, actor: Actor, full: Facts) -> list[str]:
    """The facts that some check of the action looks at, whatever else is there or missing."""
    names = [field.name for field in fields(Facts)]
    read: set[str] = set()
    for facts in (full, NO_FACTS, *(replace(full, **{name: None}) for name in names)):
        for rule in RULES[action]:
            for one in rule.checks:
                watched = Watched(facts)
                one(Case(actor, "", resource_for(action), watched, NOW))
                read |= watched.read
    return sorted(read)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_taking_any_fact_away_never_allows_more_and_no_facts_allow_only_what_needs_none(action: str) -> None:
    for actor in ACTORS:
        full = facts_for(action, actor)
        may = allowed(actor, action, full) == "ok"
        names = facts_read(action, actor, full)
        unread = {field.name: None for field in fields(Facts) if field.name not in names}
        assert (allowed(actor, action, replace(full, **unread)) == "ok") is may
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
        step_up=replace(GOOD.step_up, person=broker),
    )
    may = allowed(Actor(broker, ALL_ROLES), "release.decide", facts) == "ok"
    assert may is (broker not in (requester, steward, expert) and steward != expert)
    asked = allowed(Actor(requester, ALL_ROLES), "release.request", facts) == "ok"
    assert asked is (requester != expert)


@settings(max_examples=400, deadline=None)
@given(*[st.sampled_from("abcde")] * 5, st.booleans(), st.booleans(), st.booleans())
def test_a_grant_needs_a_steward_and_a_broker_who_are_apart_from_each_other_and_from_whom_it_is_for(
    requester: str, broker: str, person: str, steward: str, expert: str, member: bool, on_project: bool, approve: bool
) -> None:
    facts = replace(
        GOOD,
        project=replace(GOOD.project, member_role="researcher" if on_project else ""),
        version=replace(GOOD.version, steward=steward),
        certificate=replace(GOOD.certificate, expert=expert),
        grant=replace(
            GOOD.grant,
            state="requested",
            requested_by=requester,
            person=person,
            person_is_member=member,
            approve=approve,
        ),
    )
    apart = broker not in (requester, person) and not on_project
    kept = broker not in (steward, expert) and steward != expert and member
    may = allowed(Actor(broker, ALL_ROLES), "grant.decide", facts, person=person) == "ok"
    assert may is (apart and (kept or not approve))
    asked = allowed(Actor(requester, ALL_ROLES), "grant.request", facts, person=person) == "ok"
    assert asked is (requester not in (person, expert) and not on_project and member)


@pytest.mark.parametrize("action", ["grant.decide", "grant.revoke"])
@pytest.mark.parametrize("state", ["new", "requested", "active", "refused", "revoked", "over"])
def test_a_grant_is_decided_while_requested_and_revoked_while_it_can_open_something(action: str, state: str) -> None:
    facts = replace(GOOD, grant=replace(GOOD.grant, state=state))
    wanted = {"grant.decide": {"requested"}, "grant.revoke": {"requested", "active"}}[action]
    assert allowed(who("hana"), action, facts) == ("ok" if state in wanted else "grant_state")
    assert allowed(who("hana"), action, facts, id="y") == "other_resource"


def test_a_release_is_approved_by_one_who_had_no_other_part_in_it_over_the_full_product() -> None:
    """Every role and pair of roles, every part in the version and the project, every state, every confirmation."""
    roles = [frozenset(one) for n in (1, 2) for one in itertools.combinations(PERSON_ROLES, n)] + [ALL_ROLES]
    parts = itertools.product("ab", "ab", "ac", ("a", "d", ""), ("", "researcher"))
    for requester, expert, steward, reviewer, membership in parts:
        people = replace(
            GOOD,
            project=replace(GOOD.project, member_role=membership),
            version=replace(GOOD.version, steward=steward),
            sample=replace(GOOD.sample, decided_by=reviewer, verdict="yes" if reviewer else ""),
        )
        clear = "a" not in (requester, expert, steward, reviewer) and reviewer and not membership
        situations = itertools.product(
            ("requested", "approved", "refused", "withdrawn"), (True, False), (True, False), ("a", "b", None)
        )
        for state, valid, reopened, confirmed_by in situations:
            step_up = None if confirmed_by is None else StepUpFacts(person=confirmed_by, reason="ok", key="ab")
            certificate = replace(
                GOOD.certificate, expert=expert, valid=valid, reason="ok" if valid else "revoked", reopened=reopened
            )
            release = replace(GOOD.release, requested_by=requester, state=state)
            facts = replace(people, certificate=certificate, release=release, step_up=step_up)
            fit = clear and state == "requested" and valid and not reopened and confirmed_by == "a"
            for held in roles:
                may = allowed(Actor("a", held), "release.decide", facts) == "ok"
                assert may is bool(fit and "honest_broker" in held), (held, facts)


@settings(max_examples=300, deadline=None)
@given(*[st.sampled_from("abc")] * 3)
def test_only_the_named_expert_who_is_not_the_steward_begins_signs_and_reaffirms(
    actor: str, expert: str, steward: str
) -> None:
    facts = replace(
        GOOD, determination=replace(GOOD.determination, expert=expert, steward=steward, drafted_by="service:intake")
    )
    person = Actor(actor, ALL_ROLES)
    for action in ("determination.begin", "determination.sign", "determination.reaffirm"):
        state = "signed" if action == "determination.reaffirm" else "draft"
        asked = replace(facts, determination=replace(facts.determination, state=state, reopened=True))
        assert (allowed(person, action, asked) == "ok") is (actor == expert != steward), action
    own = replace(facts, determination=replace(facts.determination, drafted_by=expert))
    assert allowed(person, "determination.begin", own) != "ok"
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


PROJECTS = list(itertools.product(("open", "closed", "frozen"), ("none", "live", "over"), ("", "researcher")))


def in_project(state: str, agreement: str, role: str, **egress: Any) -> Facts:
    """Everything in favour, in a project that stands so; ``role`` is the author's in it."""
    project = ProjectFacts(name="demo", state=state, agreement=agreement)
    return replace(GOOD, project=project, egress=replace(GOOD.egress, author_is_member=bool(role), **egress))


@pytest.mark.row("S12.1")
@pytest.mark.parametrize(("state", "agreement", "role"), PROJECTS)
def test_nothing_is_handed_in_let_out_or_delivered_for_whom_the_project_does_not_work_any_more(
    state: str, agreement: str, role: str
) -> None:
    works = state == "open" and agreement != "over" and bool(role)
    facts = in_project(state, agreement, role)
    assert (allowed(who("service:airlock"), "egress.release", facts) == "ok") is works
    assert (allowed(who("olga"), "egress.vote", facts) == "ok") is works
    own = replace(facts, project=replace(facts.project, member_role=role))
    for act in ("egress.submit", "egress.deliver"):
        assert (allowed(who("rosa"), act, own) == "ok") is works
        assert allowed(who("rosa"), act, replace(own, project=replace(own.project, name="other"))) == "other_resource"
    for facts_without in (replace(facts, project=None), replace(own, project=None)):
        for actor, act in (("service:airlock", "release"), ("olga", "vote"), ("rosa", "deliver"), ("rosa", "submit")):
            assert allowed(who(actor), f"egress.{act}", facts_without) == "missing_fact"


@pytest.mark.parametrize(("state", "agreement", "role"), PROJECTS)
def test_a_return_a_rejection_a_withdrawal_and_a_look_are_possible_however_the_project_stands(
    state: str, agreement: str, role: str
) -> None:
    facts = in_project(state, agreement, role, approve=False)
    assert allowed(who("olga"), "egress.vote", facts) == "ok"
    assert allowed(who("olga"), "egress.preview", facts) == "ok"
    assert allowed(who("rosa"), "egress.withdraw", facts) == "ok"


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
        ({"grant": {"person": "ruth"}}, "other_resource"),
        ({"grant": {"project": "other"}}, "other_resource"),
        ({"grant": {"dataset": "other"}}, "other_resource"),
        ({"grant": {"version": 2}}, "other_resource"),
        ({"grant": {"state": "requested"}}, "not_granted"),
        ({"grant": {"state": "refused"}}, "not_granted"),
        ({"grant": {"state": "revoked"}}, "grant_revoked"),
        ({"grant": {"state": "over"}}, "grant_over"),
        ({"grant": {"state": "anything"}}, "grant_revoked"),
        ({"grant": {"until": NOW}}, "grant_over"),
        ({"grant": {"until": NOW + timedelta(seconds=1)}}, "ok"),
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
    own = facts_for("egress.deliver", who("rosa"))
    for until, reason in ((NOW, "delivery_over"), (NOW - timedelta(days=1), "delivery_over"), (None, "missing_fact")):
        facts = replace(own, egress=replace(own.egress, until=until))
        assert allowed(who("rosa"), "egress.deliver", facts) == reason


# ── break-glass ─────────────────────────────────────────────────────────────


GLASS_STATES = ("new", "requested", "refused", "lapsed", "open", "spent", "over", "reviewed")
GLASS_IN = {
    "request": {"new"},
    "approve": {"requested"},
    "refuse": {"requested"},
    "show": {"open"},
    "review": {"spent", "over"},
}


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
                "refuse": actor != requester and on_project is False,
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
    for act in ("intake.review", "intake.look"):
        assert (allowed(Actor("stella", ALL_ROLES), act, facts) == "ok") is (submitter == "stefan" and waiting)
        assert allowed(who("hana"), act, facts, id="y") != "ok"


@pytest.mark.row("S13.4")
@pytest.mark.parametrize(
    ("face", "waiting", "kept", "submitter"),
    list(itertools.product((True, False), (True, False), (True, False), ("stefan", "edgar"))),
)
def test_an_expert_looks_at_heads_of_others_batches_only_and_judges_none(
    face: bool, waiting: bool, kept: bool, submitter: str
) -> None:
    seen = ReviewFacts(batch="x", submitted_by=submitter, waiting=waiting, face=face, kept=kept)
    facts = replace(GOOD, review=seen)
    may = face and (waiting or kept) and submitter == "stefan"
    assert (allowed(who("edgar"), "intake.look", facts) == "ok") is may
    assert allowed(who("edgar"), "intake.review", facts) == "role"


@pytest.mark.row("S13.4")
def test_a_head_is_shown_to_its_engaged_expert_and_to_an_honest_broker_and_to_nobody_else() -> None:
    facts = replace(GOOD, review=ReviewFacts(batch="x", submitted_by="stefan", waiting=True, face=True))
    seeing = {actor.name for actor in ACTORS if allowed(actor, "intake.look", facts) == "ok"}
    assert seeing == {"edgar", "hana"}
    assert {actor.name for actor in ACTORS if allowed(actor, "intake.review", facts) == "ok"} == {"hana"}
    engagement = facts.engagement
    assert engagement is not None
    for other, reason in (
        (None, "no_engagement"),
        (replace(engagement, expert="ernst"), "no_engagement"),
        (replace(engagement, dataset="other"), "no_engagement"),
        (replace(engagement, version=99), "no_engagement"),
        (replace(engagement, content_root="00" * 32), "no_engagement"),
        (replace(engagement, until=NOW), "engagement_over"),
    ):
        assert allowed(who("edgar"), "intake.look", replace(facts, engagement=other)) == reason
    withdrawn = replace(facts, version=replace(facts.version, state="withdrawn"))
    assert allowed(who("edgar"), "intake.look", withdrawn) == "version_not_usable"


@pytest.mark.row("S13.4")
def test_what_was_judged_and_is_kept_is_seen_again_only_when_it_is_a_head() -> None:
    for face, kept in itertools.product((True, False), (True, False)):
        facts = replace(GOOD, review=ReviewFacts(batch="x", submitted_by="stefan", face=face, kept=kept))
        assert (allowed(who("hana"), "intake.look", facts) == "ok") is (face and kept)
        assert allowed(who("hana"), "intake.review", facts) == "not_in_sample"


# ── what a person saw before a release, and whose pseudonyms it has ─────────


@pytest.mark.row("S13.6")
def test_a_release_is_approved_only_when_the_sample_was_found_clean_and_said_to_be_where_required() -> None:
    product = itertools.product((True, False), (0, 2), (0, 1), ("", "yes", "no"), (True, False))
    for required, waiting, unclean, verdict, approve in product:
        sample = replace(GOOD.sample, required=required, waiting=waiting, unclean=unclean, verdict=verdict)
        facts = replace(GOOD, sample=sample, release=replace(GOOD.release, approve=approve))
        may = allowed(who("hana"), "release.decide", facts) == "ok"
        passed = not unclean and verdict != "no" and (verdict == "yes" or not required)
        assert may is (passed or not approve), sample
    assert allowed(who("hana"), "release.decide", replace(GOOD, sample=None)) == "missing_fact"
    other = replace(GOOD, sample=replace(GOOD.sample, version=2))
    assert allowed(who("hana"), "release.decide", other) == "other_resource"


@pytest.mark.row("S13.6")
def test_a_yes_needs_every_item_seen_and_clean_by_somebody_who_did_not_hand_it_in() -> None:
    product = itertools.product(("hana", "stefan"), (0, 2), (0, 1), ("", "yes", "no"), (True, False))
    for actor, waiting, unclean, verdict, clean in product:
        sample = replace(GOOD.sample, waiting=waiting, unclean=unclean, verdict=verdict, clean=clean)
        reason = allowed(Actor(actor, ALL_ROLES), "version.review", replace(GOOD, sample=sample))
        fits = (not verdict and not waiting and not unclean) if clean else verdict != "no"
        assert (reason == "ok") is (actor != "stefan" and fits), (actor, sample, reason)


def test_a_version_with_one_projects_pseudonyms_goes_to_no_other_project() -> None:
    for only_for, reason in (
        ("", "ok"),
        ("demo", "ok"),
        ("other", "other_projects_pseudonyms"),
        (None, "missing_fact"),
    ):
        facts = replace(GOOD, version=replace(GOOD.version, only_for=only_for))
        assert allowed(who("stella"), "release.request", facts) == reason
        assert allowed(who("hana"), "release.decide", facts) == reason
    refusal = replace(
        GOOD, version=replace(GOOD.version, only_for="other"), release=replace(GOOD.release, approve=False)
    )
    assert allowed(who("hana"), "release.decide", refusal) == "ok"


# ── oversight ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("action", "change", "reason"),
    [
        ("alert.acknowledge", {}, "ok"),
        ("alert.acknowledge", {"subject": "ada"}, "own_alert"),
        ("alert.acknowledge", {"subject": ""}, "missing_fact"),
        ("alert.acknowledge", {"id": "y"}, "other_resource"),
        ("alert.acknowledge", {"state": "acknowledged"}, "alert_state"),
        ("alert.acknowledge", {"state": "resolved"}, "alert_state"),
        ("alert.resolve", {"state": "acknowledged"}, "ok"),
        ("alert.resolve", {"state": "resolved"}, "alert_state"),
        ("alert.resolve", {"subject": "ada"}, "own_alert"),
        ("review.sign", {}, "ok"),
        ("review.sign", {"over": False}, "week_not_over"),
        ("review.sign", {"untouched": 1}, "alerts_untouched"),
        ("review.sign", {"signed_by": frozenset({"ada"})}, "signed_already"),
        ("review.sign", {"signed_by": frozenset({"anton"})}, "ok"),
        ("review.sign", {"id": "y"}, "other_resource"),
    ],
    ids=str,
)
def test_an_auditor_acts_on_alerts_about_others_and_signs_a_finished_week_once(
    action: str, change: dict[str, Any], reason: str
) -> None:
    facts = replace(GOOD, oversight=replace(GOOD.oversight, **change))
    assert allowed(who("ada"), action, facts) == reason


# ── security keys ───────────────────────────────────────────────────────────


@pytest.mark.row("S9.2")
def test_a_release_is_decided_with_a_confirmation_of_this_act_by_this_person_only() -> None:
    for step_up, reason in (
        (None, "step_up_missing"),
        (StepUpFacts(person="holger", reason="ok", key="ab"), "other_resource"),
        (StepUpFacts(person="hana", reason="ok"), "missing_fact"),
        (StepUpFacts(person="hana", reason="step_up_late"), "step_up_late"),
        (StepUpFacts(person="hana", reason="step_up_used"), "step_up_used"),
        (StepUpFacts(person="hana", reason="anything"), "security_key_invalid"),
    ):
        for approve in (True, False):
            facts = replace(GOOD, step_up=step_up, release=replace(GOOD.release, approve=approve))
            assert allowed(who("hana"), "release.decide", facts) == reason


@pytest.mark.row("S15.3")
def test_a_key_is_enrolled_with_the_right_code_of_somebody_else_in_time() -> None:
    product = itertools.product(("rosa", "rolf"), ("stefan", "rosa", ""), (True, False), (True, False), (1, 5, 6))
    for person, issued_by, right, in_time, tries in product:
        code = SecurityKeyFacts(person=person, issued_by=issued_by, right=right, in_time=in_time, tries=tries)
        may = allowed(Actor("rosa", ALL_ROLES), "authenticator.enrol", replace(GOOD, security_key=code)) == "ok"
        assert may is (person == "rosa" and issued_by == "stefan" and right and in_time and tries <= 5), code
    assert allowed(who("rosa"), "authenticator.enrol", GOOD) == "enrolment_code_missing"


@pytest.mark.parametrize("name", ["stella", "otto"])
def test_nobody_issues_a_code_for_themselves(name: str) -> None:
    assert allowed(Actor(name, ALL_ROLES), "authenticator.code", GOOD, person=name) == "own_enrolment"
    assert allowed(Actor(name, ALL_ROLES), "authenticator.code", GOOD, person="") == "missing_fact"


# ── one person, one yes; what reopens; what is taken back ───────────────────


@settings(max_examples=200, deadline=None)
@given(st.sampled_from("abc"), st.sampled_from(["", "yes"]), st.sampled_from("abc"), st.booleans(), st.booleans())
def test_nobody_says_yes_to_the_sample_and_to_the_release_of_one_version(
    broker: str, verdict: str, reviewer: str, required: bool, approve: bool
) -> None:
    reviewer = reviewer if verdict else ""
    sample = replace(GOOD.sample, required=required, verdict=verdict, decided_by=reviewer)
    facts = replace(
        GOOD,
        sample=sample,
        release=replace(GOOD.release, approve=approve),
        step_up=replace(GOOD.step_up, person=broker),
    )
    may = allowed(Actor(broker, ALL_ROLES), "release.decide", facts) == "ok"
    seen = verdict == "yes" or not required
    assert may is (not approve or (seen and not (verdict and reviewer == broker)))


@pytest.mark.parametrize(("clean", "reason"), [(True, "yes_twice"), (False, "ok")])
def test_who_approved_a_release_says_no_to_its_sample_but_not_yes(clean: bool, reason: str) -> None:
    sample = replace(GOOD.sample, verdict="", decided_by="", clean=clean, released_by=frozenset({"hana"}))
    assert allowed(who("hana"), "version.review", replace(GOOD, sample=sample)) == reason
    assert allowed(Actor("holger", ALL_ROLES), "version.review", replace(GOOD, sample=sample)) == "ok"


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("release.request", "certificate_reopened"),
        ("release.decide", "certificate_reopened"),
        ("grant.request", "certificate_reopened"),
        ("grant.decide", "certificate_reopened"),
        ("dataset.open", "ok"),
        ("release.withdraw", "ok"),
    ],
)
def test_on_a_reopened_assessment_rests_nothing_new_and_what_runs_goes_on(action: str, reason: str) -> None:
    actor = who(max(MAY[action] & {"rosa", "stella", "hana"} - ({"stella"} if action == "release.withdraw" else set())))
    facts = facts_for(action, actor)
    facts = replace(facts, certificate=replace(facts.certificate, reopened=True))
    assert allowed(actor, action, facts) == reason


@pytest.mark.parametrize("state", ["requested", "approved", "refused", "withdrawn"])
def test_only_an_approved_release_is_taken_back(state: str) -> None:
    facts = replace(GOOD, release=replace(GOOD.release, state=state))
    assert allowed(who("hana"), "release.withdraw", facts) == ("ok" if state == "approved" else "release_state")


@pytest.mark.parametrize(
    "state", ["draft", "under_assessment", "signed", "declined", "expired", "revoked", "superseded"]
)
@pytest.mark.parametrize("action", sorted(action for action in ACTIONS if action.startswith("determination.")))
def test_every_state_and_role_of_a_determination_has_one_answer(action: str, state: str) -> None:
    moves = {
        "determination.begin": {"draft"},
        "determination.sign": {"draft", "under_assessment"},
        "determination.decline": {"draft", "under_assessment"},
        "determination.countersign": {"signed"},
        "determination.reaffirm": {"signed"},
        "determination.revoke": {"signed"},
    }
    for actor in ACTORS:
        facts = facts_for(action, actor)
        facts = replace(facts, determination=replace(facts.determination, state=state))
        may = allowed(actor, action, facts) == "ok"
        assert may is (actor.name in MAY[action] and state in moves.get(action, {state})), actor
