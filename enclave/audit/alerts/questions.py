"""What the watch may ask the query store: a closed list of SELECTs, so that no process can ask for more.

``watched`` is what rules see: every event by the time at which the ledger took it, and the planted events of drills,
each spelled out as often as it stands for and marked in ``drill``. Views for people never show planted events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from enclave.audit.alerts.rules import COLUMNS, Rule, known_rules
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import InvalidError
from enclave.wire.messages.audit import AskWatched, Rows

MAX_HITS: Final = 1000
_AHEAD: Final = timedelta(minutes=1)  # an event of this very moment is in
_DRILL_DAYS: Final = 3  # how long planted events count

WATCHED: Final = """
watched AS (
  SELECT seq, received AS moment, time, kind, actor, role, project, dataset, version, objects, session, kernel, cell,
         source, outcome, reason, ticket, detail::JSON AS detail, '' AS drill
  FROM records WHERE kind <> 'audit.drill' AND received >= $from AND received < $at
  UNION ALL
  SELECT seq, received - offset_s AS moment, received - offset_s + to_seconds((e ->> 'ahead_s')::BIGINT) AS time,
         e ->> 'kind', 'drill:' || drill, 'researcher', 'drill', e ->> 'dataset', (e ->> 'version')::INT,
         NULL::VARCHAR[], NULL, NULL, e ->> 'cell', e ->> 'source', e ->> 'outcome', e ->> 'reason', NULL,
         e -> 'detail', drill
  FROM (
    SELECT seq, received, detail::JSON -> 'event' AS e, detail::JSON ->> 'drill' AS drill,
           unnest(range(greatest(1, (detail::JSON -> 'event' ->> 'every_day_for')::INT))) AS day_number,
           to_seconds((detail::JSON -> 'event' ->> 'seconds_ago')::DOUBLE + 86400.0 * day_number) AS offset_s
    FROM records
    WHERE kind = 'audit.drill' AND received >= $drills AND received < $at
  ), range((e ->> 'times')::BIGINT) AS copies
)"""

# Questions beside the rules, for reviews and for the watch itself.
OTHERS: Final[Mapping[str, str]] = {
    "first_event": "SELECT min(received) AS moment, max(seq) AS seq FROM records WHERE received < $at",
    "period": (
        "SELECT kind, actor, outcome, count(*) AS events, max(seq) AS last_seq FROM records "
        "WHERE received >= $since AND received < $at GROUP BY kind, actor, outcome ORDER BY ALL"
    ),
    "new_networks": (
        "SELECT count(*) AS sign_ins FROM (SELECT actor, source, min(received) AS first FROM records "
        "WHERE kind = 'login.ok' AND source IS NOT NULL AND received < $at GROUP BY actor, source) "
        "WHERE first >= $since"
    ),
}
ARRIVALS: Final = (
    "SELECT kind, bool_or(outcome = 'refused') AS refused, count(*) AS events, max(seq) AS last_seq "
    "FROM records WHERE seq > $after GROUP BY kind ORDER BY kind"
)


def sql_of(message: AskWatched) -> str:
    """The SELECT for one question; raises ``InvalidError`` for a question that is not on the list."""
    since, at = parse_time(message.since), parse_time(message.at)
    if message.question == "arrivals":
        return ARRIVALS.replace("$after", str(int(message.after)))
    if message.question in OTHERS:
        return _filled(OTHERS[message.question], {"$since": since, "$at": at + _AHEAD})
    rule = known_rules().get(message.question)
    if rule is None:
        raise InvalidError("watch question: wanted a rule or question of this release, got another")
    return rule_sql(rule, since=since, at=at)


def rule_sql(rule: Rule, *, since: datetime, at: datetime) -> str:
    """The hits of ``rule`` among the events from ``since`` to ``at``, their baselines before."""
    times = {
        "$from": min(since, at) - timedelta(days=rule.history_days),
        "$drills": at - timedelta(days=_DRILL_DAYS),
        "$since": since,
        "$at": at + _AHEAD,
    }
    columns = ", ".join(COLUMNS)
    text = (
        f"WITH {WATCHED}, hits AS ({rule.sql}) "  # noqa: S608 - constants of the release
        # of too many the newest, for the others were told when they were
        f"SELECT * FROM (SELECT {columns} FROM hits WHERE value >= {rule.threshold!r} "
        f"ORDER BY last_seq DESC LIMIT {MAX_HITS}) ORDER BY first_seq"
    )
    return _filled(text, times)


def answer(message: AskWatched, *, query: Callable[[str], Rows]) -> Rows:
    """The rows of one question; ``query`` runs one SELECT over the store."""
    return query(sql_of(message))


def _filled(text: str, times: Mapping[str, datetime]) -> str:
    for name, value in times.items():
        text = text.replace(name, f"TIMESTAMPTZ '{format_time(value)}'")
    return text
