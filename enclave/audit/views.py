"""The query store's tables and the views that people ask: SQL as data.

``records`` holds what the segments hold, ``bodies`` the opened texts; both can be built again at any time. Views join
an act's intent with its end, so that one row is one act.
"""

from __future__ import annotations

TABLES = """
CREATE TABLE records (
  seq BIGINT, id VARCHAR, time TIMESTAMPTZ, received TIMESTAMPTZ, kind VARCHAR, actor VARCHAR,
  role VARCHAR, project VARCHAR, dataset VARCHAR, version INTEGER, objects VARCHAR[], session VARCHAR, kernel VARCHAR,
  cell VARCHAR, source VARCHAR, ticket VARCHAR, trace VARCHAR, outcome VARCHAR, reason VARCHAR, detail VARCHAR,
  writer_uid BIGINT, leaf_hash VARCHAR
);
CREATE TABLE bodies (seq BIGINT, name VARCHAR, text VARCHAR);
CREATE TABLE state (high_water BIGINT, schema INTEGER);
"""
SCHEMA = 1

# The engine takes the records apart itself: fast, and outside of Python's lock, so that appends do not wait.
SHAPE = """{"received": "VARCHAR", "writer": {"uid": "BIGINT"}, "event": {
  "id": "VARCHAR", "time": "VARCHAR", "kind": "VARCHAR", "actor": "VARCHAR", "role": "VARCHAR", "project": "VARCHAR",
  "dataset": "VARCHAR", "version": "INTEGER", "objects": ["VARCHAR"], "session": "VARCHAR", "kernel": "VARCHAR",
  "cell": "VARCHAR", "source": "VARCHAR", "ticket": "VARCHAR", "trace": "VARCHAR", "outcome": "VARCHAR",
  "reason": "VARCHAR", "detail": "JSON"}}"""
INGEST = f"""
INSERT INTO records
  SELECT seq, r.event.id, TRY_CAST(r.event.time AS TIMESTAMPTZ), TRY_CAST(r.received AS TIMESTAMPTZ), r.event.kind,
         r.event.actor, r.event.role, r.event.project, r.event.dataset, r.event.version, r.event.objects,
         r.event.session, r.event.kernel, r.event.cell, r.event.source, r.event.ticket, r.event.trace, r.event.outcome,
         r.event.reason, coalesce(r.event.detail::VARCHAR, '{{}}'), r.writer.uid, leaf_hash
  FROM (SELECT seq, leaf_hash, json_transform(payload, '{SHAPE}') AS r FROM batch_records WHERE json_valid(payload))
"""  # noqa: S608 - constants of this module

VIEWS = """
CREATE VIEW events AS
  SELECT seq, time, kind, split_part(kind, '.', -1) AS action, actor, role, project, dataset, version, objects,
         session, kernel, cell, source, outcome, reason, ticket, trace, detail::JSON AS detail, id, received,
         writer_uid, leaf_hash
  FROM records;

CREATE VIEW cell_executions AS
  SELECT coalesce(r.cell, r.id) AS cell, min(r.seq) AS seq, any_value(r.actor) AS actor,
         any_value(r.project) AS project,
         any_value(r.kernel) AS kernel, any_value(r.session) AS session, min(r.time) AS started,
         max(r.time) FILTER (r.outcome <> 'intent') AS ended,
         coalesce(arg_max(r.outcome, r.seq) FILTER (r.outcome <> 'intent'), 'running') AS status,
         arg_max(r.reason, r.seq) AS reason,
         any_value(r.detail::JSON ->> 'code_hash') AS code_hash,
         any_value(b.text) AS code,
         max((r.detail::JSON ->> 'duration_ms')::BIGINT) AS duration_ms,
         arg_max(r.detail::JSON -> 'datasets', r.seq) FILTER (r.outcome <> 'intent') AS datasets,
         arg_max(r.objects, r.seq) FILTER (r.outcome <> 'intent') AS objects,
         arg_max(r.detail::JSON -> 'outputs', r.seq) FILTER (r.outcome <> 'intent') AS outputs
  FROM records r LEFT JOIN bodies b ON b.seq = r.seq AND b.name = 'code'
  WHERE r.kind = 'cell.execute'
  GROUP BY coalesce(r.cell, r.id);

CREATE VIEW dataset_access AS
  SELECT seq, time, actor, project, dataset, version, kind, objects, kernel, cell, outcome, reason,
         (detail::JSON ->> 'size_bytes')::BIGINT AS size_bytes, detail::JSON ->> 'lease' AS lease
  FROM records WHERE kind LIKE 'dataset.%' OR kind LIKE 'lease.%';

CREATE VIEW egress_history AS
  SELECT seq, time, detail::JSON ->> 'request' AS request, split_part(kind, '.', -1) AS action, actor, role, project,
         outcome, reason, detail::JSON AS detail
  FROM records WHERE kind LIKE 'egress.%';

CREATE VIEW logins AS
  SELECT seq, time, actor, split_part(kind, '.', -1) AS action, outcome, reason, source, detail::JSON AS detail
  FROM records WHERE kind LIKE 'login.%';

CREATE VIEW admin_actions AS
  SELECT seq, time, actor, role, kind, project, dataset, version, outcome, reason, ticket, detail::JSON AS detail
  FROM records
  WHERE split_part(kind, '.', 1) IN
    ('project', 'version', 'determination', 'release', 'intake', 'vault', 'grant', 'key', 'report', 'audit', 'admin');

CREATE VIEW denials AS
  SELECT seq, time, kind, actor, role, project, dataset, version, kernel, cell, source, reason, detail::JSON AS detail
  FROM records WHERE outcome = 'refused';
"""

VIEW_NAMES = ("events", "cell_executions", "dataset_access", "egress_history", "logins", "admin_actions", "denials")
