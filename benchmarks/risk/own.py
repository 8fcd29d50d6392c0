"""One measurement of the product in its own process: ``python -m benchmarks.risk.own TASK PARQUET CONFIG.json``."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from enclave.risk.config import LDiversity, Model, Population, Qi, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess, stand
from enclave.risk.hierarchy import make_hierarchy

Task = Callable[[Any, RiskConfig, str], Any]


def main() -> None:
    """Loads the table, then times one call."""
    task, path, config_path = sys.argv[1:4]
    config = json.loads(Path(config_path).read_text("utf-8"))
    table = pq.read_table(path)
    trees = {name: make_hierarchy(rows, name=name) for name, rows in config["hierarchies"].items()}
    model = Model(k=config["k"], suppression_limit=config["suppression_limit"])
    asked = RiskConfig(qis=tuple(Qi(name, trees[name]) for name in config["qis"]), model=model)
    call = TASKS[task]
    began, began_cpu = time.perf_counter(), time.process_time()
    result = call(table, asked, config["sensitive"])
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "result": result, "peak_mib": peak}))


def _k(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    del sensitive
    return assess(table, asked).k


def _l(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    return assess(table, _with(asked, sensitive)).l[sensitive].distinct


def _t(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    return assess(table, _with(asked, sensitive)).t[sensitive]


def _with(asked: RiskConfig, sensitive: str, **changes: Any) -> RiskConfig:
    return RiskConfig(qis=asked.qis, sensitive=(Sensitive(sensitive),), **changes)


def _full(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    """Every measure, by subject, with a population of ten times the table."""
    model = Model(k=11, l=LDiversity("distinct", 2), t=0.3)
    people = Population(size=10 * table.num_rows)
    found = assess(table, _with(asked, sensitive, subject="subject", population=people, model=model))
    return {"classes": found.classes, "k": found.k, "pitman": found.population_uniqueness.pitman}


def _anonymise(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    del sensitive
    found = anonymise(table, asked)
    told = {"suppressed": found.suppressed, "node": found.node, "optimal": found.optimal}
    return {**told, "metric_value": found.metric_value, "entropy_with_left_out": found.entropy}


def _local(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    """The same by local recoding."""
    return _anonymise(table, replace(asked, model=replace(asked.model, recoding="local")), sensitive)


def _rest(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    """The optimum, and what it leaves out coarser."""
    return _anonymise(table, replace(asked, model=replace(asked.model, recoding="rest")), sensitive)


def _append(table: Any, asked: RiskConfig, sensitive: str) -> Any:
    """1,000 rows with subjects of their own; the answer alone is ``append_ms``."""
    model = Model(k=11, l=LDiversity("distinct", 2), t=0.9999)
    standing = stand(table, _with(asked, sensitive, subject="subject", model=model))
    fresh = pa.array(range(table.num_rows, table.num_rows + 1000))
    rows = table.slice(0, 1000).set_column(0, "subject", fresh)
    took = []
    for _ in range(5):
        began = time.perf_counter(), time.process_time()
        found = standing.append(rows)
        took.append((1000 * (time.perf_counter() - began[0]), 1000 * (time.process_time() - began[1])))
    return {"append_ms": sorted(took)[2], "new_subjects": found.new_subjects, "holds": found.holds}


TASKS: dict[str, Task] = {
    "k": _k,
    "l": _l,
    "t": _t,
    "full": _full,
    "anonymise": _anonymise,
    "local": _local,
    "rest": _rest,
    "append": _append,
}

if __name__ == "__main__":
    main()
