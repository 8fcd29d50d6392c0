"""The rules over simulated months: everything planted is told, and almost nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from benchmarks.alerts.month import make_month
from benchmarks.alerts.score import hits_of, score
from enclave.audit.alerts.questions import MAX_HITS, OTHERS, rule_sql, sql_of
from enclave.audit.alerts.rules import known_rules, parse_rule, rules_digest
from enclave.audit.views import TABLES, VIEWS
from enclave.core.errors import InvalidError
from enclave.wire.messages.audit import AskWatched

SEED = 4711  # not one of those the rules were written with
GOOD = """
title = "T"
severity = "low"
what = "W."
remedy = "R."
measure = "m"
threshold = 1.0
on = ["dataset.read"]
every_s = 60
history_days = 1
window_hours = 1
sql = "SELECT 1"
[[drill]]
kind = "dataset.read"
"""


@pytest.fixture(scope="module")
def month():
    return make_month(SEED)


@pytest.mark.row("S10.6")
@pytest.mark.timeout(300)
def test_every_planted_incident_of_a_month_is_told_and_at_most_one_other_alert_comes(month) -> None:
    found = score(month)
    assert found.missed == []
    assert found.recall == 1.0
    assert len(found.false) <= 1, found.false


def test_every_rule_fires_for_what_is_planted_for_it(month) -> None:
    assert {incident.rule for incident in month.incidents} == set(known_rules())


@pytest.mark.timeout(300)
def test_what_is_told_depends_on_what_came_before_only(month) -> None:
    """Looking every twelve hours opens the same alerts as one look at the end: no rule knows the future."""
    days = timedelta(days=6)
    whole = hits_of(month, since=month.since, at=month.since + days)
    stepwise = {}
    for half_day in range(1, 13):
        at = month.since + timedelta(hours=12 * half_day)
        stepwise |= hits_of(month, since=max(month.since, at - timedelta(hours=30)), at=at)
    assert set(stepwise) == set(whole)


def cells(engine, at, count):
    """That many cells of one person, begun within an hour."""
    engine.execute(
        "INSERT INTO records BY NAME SELECT (SELECT count(*) FROM records) + n AS seq, 'rosa' AS actor, "
        "'cell.execute' AS kind, 'researcher' AS role, 'intent' AS outcome, '{}' AS detail, 1 AS writer_uid, "
        "to_hex((SELECT count(*) FROM records) + n) AS id, moment AS time, moment AS received "
        "FROM (SELECT n, $1::TIMESTAMPTZ + to_seconds(20 * n) AS moment FROM range($2) AS t(n))",
        [at, count],
    )


@pytest.mark.parametrize("apart", [1, 17])
def test_a_second_night_of_strange_hours_is_told_as_the_first_was_and_each_once(apart) -> None:
    engine = duckdb.connect(":memory:")
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(TABLES + VIEWS)
    first = datetime(2026, 10, 2, tzinfo=UTC)
    for day in range(-40, 20):
        cells(engine, first + timedelta(days=day, hours=9), 5)
        if day in (0, apart):
            cells(engine, first + timedelta(days=day, hours=21), 115)
    sql = rule_sql(known_rules()["off_hours"], since=first, at=first + timedelta(days=25))
    keys = sorted(row[1] for row in engine.execute(sql).fetchall())
    assert keys == [f"{first:%Y-%m-%d}", f"{first + timedelta(days=apart):%Y-%m-%d}"]


def test_each_stop_of_signing_is_told_a_second_one_of_the_same_day_too() -> None:
    engine = duckdb.connect(":memory:")
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(TABLES + VIEWS)
    morning = datetime(2026, 3, 2, 6, tzinfo=UTC)
    for seq, (hours, outcome) in enumerate([(0, "failed"), (1, "ok"), (2, "failed"), (3, "ok"), (26, "failed")]):
        engine.execute(
            "INSERT INTO records BY NAME SELECT $1 AS seq, 'service:auditd' AS actor, 'audit.signing' AS kind, "
            "$2 AS outcome, '{}' AS detail, 1 AS writer_uid, to_hex($1) AS id, $3::TIMESTAMPTZ AS time, "
            "$3::TIMESTAMPTZ AS received",
            [seq, outcome, morning + timedelta(hours=hours)],
        )
    sql = rule_sql(known_rules()["ledger_unsigned"], since=morning, at=morning + timedelta(hours=27))
    assert sorted(row[1:4] for row in engine.execute(sql).fetchall()) == [("0", 1.0, 0), ("2", 1.0, 2), ("4", 1.0, 4)]


def told_of_full_disks(*minutes: float, since: float = 0.0) -> list[str]:
    """The keys of the alerts about a disk that was found full so many minutes after six in the morning."""
    engine = duckdb.connect(":memory:")
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(TABLES + VIEWS)
    morning = datetime(2026, 3, 2, 6, tzinfo=UTC)
    for seq, after in enumerate(minutes):
        for number, outcome in ((2 * seq, "failed"), (2 * seq + 1, "ok")):
            engine.execute(
                "INSERT INTO records BY NAME SELECT $1 AS seq, 'service:auditd' AS actor, 'audit.space' AS kind, "
                "$2 AS outcome, '{}' AS detail, 1 AS writer_uid, to_hex($1) AS id, $3::TIMESTAMPTZ AS time, "
                "$3::TIMESTAMPTZ AS received",
                [number, outcome, morning + timedelta(minutes=after)],
            )
    at = morning + timedelta(minutes=since)
    sql = rule_sql(known_rules()["ledger_space"], since=at, at=at + timedelta(hours=26))
    rows = engine.execute(sql).fetchall()
    assert all(row[1] == str(row[3]) and row[2] >= known_rules()["ledger_space"].threshold for row in rows)
    return sorted((str(row[1]) for row in rows), key=int)


def test_a_disk_that_is_full_again_within_the_day_is_told_again() -> None:
    assert told_of_full_disks(0, 25, 120, 600) == ["0", "2", "4", "6"]
    assert told_of_full_disks(0, 24 * 60) == ["0", "2"]  # as it is told of one that stays full


def test_a_disk_at_its_edge_is_told_once_and_then_once_an_hour() -> None:
    edge = [float(minute) for minute in range(1, 150)]
    assert told_of_full_disks(*edge) == ["0", "118", "238"]


@pytest.mark.parametrize("since", [0.0, 0.5, 61.5, 130.0])
def test_a_later_look_tells_of_no_full_disk_under_another_key(since: float) -> None:
    edge = [float(minute) for minute in range(1, 150)]
    assert set(told_of_full_disks(*edge, since=since)) <= set(told_of_full_disks(*edge))


def test_a_question_that_is_not_on_the_list_is_none() -> None:
    at = "2026-11-22T12:00:00Z"
    for question in ("SELECT 1", "", "bulk_read; DROP TABLE records", "../bulk_read"):
        with pytest.raises(InvalidError):
            sql_of(AskWatched(question=question, since=at, at=at))
    for question in (*known_rules(), *OTHERS, "arrivals"):
        assert "SELECT" in sql_of(AskWatched(question=question, since=at, at=at))


def test_every_rule_says_what_it_means_what_to_do_and_has_a_drill() -> None:
    assert len(known_rules()) == 17
    for rule in known_rules().values():
        assert rule.what.endswith(".")
        assert rule.remedy.endswith(".")
        assert rule.drill
    assert len(rules_digest()) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('severity = "low"', 'severity = "nice"'),
        ("threshold = 1.0", "threshold = 0"),
        ("threshold = 1.0", "threshold = true"),
        ('on = ["dataset.read"]', 'on = ["no.such_kind"]'),
        ('kind = "dataset.read"\n', 'kind = "no.such_kind"\n'),
        ('title = "T"', ""),
        ('title = "T"', 'title = "T"\nenabled = false'),
        ("[[drill]]", "[[drill"),
        ('kind = "dataset.read"\n', 'kind = "dataset.read"\nactor = "rosa"\n'),
    ],
)
def test_a_malformed_rule_is_refused(old: str, new: str) -> None:
    assert parse_rule(GOOD, name="t").threshold == 1.0
    with pytest.raises(InvalidError):
        parse_rule(GOOD.replace(old, new), name="t")


def test_no_flood_of_hits_hides_a_newer_one() -> None:
    """More hits of a rule than an answer takes: the older of them were told when they came."""
    engine = duckdb.connect(":memory:")
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(TABLES + VIEWS)
    at = datetime(2026, 3, 2, 6, tzinfo=UTC)
    engine.execute(
        "INSERT INTO records BY NAME SELECT n AS seq, 'rosa' AS actor, 'reidentify.alarm' AS kind, 'ok' AS outcome, "
        "json_object('request', n::VARCHAR)::VARCHAR AS detail, $1::TIMESTAMPTZ + to_seconds(n) AS time, "
        "$1::TIMESTAMPTZ + to_seconds(n) AS received FROM range($2) AS t(n)",
        [at, MAX_HITS + 50],
    )
    found = engine.execute(rule_sql(known_rules()["break_glass"], since=at, at=at + timedelta(hours=2))).fetchall()
    assert [row[1] for row in found] == [str(n) for n in range(50, MAX_HITS + 50)]
