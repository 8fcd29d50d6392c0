"""Six years, legal holds, and what destruction leaves behind: every record and every proof, and nothing of a text."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit.bodies import BodyReader
from enclave.audit.body_keys import BodyKeys
from enclave.audit.daemon import AuditDaemon
from enclave.audit.prove import check_proof, prove
from enclave.audit.retention import Hold, RetentionSettings, Subject, comes_of_age, covers, plan
from enclave.audit.retention_scan import scan
from enclave.audit.segments import Record, read_segment, segment_files
from enclave.audit.verify import read_vkey, verify_log
from enclave.core.errors import ConflictError, DeniedError, IntegrityError, InvalidError, NotFoundError
from enclave.keys.box import open_box
from enclave.policy.model import Actor
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import audit as m

CANARY = "CANARY-7f3a the text of a cell"
OLD = datetime(2019, 3, 5, 10, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Clock:
    """A clock that is set."""

    def __init__(self, at):
        self.at = at

    def now(self):
        self.at += timedelta(microseconds=1)
        return self.at


class Stand:
    """A ledger whose time is set, and the people who come to it."""

    def __init__(self, auditd):
        self.auditd, self.home, self.clock = auditd, auditd.home, Clock(OLD)
        auditd.people |= {
            "ada": Actor("ada", frozenset({"auditor"})),
            "stella": Actor("stella", frozenset({"data_steward"})),
            "rosa": Actor("rosa", frozenset({"researcher"})),
            "otto": Actor("otto", frozenset({"operator"})),
        }
        self.restart()

    def restart(self):
        self.auditd.stop()
        folder = self.home.state("audit")
        if not hasattr(self, "began"):  # nothing of the fixture's own first start, which was today
            for path in [*(folder / "segments").iterdir(), *(folder / "bodies").iterdir()]:
                path.unlink()
            shutil.rmtree(folder / "log")
            self.began = True
        daemon = AuditDaemon(self.home, log=Log("auditd"), resolve=self.auditd._person, clock=self.clock)
        daemon.start()
        self.auditd.daemon = daemon

    def ask(self, message):
        client = WireClient(self.home.socket("auditd"))
        try:
            return client.call(message, timeout_s=60)
        finally:
            client.close()

    def cell(self, text=CANARY, *, actor="rosa", kernel="k1", cell="c1", project="demo", outcome="intent", **fields):
        bodies = {"code": text} if outcome == "intent" else None
        return self.auditd.client.record(
            "cell.execute",
            actor=actor,
            outcome=outcome,
            kernel=kernel,
            cell=cell,
            project=project,
            bodies=bodies,
            **fields,
        ).seq

    def apply(self, token="stella"):
        digest = self.ask(m.PlanRetention(token="ada")).digest
        return self.ask(m.ApplyRetention(token=token, digest=digest, reason="Six years are over."))

    def texts(self):
        folder = self.home.state("audit")
        base = open_box(f"file:{self.home.key_file('audit-body')}")
        keys = BodyKeys(folder / "body-keys", base=base, clock=SystemClock())
        ids = {r["seq"]: r["event"]["id"] for r in self.auditd.records() if "bodies" in r}
        return {body.seq: body.text for body in BodyReader(folder / "bodies", box=keys).read(ids)}

    def frames(self):
        folder = self.home.state("audit") / "bodies"
        found = [item for path in segment_files(folder) for item in read_segment(path, max_record=1 << 22)]
        return {item.seq: item.payload for item in found if isinstance(item, Record)}

    def on_disk(self, data):
        found = []
        for path in self.home.root.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a checkpoint that took its place meanwhile
                found += [path.name] if path.is_file() and data in path.read_bytes() else []
        return found


@pytest.fixture
def stand(auditd):
    return Stand(auditd)


@pytest.mark.row("S10.5")
def test_after_six_years_a_text_is_gone_and_every_record_and_proof_stays(stand):
    gone = stand.cell()
    stand.clock.at = OLD + timedelta(days=40)
    also = stand.cell("another month")
    sealed = stand.frames()
    stand.clock.at = NOW
    kept = stand.cell("young")
    records = stand.auditd.records()[: kept + 1]
    before = stand.ask(m.State())
    assert stand.on_disk(sealed[gone]) == ["000000000001.seg"]
    done = stand.apply()
    assert (done.bodies, done.months) == (2, ("2019-03", "2019-04"))
    assert sorted(stand.texts()) == [kept, kept + 1]  # the reason of the destruction is a text too
    for seq in (gone, also):
        assert stand.on_disk(sealed[seq]) == []
        assert stand.on_disk(sealed[seq][50:90]) == []
    assert stand.auditd.records()[: kept + 1] == records
    rows = stand.ask(m.Query(token="ada", sql="SELECT seq, text FROM bodies ORDER BY seq")).rows
    assert [row[0] for row in rows][:2] == [kept, kept + 1]  # what follows is the text of this query
    assert CANARY not in str(rows)
    stand.ask(m.State())
    stand.auditd.stop()
    log = stand.home.state("audit")
    assert verify_log(log, against=[before.checkpoint]).ok
    proof = prove(log, gone, old_size=before.size)
    assert check_proof(proof, key=read_vkey(log / "log" / "vkey")).size == proof.size
    assert json.loads(proof.record)["bodies"]["code"]["bytes"] == len(CANARY)
    stand.restart()
    assert stand.cell("goes on") > kept


@pytest.mark.row("S10.5")
def test_an_older_copy_of_the_bodies_cannot_be_read_once_the_months_key_is_gone(stand):
    seq = stand.cell()
    event_id = stand.auditd.records()[seq]["event"]["id"]
    sealed = stand.frames()[seq]
    stand.clock.at = NOW
    stand.apply()
    keys = BodyKeys(
        stand.home.state("audit") / "body-keys",
        base=open_box(f"file:{stand.home.key_file('audit-body')}"),
        clock=SystemClock(),
    )
    with pytest.raises(IntegrityError):
        keys.open(sealed, context=b"enclave.audit.body:" + event_id.encode())


def test_nothing_of_less_than_six_years_is_planned(stand):
    stand.cell()
    stand.clock.at = OLD.replace(year=2025) - timedelta(seconds=1)
    assert stand.ask(m.PlanRetention(token="ada")).due == 0
    stand.clock.at = OLD.replace(year=2025) + timedelta(seconds=1)
    found = stand.ask(m.PlanRetention(token="ada"))
    assert (found.due, found.held, found.kept) == (1, 0, 0)


@pytest.mark.row("S10.5")
@pytest.mark.parametrize(
    "side",
    [
        {"project": "demo"},
        {"dataset": "demo-ct"},
        {"person": "rosa"},
        {"since": "2019-01-01T00:00:00Z", "until": "2020-01-01T00:00:00Z"},
        {"project": "demo", "person": "rosa"},
    ],
)
def test_a_legal_hold_keeps_what_fits_and_only_that_until_it_is_lifted(stand, side):
    held = stand.cell(kernel="k1", cell="c1")
    stand.cell(kernel="k1", cell="c1", outcome="ok", detail={"datasets": ["demo-ct@3"]})
    sibling = stand.cell("same kernel", kernel="k1", cell="c2")
    free = stand.cell("other", actor="rolf", kernel="k2", cell="c3", project="other") if "since" not in side else None
    hold = stand.ask(m.PlaceHold(token="stella", reason="A complaint.", ticket="L-1", **side)).id
    stand.clock.at = NOW
    assert [row.id for row in stand.ask(m.ListHolds(token="ada")).holds] == [hold]
    stand.apply()
    texts = stand.texts()
    assert {held, sibling} <= set(texts)
    assert free not in texts
    stand.ask(m.LiftHold(token="ada", id=hold, reason="Settled.", ticket="L-1"))
    assert stand.ask(m.ListHolds(token="ada")).holds == ()
    stand.apply()
    assert not {held, sibling} & set(stand.texts())
    placed, lifted = stand.auditd.events(kind="audit.hold_placed"), stand.auditd.events(kind="audit.hold_lifted")
    assert [(e["actor"], e["outcome"], e["ticket"]) for e in placed + lifted] == [
        ("stella", "ok", "L-1"),
        ("ada", "ok", "L-1"),
    ]


def test_nobody_lifts_a_hold_by_writing_an_event_from_elsewhere(stand):
    """Any process of the enclave can append; only what the ledger itself wrote ends a hold."""
    from enclave.audit.retention_scan import scan

    hold = stand.ask(m.PlaceHold(token="ada", reason="A complaint.", project="demo")).id
    stand.auditd.client.record("audit.hold_lifted", actor="service:airlock", detail={"hold": hold})
    assert scan(stand.home.state("audit"), with_body=set(), own_uid=os.getuid() + 1).holds[0].id == hold


ACTS = {
    "audit.hold_placed": (lambda token: m.PlaceHold(token=token, reason="Why.", project="demo"), {"ada", "stella"}),
    "audit.hold_lifted": (lambda token: m.LiftHold(token=token, id="0" * 16, reason="Why."), {"ada"}),
    "audit.retention": (lambda token: m.ApplyRetention(token=token, digest="0" * 64, reason="Why."), {"stella"}),
}


@pytest.mark.row("S7.1")
@pytest.mark.parametrize("kind", ACTS)
def test_each_act_is_refused_for_every_other_role_with_an_event(stand, kind):
    make, may = ACTS[kind]
    others = [name for name in ("ada", "stella", "rosa", "otto", "nobody") if name not in may]
    for name in others:
        with pytest.raises(DeniedError):
            stand.ask(make(name))
    refused = stand.auditd.events(kind=kind, outcome="refused")
    assert [event["actor"] for event in refused] == ["unknown" if name == "nobody" else name for name in others]
    for act in (m.PlanRetention, m.ListHolds):
        with pytest.raises(DeniedError):
            stand.ask(act(token="rosa"))


def test_only_the_plan_that_was_shown_is_carried_out_and_only_with_a_reason(stand):
    stand.cell()
    stand.clock.at = NOW
    digest = stand.ask(m.PlanRetention(token="ada")).digest
    with pytest.raises(InvalidError):
        stand.ask(m.ApplyRetention(token="stella", digest=digest, reason=" "))
    stand.ask(m.PlaceHold(token="ada", reason="A complaint.", person="rosa"))
    with pytest.raises(ConflictError):
        stand.ask(m.ApplyRetention(token="stella", digest=digest, reason="Over."))
    assert len(stand.texts()) == 2
    assert stand.auditd.events(kind="audit.retention", outcome="refused")[0]["reason"] == "plan_changed"
    with pytest.raises(NotFoundError):
        stand.ask(m.LiftHold(token="ada", id="none", reason="Why."))
    with pytest.raises(InvalidError):
        stand.ask(m.PlaceHold(token="ada", reason="Why."))


def test_a_clock_that_was_set_ahead_makes_nothing_come_of_age_that_a_witness_would_not(stand, tmp_path):
    from enclave.audit.checkpoint import COSIGNER, VerifierKey
    from enclave.audit.cosignature import cosign
    from enclave.keys.files import new_ed25519
    from enclave.keys.sign import open_signer

    stand.cell()
    text = stand.ask(m.State()).checkpoint
    new_ed25519(tmp_path / "w.key")
    signer = open_signer(f"file:{tmp_path / 'w.key'}")
    key = VerifierKey("witness.example/w1", signer.public_key, COSIGNER)
    stand.auditd.stop()
    cosigned = stand.home.state("audit") / "log" / "cosigned"
    cosigned.mkdir(exist_ok=True)
    line = cosign(text, key=key, sign=signer.sign, time_s=int(OLD.timestamp()))
    (cosigned / "away.checkpoint").write_text(text + line)
    place = f'[[copies.witnesses]]\nname = "away"\nurl = "unix:{tmp_path}/none"\nvkey = "{key}"\n'
    stand.home.settings_file.write_text(place)
    stand.clock.at = NOW
    stand.restart()
    assert stand.ask(m.PlanRetention(token="ada")).due == 0


def test_destruction_that_was_cut_short_is_finished_the_next_time(stand, monkeypatch):
    from enclave.audit import bodies

    stand.cell()
    stand.clock.at = OLD + timedelta(days=40)
    stand.cell("another")
    stand.clock.at = NOW
    real = bodies.overwrite

    def broken(fd):
        raise OSError(28, "full")

    monkeypatch.setattr(bodies, "overwrite", broken)
    with pytest.raises(Exception, match="do it again"):
        stand.apply()
    assert stand.auditd.events(kind="audit.retention", outcome="failed")
    monkeypatch.setattr(bodies, "overwrite", real)
    assert stand.apply().months == ("2019-03", "2019-04")
    assert CANARY not in stand.texts().values()
    stand.ask(m.State())
    assert verify_log(stand.home.state("audit")).ok


def test_bodies_from_before_there_were_month_keys_are_read(stand):
    seq = stand.cell()
    event_id = stand.auditd.records()[seq]["event"]["id"]
    base = open_box(f"file:{stand.home.key_file('audit-body')}")
    context = b"enclave.audit.body:" + event_id.encode()
    keys = BodyKeys(stand.home.state("audit") / "body-keys", base=base, clock=SystemClock())
    assert keys.open(base.seal(b"old", context=context), context=context) == b"old"


# --- the policy ---


def subject(received, kind="cell.execute", **about):
    sides = {side: frozenset(about.get(side, ())) for side in ("projects", "datasets", "people")}
    return Subject(0, kind, received, **sides)


@settings(deadline=None)
@given(received=st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)), years=st.integers(6, 30))  # noqa: DTZ001
def test_nothing_comes_of_age_before_its_years_are_over(received, years):
    at = received.replace(tzinfo=UTC)
    young = comes_of_age(subject(at), settings=RetentionSettings(years=years)) - at
    assert timedelta(days=365 * years + years // 4 - 1) <= young <= timedelta(days=366 + 365 * years)


def test_the_longest_class_that_fits_counts_and_none_is_below_six_years():
    kept = RetentionSettings(years=6, classes={"egress": 10, "egress.vote": 12})
    ages = {
        kind: comes_of_age(subject(OLD, kind), settings=kept).year
        for kind in ("cell.execute", "egress.submit", "egress.vote")
    }
    assert ages == {"cell.execute": 2025, "egress.submit": 2029, "egress.vote": 2031}
    assert comes_of_age(subject(datetime(2020, 2, 29, tzinfo=UTC)), settings=kept) == datetime(2026, 3, 1, tzinfo=UTC)
    for wrong in ({"years": 5}, {"classes": {"cell": 5}}):
        with pytest.raises(InvalidError):
            RetentionSettings(**wrong)


SIDES = st.fixed_dictionaries({s: st.sampled_from(["", "a", "b"]) for s in ("project", "dataset", "person")})


@given(
    sides=SIDES,
    projects=st.sets(st.sampled_from("ab")),
    datasets=st.sets(st.sampled_from("ab")),
    people=st.sets(st.sampled_from("ab")),
)
def test_a_hold_covers_what_fits_all_of_its_sides(sides, projects, datasets, people):
    found = subject(OLD, projects=projects, datasets=datasets, people=people)
    named = [(sides["project"], projects), (sides["dataset"], datasets), (sides["person"], people)]
    hold = Hold(id="h", **sides)
    assert covers(hold, found) == all(not side or side in about for side, about in named)
    held = plan([found], [hold], settings=RetentionSettings(), at=NOW).held
    assert (held == (0,)) == covers(hold, found)


def test_the_commands_hold_plan_destroy_and_lift(stand, monkeypatch, tmp_path):
    import time

    from enclave.cli.session import Session, write_session

    monkeypatch.setenv("ENCLAVE_SESSION", str(tmp_path / "session.json"))
    stand.cell()
    stand.clock.at = NOW

    def run(token, *words):
        write_session(stand.home, Session(token=token, person=token, expires=int(time.time()) + 60))
        command = [sys.executable, "-m", "enclave.cli.main", "audit", *words, "--home", str(stand.home.root)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    placed = json.loads(run("ada", "hold", "place", "--person", "rosa", "--reason", "Case.", "--json", "-").stdout)
    assert placed["id"] in run("ada", "hold", "list").stderr
    assert json.loads(run("ada", "retention", "plan", "--json", "-").stdout)["held"] == 1
    assert run("stella", "hold", "lift", placed["id"], "--reason", "No.").returncode == 10
    assert run("ada", "hold", "lift", placed["id"], "--reason", "Settled.").returncode == 0
    digest = json.loads(run("ada", "retention", "plan", "--json", "-").stdout)["digest"]
    assert run("ada", "retention", "apply", digest, "--reason", "Over.").returncode == 10
    gone = run("stella", "retention", "apply", digest, "--reason", "Over.", "--json", "-")
    assert json.loads(gone.stdout)["bodies"] == 1


def test_without_a_place_for_a_new_months_key_nothing_is_recorded_and_it_works_again(stand, monkeypatch):
    from enclave.audit import body_keys
    from enclave.core.errors import UnavailableError

    stand.cell()
    stand.clock.at = NOW
    real = body_keys.write_file

    def full(*_args, **_options):
        raise OSError(28, "full")

    monkeypatch.setattr(body_keys, "write_file", full)
    before = len(stand.auditd.records())
    with pytest.raises(UnavailableError):
        stand.cell("refused")
    assert len(stand.auditd.records()) == before
    monkeypatch.setattr(body_keys, "write_file", real)
    assert stand.cell("taken") in stand.texts()


def scheduled(stand, days):
    """The stand's ledger with this notice, as its settings file says."""
    stand.auditd.stop()
    stand.home.settings_file.write_text(f"[retention]\nnotice_days = {days}\n", "utf-8")
    stand.restart()
    return stand.auditd.daemon._retention


def notices(stand):
    return [e["detail"] for e in stand.auditd.events(kind="audit.retention_due")]


@pytest.mark.row("S10.5")
def test_what_is_of_age_is_told_once_and_without_a_schedule_nothing_is_destroyed(stand):
    stand.cell()
    stand.clock.at = NOW
    desk = stand.auditd.daemon._retention
    for _ in range(3):
        assert desk.look() is None
        stand.clock.at += timedelta(days=400)
    assert [(n["due"], n["held"], n["notice_days"]) for n in notices(stand)] == [(1, 0, 0)]
    assert CANARY in stand.texts().values()


@pytest.mark.row("S10.5")
def test_on_a_schedule_a_text_goes_after_its_notice_and_not_before(stand):
    stand.cell()
    desk = scheduled(stand, 30)
    stand.clock.at = NOW
    assert desk.look() is None
    stand.clock.at = NOW + timedelta(days=29)
    assert desk.look() is None
    assert CANARY in stand.texts().values()
    stand.clock.at = NOW + timedelta(days=31)
    assert desk.look().bodies == 1
    assert CANARY not in stand.texts().values()
    assert len(notices(stand)) == 1
    acts = [e for e in stand.auditd.events(kind="audit.retention") if e["actor"] == "service:auditd"]
    assert [e["outcome"] for e in acts] == ["intent", "ok"]
    assert desk.look() is None
    stand.ask(m.State())
    assert verify_log(stand.home.state("audit")).ok


def test_a_hold_that_comes_after_the_notice_keeps_the_text(stand):
    stand.cell()
    desk = scheduled(stand, 30)
    stand.clock.at = NOW
    desk.look()
    stand.ask(m.PlaceHold(token="ada", reason="A case.", project="demo"))
    stand.clock.at = NOW + timedelta(days=60)
    assert desk.look() is None
    assert CANARY in stand.texts().values()


def test_a_text_that_came_of_age_after_the_notice_waits_for_its_own(stand):
    stand.cell()
    stand.clock.at = OLD + timedelta(days=20)
    stand.cell("later by twenty days", cell="c2", kernel="k2")
    desk = scheduled(stand, 30)
    stand.clock.at = OLD.replace(year=OLD.year + 6) + timedelta(days=1)
    assert desk.look() is None
    stand.clock.at += timedelta(days=31)
    assert desk.look().bodies == 1
    assert "later by twenty days" in stand.texts().values()
    assert desk.look() is None
    assert len(notices(stand)) == 2
    stand.clock.at += timedelta(days=31)
    assert desk.look().bodies == 1


def test_nobody_but_the_ledger_gives_notice(stand):
    stand.cell()
    desk = scheduled(stand, 7)
    stand.clock.at = NOW
    found = desk._scan(desk._with_body())
    assert found.notices == ()
    desk.look()
    other = scan(stand.home.state("audit"), with_body=set(), own_uid=os.getuid() + 1)
    assert other.notices == ()
    assert len(desk._scan(set()).notices) == 1


def test_a_short_notice_is_refused():
    for days in (-1, 1, 6):
        with pytest.raises(InvalidError):
            RetentionSettings(notice_days=days)
    assert RetentionSettings(notice_days=7).notice_days == 7


def test_nobody_narrows_a_hold_by_placing_it_again_from_elsewhere(stand):
    hold = stand.ask(m.PlaceHold(token="ada", reason="A complaint.", project="demo")).id
    told = {"hold": hold, "until": "2001-01-01T00:00:00Z"}
    stand.auditd.client.record("audit.hold_placed", actor="service:airlock", project="demo", detail=told)
    folder = stand.home.state("audit")
    assert [one.until for one in scan(folder, with_body=set(), own_uid=os.getuid() + 1).holds] == [None]
