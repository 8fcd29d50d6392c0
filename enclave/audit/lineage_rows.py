"""Which events a lineage needs: an auditor's own queries, page by page. Names are checked before they become SQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from enclave.audit.lineage import Graph, requests_of, trace
from enclave.core.canonical import parse_json
from enclave.core.errors import EnclaveError, InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import VersionName, check_name
from enclave.wire.messages.audit import Rows

Ask = Callable[[str, int], Rows]
PAGE: Final = 2000
_HEX: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
_COLUMNS: Final = (
    "seq, time, kind, actor, project, dataset, version, objects, kernel, cell, outcome, "
    "CASE WHEN kind = 'cell.execute' "
    "THEN json_object('code_hash', detail -> 'code_hash', 'leases', detail -> 'leases') ELSE detail END AS detail"
)
_KEPT: Final = "('intermediate.save', 'intermediate.load')"
_OF_KERNEL: Final = (
    "('kernel.start', 'dataset.open', 'dataset.read', 'cell.execute', 'cell.leases', 'egress.submit', "
    "'intermediate.save', 'intermediate.load')"
)
_PAPERS: Final = "('version.register', 'determination.sign', 'release.decide', 'grant.decide')"


def subject_of(text: str) -> str:
    """What a person asked for: NAME@V, 32 or 64 hex digits, or a file here, which is hashed.

    Raises ``InvalidError`` for anything else.
    """
    if _HEX.fullmatch(text):
        return text
    path = Path(text)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return check_subject(text)


def check_subject(text: str) -> str:
    """NAME@V or hex digits, as ``trace`` takes it; raises ``InvalidError``."""
    if _HEX.fullmatch(text):
        return text
    try:
        name = VersionName.parse(text)
        check_name(name.dataset, what="dataset")
    except EnclaveError:
        raise InvalidError(
            "lineage: wanted a file, its SHA-256, the id of a request, or NAME@V, got something else"
        ) from None
    return str(name)


def lineage(subject: str, ask: Ask) -> Graph:
    """The graph of a checked subject; raises ``NotFoundError`` when the ledger knows nothing of it."""
    subject = check_subject(subject)
    rows = _of_version(VersionName.parse(subject), ask) if "@" in subject else _of_file(subject, ask)
    graph = trace(_with_purposes(rows, ask), subject=subject)
    if len(graph.nodes) < 2:
        raise NotFoundError("lineage: wanted what the ledger knows of it, got nothing; compare the name or the file")
    return graph


def _of_file(name: str, ask: Ask) -> list[dict[str, Any]]:
    single = " OR ".join(f"(detail ->> '{key}') = '{name}'" for key in ("request", "manifest_sha256", "package_sha256"))
    named = f"{single} OR contains(coalesce(detail ->> 'sha256', ''), '{name}')"
    requests = requests_of(_pages(f"kind LIKE 'egress.%' AND ({named})", ask), name)
    if not requests:
        return []
    egress = _pages(f"kind LIKE 'egress.%' AND (detail ->> 'request') IN {_listed(requests)}", ask)
    kernels = {row["kernel"] for row in egress if row["kind"] == "egress.submit" and row["kernel"]}
    return [*egress, *_of_kernels(kernels, ask)]


def _of_version(name: VersionName, ask: Ask) -> list[dict[str, Any]]:
    place = f"dataset = '{name.dataset}' AND version = {name.version:d}"
    opened = _pages(f"{place} AND kind = 'dataset.open' AND outcome = 'ok'", ask)
    inside = _of_kernels({row["kernel"] for row in opened if row["kernel"]}, ask)
    submitted = {row["detail"].get("request") for row in inside if row["kind"] == "egress.submit"} - {None, ""}
    egress = (
        _pages(f"kind LIKE 'egress.%' AND (detail ->> 'request') IN {_listed(submitted)}", ask) if submitted else []
    )
    return _once([*inside, *egress, *_pages(f"{place} AND kind IN {_PAPERS}", ask)])


def _of_kernels(kernels: set[str], ask: Ask) -> list[dict[str, Any]]:
    """Everything of these kernels and of those that saved for them or loaded from them, however far that goes."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    while kernels - seen:
        found = _pages(f"kernel IN {_listed(kernels - seen)} AND kind IN {_OF_KERNEL}", ask)
        seen |= kernels
        rows += found
        kept = {row["detail"].get("intermediate") for row in found if str(row["kind"]).startswith("intermediate.")}
        if kept - {None}:
            where = f"kind IN {_KEPT} AND (detail ->> 'intermediate') IN {_listed(kept - {None})}"
            kernels = {row["kernel"] for row in _pages(where, ask) if row["kernel"]}
    versions = {(row["dataset"], row["version"]) for row in rows if row["dataset"] and row["version"]}
    for dataset, version in sorted(versions):
        where = f"dataset = '{check_name(dataset, what='dataset')}' AND version = {int(version):d}"
        rows += _pages(f"{where} AND kind IN {_PAPERS}", ask)
    return _once(rows)


def _with_purposes(rows: list[dict[str, Any]], ask: Ask) -> list[dict[str, Any]]:
    """Purposes are words of people and stand encrypted beside the records; auditors may read them."""
    projects = {row["project"] for row in rows if row["project"]}
    submits = {int(row["seq"]) for row in rows if row["kind"] == "egress.submit"}
    texts: dict[int, dict[str, str]] = {}
    of_project: dict[str, str] = {}
    if submits:
        listed = ", ".join(map(str, sorted(submits)))
        for seq, name, text in ask(f"SELECT seq, name, text FROM bodies WHERE seq IN ({listed})", PAGE).rows:  # noqa: S608 - only numbers
            texts.setdefault(int(seq), {})[str(name)] = str(text)
    if projects:
        sql = (
            "SELECT r.project, b.text FROM bodies b JOIN records r ON r.seq = b.seq "  # noqa: S608 - checked names
            "WHERE r.kind = 'project.create' AND b.name = 'purpose' "
            f"AND r.project IN {_listed(projects)} ORDER BY b.seq"
        )
        of_project = {str(project): str(text) for project, text in ask(sql, PAGE).rows}
    notebooks = _notebooks({row["kernel"] for row in rows if row["kind"] == "kernel.start"}, ask)
    for row in rows:
        if row["kind"] == "dataset.open" and row["project"] in of_project:
            row["detail"]["purpose"] = of_project[row["project"]]
        if row["kind"] == "kernel.start" and row["kernel"] in notebooks:
            row["detail"]["notebook"] = notebooks[row["kernel"]]
        row["detail"].update(texts.get(int(row["seq"]), {}))
    return rows


def _notebooks(kernels: set[str], ask: Ask) -> dict[str, str]:
    """What clients called the notebooks of these kernels; a kernel has one."""
    if not kernels:
        return {}
    sql = (
        "SELECT kernel, min(notebook) FROM cell_executions "  # noqa: S608 - checked names
        f"WHERE notebook IS NOT NULL AND kernel IN {_listed(kernels)} GROUP BY kernel"
    )
    return {str(kernel): str(notebook) for kernel, notebook in ask(sql, PAGE).rows}


def _pages(where: str, ask: Ask) -> list[dict[str, Any]]:
    """All events that fit, however many answers that takes."""
    found: list[dict[str, Any]] = []
    after = -1
    while True:
        sql = f"SELECT {_COLUMNS} FROM events WHERE seq > {after:d} AND ({where}) ORDER BY seq"  # noqa: S608 - checked names
        rows = ask(sql, PAGE)
        if rows.truncated and not rows.rows:
            raise UnavailableError("lineage: wanted an event that fits an answer, got a larger one")
        found.extend(_row(rows.columns, row) for row in rows.rows)
        if not rows.truncated:
            return found
        after = int(found[-1]["seq"])


def _row(columns: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    row = dict(zip(columns, values, strict=True))
    detail = row["detail"]
    row["detail"] = parse_json(detail.encode()) if isinstance(detail, str) else dict(detail or {})
    return row


def _once(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({int(row["seq"]): row for row in rows}.values())


def _listed(names: Iterable[str]) -> str:
    """Names in brackets for SQL; what is no plain name is left out, for none of ours has another form."""
    plain = sorted(name for name in names if re.fullmatch(r"[A-Za-z0-9._-]+", name))
    return "(" + ", ".join(f"'{name}'" for name in plain) + ")" if plain else "('')"
