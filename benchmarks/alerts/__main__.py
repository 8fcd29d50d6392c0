"""``python -m benchmarks.alerts --seeds 501-520``: recall and false alerts per 1,000 person-days, as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform

import duckdb

from benchmarks.alerts.month import make_month
from benchmarks.alerts.score import score


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alerts")
    parser.add_argument(
        "--seeds", default="501-520", help="FIRST-LAST; 1 to 220 and 401 to 420 were used while the rules were written"
    )
    first, _, last = parser.parse_args().seeds.partition("-")
    rows = []
    for seed in range(int(first), int(last or first) + 1):
        month = make_month(seed)
        found = score(month)
        quiet = score(make_month(seed, planted=False))
        rows.append({"seed": seed, "events": month.events, **dataclasses.asdict(found), "quiet": quiet.false})
        month.engine.close()
    days = sum(row["person_days"] for row in rows)
    false = sum(len(row["false"]) for row in rows)
    total = {
        "recall": sum(row["told"] for row in rows) / sum(row["incidents"] for row in rows),
        "incidents": sum(row["incidents"] for row in rows),
        "alerts": sum(row["alerts"] for row in rows),
        "false_alerts": false,
        "person_days": days,
        "false_per_1000_person_days": round(1000 * false / days, 3),
        "false_without_incidents": sum(len(row["quiet"]) for row in rows),
        "worst_seed_per_1000": round(max(1000 * len(row["false"]) / row["person_days"] for row in rows), 3),
        "precision": round(1 - false / sum(row["alerts"] for row in rows), 4),
        "machine": f"{platform.machine()} Python {platform.python_version()} DuckDB {duckdb.__version__}",
    }
    print(json.dumps({"seeds": rows, **total}, indent=1, default=str))


if __name__ == "__main__":
    main()
