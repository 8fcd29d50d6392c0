"""Replay: the numbers of a determination from the very version that it is bound to. No value comes out."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from enclave.core.errors import IntegrityError, InvalidError
from enclave.core.settings import build
from enclave.determination.account import ACCOUNT, read_account
from enclave.determination.certificate import Certificate
from enclave.determination.profile import class_profile
from enclave.determination.replay import BEFORE_SEALING, MEASURED_BEFORE, SEARCHED, Compared, compare
from enclave.risk.blinding import as_measured, as_searched, read_blinded
from enclave.risk.config import Context, Model, Population, Qi, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess, series_risk
from enclave.sealed.reader import OpenVersion

INDEXES = ("imaging", "documents")  # that intake makes of what it collected


def replay(version: OpenVersion, certificate: Certificate) -> tuple[Compared, ...]:
    """Derives and compares; raises ``IntegrityError`` for another root, ``InvalidError`` for too few methods."""
    if version.content_root != certificate.content_root or version.manifest.name != certificate.name:
        raise IntegrityError(
            "replay: wanted the version and content root that the certificate is bound to, got others",
            code="other_root",
        )
    methods = certificate.methods if isinstance(certificate.methods, dict) else {}
    tables = _tables(version)
    name = methods.get("measured_table")
    if name not in tables:
        raise InvalidError(
            "replay: wanted methods that name a measured table of the version, got none", code="no_table"
        )
    config = risk_config(methods)
    before = _before(version, certificate, config)
    # Distances by order or hierarchy need more than the released values; the table as it was measured has it.
    far = frozenset(one.name for one in config.sensitive if one.distance != "equal")
    beyond = frozenset() if before else frozenset((*BEFORE_SEALING, *(f"results.after.t.{name}" for name in far)))
    return compare(
        certificate,
        counts=_counts(certificate, version, tables, measured=tables[name], subject=config.subject),
        results={
            **_results(tables[name], config, far=far, before=before),
            "images": series_risk(tables[name], tables.get(INDEXES[0]), _headers(version), config),
        },
        account=read_account(_table(version, ACCOUNT)) if _holds(version, ACCOUNT) else None,
        beyond=beyond,
    )


def risk_config(methods: dict[str, Any]) -> RiskConfig:
    """What was measured and how, as the methods say it; raises ``InvalidError`` when they say too little."""
    try:
        sensitive = tuple(Sensitive(one["name"], distance=one["distance"]) for one in methods["sensitive"])
        return RiskConfig(
            qis=tuple(Qi(name) for name in methods["quasi_identifiers"]),
            subject=methods["subject"],
            nulls=methods["nulls"],
            sensitive=sensitive,
            model=build(Model, methods["model"], where="methods.model"),
            population=Population(size=methods["population_size"]),
            context=build(Context, methods.get("context", {}), where="methods.context"),
        )
    except (KeyError, TypeError):
        raise InvalidError(
            "replay: wanted methods with measured_table, quasi_identifiers, subject, nulls, sensitive, model and "
            "population_size, got fewer; the certificate was drafted by hand or by an older release",
            code="methods_incomplete",
        ) from None


def _tables(version: OpenVersion) -> dict[str, pa.Table]:
    return {
        entry.name.removeprefix("tables/"): _table(version, entry.name)
        for entry in version.manifest.entries
        if entry.kind == "table" and entry.name.startswith("tables/")
    }


def _headers(version: OpenVersion) -> dict[str, Any]:
    return {
        entry.name.removeprefix("series/"): entry.header for entry in version.manifest.entries if entry.kind == "series"
    }


def _holds(version: OpenVersion, name: str) -> bool:
    return any(entry.name == name for entry in version.manifest.entries)


def _table(version: OpenVersion, name: str) -> pa.Table:
    sink = bytearray()
    version.pieces(name, sink.extend)
    return pa.ipc.open_file(pa.BufferReader(bytes(sink))).read_all()


def _before(version: OpenVersion, certificate: Certificate, config: RiskConfig) -> dict[str, Any]:
    """What the table as it was measured tells: its measures and the search; {} for a version that does not hold it."""
    if not _holds(version, MEASURED_BEFORE):
        return {}
    blinded = read_blinded(_table(version, MEASURED_BEFORE))
    asked = as_measured(blinded, config)
    found = anonymise(as_searched(blinded), asked)
    after = asdict(found.assessment_after)
    stated = certificate.results.get("after", {}) if isinstance(certificate.results, dict) else {}
    searched = {name: getattr(found, name) for name in SEARCHED if isinstance(stated, dict) and name in stated}
    measured = assess(blinded.table, asked)
    names = [qi.name for qi in config.qis]
    return {
        "before": asdict(measured),
        "k_before": measured.k,
        "levels": dict(found.node),
        "suppressed_rows": found.suppressed,
        "after": {**searched, "t": after["t"]},
        "profile": {
            "before": class_profile(blinded.table, quasi_identifiers=names, subject=config.subject, k=config.model.k)
        },
    }


def _counts(
    certificate: Certificate,
    version: OpenVersion,
    tables: dict[str, pa.Table],
    *,
    measured: pa.Table,
    subject: str | None,
) -> dict[str, Any]:
    documents = [entry.header for entry in version.manifest.entries if entry.kind == "document"]
    indexes = [tables[name] for name in INDEXES[: 2 if documents else 1] if name in tables]
    studies = {study for table in indexes for study in table.column("study").to_pylist()}
    forms = [header for header in documents if isinstance(header, dict)]
    stated = certificate.counts.get("table_rows", {}) if isinstance(certificate.counts, dict) else {}
    return {
        "rows": measured.num_rows,
        "subjects": measured.num_rows if subject is None else pc.count_distinct(measured.column(subject)).as_py(),
        "studies": len(studies),
        "series": sum(entry.kind == "series" for entry in version.manifest.entries),
        "documents": {
            **{form: sum(header.get("form") == form for header in forms) for form in ("pdf", "report")},
            "flagged": sum(header.get("flagged") is not False for header in forms),
        },
        "table_rows": {name: tables[name].num_rows for name in stated if name in tables},
    }


def _results(measured: pa.Table, config: RiskConfig, *, far: frozenset[str], before: dict[str, Any]) -> dict[str, Any]:
    columns = tuple(replace(one, distance="equal") for one in config.sensitive)
    after = asdict(assess(measured, replace(config, sensitive=columns)))
    again = before.get("after", {"t": {}})
    after["t"] = {name: again["t"].get(name) if name in far else value for name, value in after["t"].items()}
    names = [qi.name for qi in config.qis]
    profile = class_profile(measured, quasi_identifiers=names, subject=config.subject, k=config.model.k)
    return {
        **before,
        "after": {**again, **after},
        "profile": {**before.get("profile", {}), "after": profile},
        "k_after": after["k"],
    }
