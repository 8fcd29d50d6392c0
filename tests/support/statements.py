"""A determination that says all it must: what tests declare and measure about a made-up candidate."""

from __future__ import annotations

from typing import Any

PURPOSE = "To show."
TERMS: dict[str, Any] = {"purposes": (PURPOSE,), "controls": ("sandboxed kernels without network",)}
CONDITIONS = ("no linkage to registers",)
EVIDENCE: dict[str, Any] = {
    "counts": {"rows": 40, "subjects": 40, "studies": 44, "series": 60},
    "column_roles": {"patients": {"age": "quasi_identifier", "smoking_status": "sensitive"}},
    "deidentification": {
        "option_codes": ["113100", "113101", "113105"],
        "recipe_sha256": "12" * 32,
        "software_sha256": "34" * 32,
    },
    "assumptions": {
        "adversary": "knows age and sex",
        "population": "the cohort",
        "sampling_fraction": 1.0,
        "external_data": "voter lists",
    },
    "methods": {"quasi_identifiers": ["age"], "k": 5},
    "results": {"before": {"k": 1}, "after": {"k": 5}},
    "quality": {"checks": {"residual": 0}, "canaries": {"planted": 2, "found": 0}},
    "thresholds": {"k": 5, "justification": "customary"},
}
