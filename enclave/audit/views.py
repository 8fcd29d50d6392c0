"""The query store's tables and the views that people ask: SQL as data.

``records`` holds what the segments hold, in their order, so that the bounds that the engine keeps per row group narrow
down a range of time; ``bodies`` holds the opened texts; ``cells`` has one row per execution, its intent joined with its
end when they come, so that who asks for the newest of a person reads few columns of all rows and all columns of few.
``acts`` repeats the few that are neither cells nor of datasets, what was sealed, and all refusals: nine of ten events
are the others, and whoever asks for sign-ins should not wait for them. All can be built again at any time.
"""

from __future__ import annotations

TABLES = """
CREATE TABLE records (
  seq BIGINT, start_seq BIGINT, time TIMESTAMPTZ, received TIMESTAMPTZ, kind VARCHAR, outcome VARCHAR, actor VARCHAR,
  role VARCHAR, project VARCHAR, dataset VARCHAR, version INTEGER, session VARCHAR, kernel VARCHAR, cell VARCHAR,
  source VARCHAR, ticket VARCHAR, trace VARCHAR, reason VARCHAR, request VARCHAR, lease VARCHAR, certificate VARCHAR,
  code_hash VARCHAR, duration_ms BIGINT, size_bytes BIGINT, writer_uid BIGINT, id VARCHAR, objects VARCHAR[],
  detail VARCHAR, leaf_hash BLOB
);
CREATE TABLE cells (
  seq BIGINT, cell VARCHAR, actor VARCHAR, project VARCHAR, kernel VARCHAR, session VARCHAR, started TIMESTAMPTZ,
  ended TIMESTAMPTZ, status VARCHAR, reason VARCHAR, code_hash VARCHAR, duration_ms BIGINT, datasets VARCHAR,
  objects VARCHAR, outputs VARCHAR, code VARCHAR,
  notebook VARCHAR, leases VARCHAR
);
CREATE TABLE acts AS FROM records LIMIT 0;
CREATE TABLE bodies (seq BIGINT, name VARCHAR, text VARCHAR);
CREATE TABLE state (high_water BIGINT, schema INTEGER);
"""
SCHEMA = 6
CELL = "cell.execute"

INGEST = """
INSERT INTO records
  SELECT seq, start_seq, TRY_CAST(time AS TIMESTAMPTZ), TRY_CAST(received AS TIMESTAMPTZ), kind, outcome, actor, role,
         project, dataset, version, session, kernel, cell, source, ticket, trace, reason, request, lease, certificate,
         code_hash, duration_ms, size_bytes, writer_uid, id, objects, detail, leaf_hash
  FROM batch_records
"""

INGEST_ACTS = """
INSERT INTO acts
  SELECT * FROM records
  WHERE seq >= ? AND (outcome = 'refused' OR kind = 'dataset.seal'
                      OR NOT (starts_with(kind, 'cell.') OR starts_with(kind, 'dataset.')))
"""

# A cell that begins; its end is joined at once when it came in the same batch. An end without a known beginning, as of
# a cell that was refused, is a row of its own.
INGEST_CELLS = f"""
INSERT INTO cells
  SELECT s.seq, coalesce(s.cell, s.id), s.actor, s.project, s.kernel, s.session, TRY_CAST(s.time AS TIMESTAMPTZ),
         TRY_CAST(CASE WHEN s.outcome = 'intent' THEN e.time ELSE s.time END AS TIMESTAMPTZ),
         CASE WHEN s.outcome = 'intent' THEN coalesce(e.outcome, 'running') ELSE s.outcome END,
         coalesce(e.reason, s.reason), s.code_hash, coalesce(e.duration_ms, s.duration_ms),
         coalesce(e.detail, s.detail)::JSON -> 'datasets', to_json(coalesce(e.objects, s.objects)),
         coalesce(e.detail, s.detail)::JSON -> 'outputs', b.text, n.text,
         coalesce(e.detail::JSON -> 'leases', s.detail::JSON -> 'leases')
  FROM batch_records s
    LEFT JOIN batch_records e ON e.start_seq = s.seq
    LEFT JOIN batch_bodies b ON b.seq = s.seq AND b.name = 'code'
    LEFT JOIN batch_bodies n ON n.seq = s.seq AND n.name = 'notebook'
  WHERE s.kind = '{CELL}' AND s.start_seq IS NULL
  ORDER BY s.seq
"""  # noqa: S608 - a constant of this module
END_CELLS = """
UPDATE cells SET ended = TRY_CAST(e.time AS TIMESTAMPTZ), status = e.outcome, reason = e.reason,
       duration_ms = e.duration_ms, datasets = e.detail::JSON -> 'datasets', objects = to_json(e.objects),
       outputs = e.detail::JSON -> 'outputs', leases = coalesce(e.detail::JSON -> 'leases', leases)
  FROM batch_records e WHERE e.start_seq = cells.seq AND e.start_seq < ?
"""
# Which cells have begun and not ended, for the ends that are still to come.
OPEN_CELLS = "SELECT cell, seq FROM cells WHERE status = 'running'"

VIEWS = """
CREATE VIEW events AS
  SELECT seq, time, kind, split_part(kind, '.', -1) AS action, actor, role, project, dataset, version, objects,
         session, kernel, cell, source, outcome, reason, ticket, trace, detail::JSON AS detail, id, received,
         writer_uid, lower(hex(leaf_hash)) AS leaf_hash
  FROM records;

CREATE VIEW cell_executions AS
  SELECT cell, seq, actor, project, kernel, session, started, ended, status, reason, code_hash, code, duration_ms,
         datasets::JSON AS datasets, from_json(objects, '["VARCHAR"]') AS objects, outputs::JSON AS outputs,
         notebook, leases::JSON AS leases
  FROM cells;

CREATE VIEW dataset_access AS
  SELECT seq, time, actor, project, dataset, version, kind, objects, kernel, cell, outcome, reason,
         size_bytes, lease
  FROM records WHERE kind LIKE 'dataset.%' OR kind LIKE 'lease.%';

CREATE VIEW egress_history AS
  SELECT seq, time, request, split_part(kind, '.', -1) AS action, actor, role, project,
         outcome, reason, detail::JSON AS detail
  FROM acts WHERE kind LIKE 'egress.%';

CREATE VIEW logins AS
  SELECT seq, time, actor, split_part(kind, '.', -1) AS action, outcome, reason, source, detail::JSON AS detail
  FROM acts WHERE kind LIKE 'login.%';

CREATE VIEW admin_actions AS
  SELECT seq, time, actor, role, kind, project, dataset, version, outcome, reason, ticket, detail::JSON AS detail
  FROM acts
  WHERE kind IN ('dataset.seal', 'kernel.end', 'kernel.freeze')
    OR (split_part(kind, '.', 1) IN
      ('project', 'version', 'determination', 'release', 'intake', 'vault', 'reidentify', 'grant', 'authenticator',
       'packages', 'report', 'audit', 'admin')
      AND kind NOT IN ('audit.drill', 'audit.query'));

CREATE VIEW denials AS
  SELECT seq, time, kind, actor, role, project, dataset, version, kernel, cell, source, reason, detail::JSON AS detail
  FROM acts WHERE outcome = 'refused';
"""

VIEW_NAMES = ("events", "cell_executions", "dataset_access", "egress_history", "logins", "admin_actions", "denials")
