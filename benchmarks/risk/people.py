"""Invented people of any number: six quasi-identifiers with skewed, dependent values and one sensitive column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

QIS = ("age", "sex", "zip", "education", "marital", "origin")
SENSITIVE = "diagnosis"


def people(count: int, *, seed: int) -> Any:
    """An Arrow table of text columns, as CSV gives them: subject, six quasi-identifiers, diagnosis."""
    random = np.random.default_rng(seed)
    age = np.clip(random.normal(47, 19, count), 0, 99).astype(np.int64)
    area = (random.zipf(1.3, count) * 37 + random.integers(0, 40, count)) % 400
    education = np.clip(random.poisson(5, count) + (age > 60), 0, 15)
    marital = np.where(age < 20, 0, random.choice(7, count, p=[0.3, 0.38, 0.12, 0.08, 0.06, 0.04, 0.02]))
    origin = random.choice(5, count, p=[0.78, 0.1, 0.07, 0.03, 0.02])
    diagnosis = (random.zipf(1.6, count) + age // 30) % 40
    return pa.table({
        "subject": pa.array(np.arange(count)),
        "age": _text(age, [str(a) for a in range(100)]),
        "sex": _text(random.integers(0, 2, count), ["f", "m"]),
        "zip": _text(area, zips()),
        "education": _text(education, [f"e{i}" for i in range(16)]),
        "marital": _text(marital, [f"m{i}" for i in range(7)]),
        "origin": _text(origin, [f"o{i}" for i in range(5)]),
        SENSITIVE: _text(diagnosis, [f"d{i:02d}" for i in range(40)]),
    })  # fmt: skip


def zips() -> list[str]:
    """400 areas, ten to each of 40 groups of three digits."""
    return [f"{10000 + i // 10 * 100 + i % 10:05d}" for i in range(400)]


def hierarchies() -> dict[str, list[tuple[str, ...]]]:
    """``value;level1;...;*`` for each quasi-identifier."""
    return {
        "age": [(str(a), f"{a // 5 * 5}-", f"{a // 10 * 10}--", f"{a // 20 * 20}---", "*") for a in range(100)],
        "sex": [("f", "*"), ("m", "*")],
        "zip": [(z, z[:3], z[:2], "*") for z in zips()],
        "education": [(f"e{i}", f"g{i // 4}", "*") for i in range(16)],
        "marital": [(f"m{i}", f"n{min(i, 2)}", "*") for i in range(7)],
        "origin": [(f"o{i}", "*") for i in range(5)],
    }


def _text(codes: Any, labels: list[str]) -> Any:
    return pa.array(labels, pa.string()).take(pa.array(codes))
