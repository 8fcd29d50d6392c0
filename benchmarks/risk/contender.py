"""One measurement of pycanon or anjana, run by the interpreter of their own environment: JSON on standard output.

``contender.py TASK PARQUET HIERARCHIES.json``; it imports nothing of the product.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np
import pandas as pd


def main() -> None:
    """Loads the table, then times one call."""
    task, path, config_path = sys.argv[1:4]
    with open(config_path, encoding="utf-8") as file:  # noqa: PTH123 - the other environment's script stays plain
        config = json.load(file)
    frame = pd.read_parquet(path)
    call = _call(task, frame, config)
    began, began_cpu = time.perf_counter(), time.process_time()
    result = call()
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "result": result, "peak_mib": peak}))


def _call(task: str, frame: pd.DataFrame, config: dict[str, Any]) -> Any:
    qis, sensitive = config["qis"], config["sensitive"]
    if task == "anonymise":
        return lambda: _anonymise(frame, config)
    from pycanon import anonymity

    return {
        "k": lambda: int(anonymity.k_anonymity(frame, qis)),
        "l": lambda: int(anonymity.l_diversity(frame, qis, [sensitive])),
        "t": lambda: float(anonymity.t_closeness(frame, qis, [sensitive])),
    }[task]


def _anonymise(frame: pd.DataFrame, config: dict[str, Any]) -> dict[str, Any]:
    from anjana.anonymity._k_anonymity import k_anonymity_inner  # what its k_anonymity calls; tells the levels, too

    trees = {  # one entry per value: given one per row it compares each row with all rows
        name: {level: np.array([row[level] for row in rows]) for level in range(len(rows[0]))}
        for name, rows in config["hierarchies"].items()
    }
    limit = 100 * config["suppression_limit"]
    left, _, levels = k_anonymity_inner(frame, [], config["qis"], config["k"], limit, trees)
    return {"suppressed": len(frame) - len(left), "node": {name: int(level) for name, level in levels.items()}}


if __name__ == "__main__":
    main()
