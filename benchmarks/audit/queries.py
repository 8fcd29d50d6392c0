"""How long building the query store takes, and what people then wait for when they ask the views."""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.audit.contenders import make_home
from benchmarks.audit.year import BEGIN, DATASETS, DAYS, PEOPLE, PROJECTS, write_year
from enclave.audit.feed import Feed
from enclave.core.clock import format_time
from enclave.core.errors import EnclaveError
from enclave.keys.box import open_box
from enclave.keys.files import read_symmetric
from enclave.keys.uri import file_uri
from enclave.runtime.home import ensure_private_dir

ROWS = 1000


def measure(folder: Path, *, events: int, seed: int, rounds: int) -> dict[str, Any]:
    """Writes a year of ``events``, builds the store from it, asks every question ``rounds`` times with other values."""
    home = make_home(folder / "home")
    audit = home.state("audit")
    audit.mkdir(mode=0o700)
    began = time.monotonic()
    write_year(audit / "segments", events=events, seed=seed)
    _tell(f"{events} events written in {time.monotonic() - began:.0f} s")
    (audit / "bodies").mkdir(mode=0o700)
    ensure_private_dir(home.run_dir)
    box = open_box(file_uri(home.key_file("audit-body")))
    feed = Feed(audit, box=box, key=read_symmetric(home.key_file("audit-store")), socket=home.socket("auditstore"))
    try:
        built = _build(feed, events)
        return built | {"queries": _ask_all(feed, events, chance=random.Random(seed), rounds=rounds)}
    finally:
        feed.close()
        shutil.rmtree(home.run_dir, ignore_errors=True)


def _build(feed: Feed, events: int) -> dict[str, Any]:
    began = time.monotonic()
    feed.rebuild(events, progress=lambda mark: _tell(f"{mark} events in, {mark / (time.monotonic() - began):.0f}/s"))
    elapsed = time.monotonic() - began
    size = sum(path.stat().st_size for path in feed.path.parent.iterdir())
    return {"events": events, "rebuild_per_s": round(events / elapsed), "store_bytes_per_event": round(size / events)}


def _ask_all(feed: Feed, events: int, *, chance: random.Random, rounds: int) -> dict[str, Any]:
    """Milliseconds per kind of question; the first of each is asked like all others, with a cold cache."""
    waits: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, sql in questions(feed, events, chance):
            began = time.monotonic()
            try:
                rows = feed.query(sql, size=events, limit=ROWS, timeout_s=60, person="benchmark")
            except EnclaveError as error:
                _tell(f"{name}: {error.code}")
                waits.setdefault(name, []).append(60.0)
                continue
            waits.setdefault(name, []).append(time.monotonic() - began)
            _tell(f"{name}: {waits[name][-1] * 1000:.0f} ms, {len(rows.rows)} rows")
    every = [one for some in waits.values() for one in some]
    return {name: _figures(some) for name, some in waits.items()} | {"all": _figures(every)}


def _figures(waits: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(waits, n=20, method="inclusive") if len(waits) > 1 else waits * 19
    return {"p50_ms": round(cuts[9] * 1000, 1), "p95_ms": round(cuts[18] * 1000, 1)}


def questions(feed: Feed, events: int, chance: random.Random) -> Iterator[tuple[str, str]]:
    """What auditors filter by: a person, a dataset, a range of time, a cell, a project; each with values of its own."""
    person = f"actor = 'person-{chance.randrange(PEOPLE):03d}'"
    project = f"project = 'project-{chance.randrange(PROJECTS):02d}'"
    dataset = f"dataset = 'dataset-{chance.randrange(DATASETS):02d}'"
    day = BEGIN + timedelta(days=chance.randrange(DAYS - 30))
    some = f"SELECT cell FROM events WHERE kind = 'cell.execute' AND seq >= {chance.randrange(events):d} LIMIT 1"
    found = feed.query(some, size=events, limit=1, timeout_s=60, person="benchmark").rows
    cell = found[0][0] if found else ""
    yield "cells of a person, newest", f"SELECT * FROM cell_executions WHERE {person} ORDER BY seq DESC LIMIT 100"
    yield "cells of a person in a month", _range("cell_executions", "started", day, 30, person)
    yield "cells of a project in a day", _range("cell_executions", "started", day, 1, project)
    yield "one cell", f"SELECT * FROM cell_executions WHERE cell = '{cell}'"
    yield "events of one cell", f"SELECT * FROM events WHERE cell = '{cell}'"
    yield "reads of a dataset in a month", _range("dataset_access", "time", day, 30, dataset)
    yield "reads of a person, newest", f"SELECT * FROM dataset_access WHERE {person} ORDER BY seq DESC LIMIT 100"
    yield "events of a day", _range("events", "time", day, 1, "true")
    yield "refusals of a person", f"SELECT * FROM denials WHERE {person}"
    yield "refusals in a month by reason", _counted("denials", day, "reason")
    yield "egress of a project", f"SELECT * FROM egress_history WHERE {project}"
    yield "sign-ins of a person", f"SELECT * FROM logins WHERE {person}"
    yield "who read a dataset, whole year", f"SELECT actor, count(*) FROM dataset_access WHERE {dataset} GROUP BY actor"


def _range(view: str, column: str, day: Any, days: int, also: str) -> str:
    begin, end = format_time(day), format_time(day + timedelta(days=days))
    return f"SELECT * FROM {view} WHERE {also} AND {column} >= '{begin}' AND {column} < '{end}' ORDER BY seq LIMIT 1000"


def _counted(view: str, day: Any, by: str) -> str:
    begin, end = format_time(day), format_time(day + timedelta(days=30))
    return f"SELECT {by}, count(*) FROM {view} WHERE time >= '{begin}' AND time < '{end}' GROUP BY {by}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
