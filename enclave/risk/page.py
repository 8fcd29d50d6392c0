"""An assessment as a page for people: one file, no script, nothing fetched. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from enclave.risk.assessment import Assessment

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .6rem;"
    "border-bottom:1px solid #d0d7de}td:last-child{text-align:right;font-variant-numeric:tabular-nums}"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}.bar{fill:#0969da}"
)


def assessment_page(found: Assessment, *, k: int) -> str:
    """Self-contained HTML of the measures; ``k`` is what was asked for."""
    verdict = "holds" if found.k is not None and found.k >= k else "does not hold"
    rows = [
        ("Records", found.records),
        ("Subjects", found.subjects),
        ("Equivalence classes", found.classes),
        ("Smallest class (k)", found.k),
        ("Unique records", found.unique_records),
        ("Sample uniqueness", found.sample_uniqueness),
        ("Prosecutor risk, highest", found.prosecutor.max),
        ("Prosecutor risk, average", found.prosecutor.average),
        (f"Share of subjects in classes below {k}", found.prosecutor.share_at_risk),
        ("Journalist risk, highest", found.journalist.max),
        ("Journalist risk, average", found.journalist.average),
        ("Marketer risk", found.marketer),
    ]
    rows += _estimated(found)
    rows += [(f"k when null is read as {name}", value) for name, value in found.null_semantics.items()]
    measures = (found.t, found.delta, found.beta, found.enhanced_beta)
    columns = [
        (
            name,
            (one.distinct, one.entropy, one.recursive_c, *(by[name] for by in measures)),
        )
        for name, one in found.l.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Re-identification risk</title>'
        f"<style>{_STYLE}</style></head><body><h1>Re-identification risk</h1>"
        f"<p>The table <strong>{verdict}</strong> k = {k}.</p>{_notes(found)}"
        f"{_table(rows)}{_sensitive(columns)}{_images(found)}"
        "</body></html>\n"
    )


def _estimated(found: Assessment) -> list[tuple[str, float | None]]:
    population, strict = found.population_uniqueness, found.strict_average
    return [
        ("Strict average risk", None if strict is None else strict.average),
        ("Risk in context, average", found.context.average),
        ("Risk in context, highest", found.context.max),
        ("Smallest class in the population table (k-map)", found.journalist.k_map),
        ("Share of a population class that is in the table, highest", found.presence.max),
        ("Population uniqueness, Pitman", population.pitman),
        ("Population uniqueness, Zayatz", population.zayatz),
        ("Population uniqueness, SNB", population.snb),
        ("Population uniqueness, by Dankar's rule", population.dankar),
        ("Individual risk (Benedetti, Franconi), highest", found.individual.max),
        ("Subjects expected to be found by it", found.individual.expected),
    ]


def _images(found: Assessment) -> str:
    image = found.image
    if image is None:
        return ""
    alike = {
        "Acquisition fingerprint": image.fingerprint,
        "Fingerprint with the quasi-identifiers": image.with_table,
        "Number of studies": image.study_count,
        "Days between studies": image.study_intervals,
        "All of these together": image.together,
    }
    rows: list[tuple[str, float | None]] = [("Images", image.images), ("Subjects with images", image.subjects)]
    for name, one in alike.items():
        rows.append((f"{name}: smallest class", None if one is None else one.k))
        rows.append((f"{name}: subjects like nobody else", None if one is None else one.unique_subjects))
    rows.append(("Share of images known to show no face", None if image.faces is None else image.faces.coverage))
    rows.append(("Subjects linked to public copies", None if image.linkage is None else image.linkage.subjects))
    return f"<h2>Images</h2>{_table(rows)}"


def _notes(found: Assessment) -> str:
    parts = [f"{name} {'holds' if holds else 'does not hold'}" for name, holds in found.holds.items()]
    parts += [flag.replace("_", " ") for flag in found.flags]
    return "<ul>" + "".join(f"<li>{escape(part)}</li>" for part in parts) + "</ul>"


def _table(rows: list[tuple[str, float | None]]) -> str:
    return "<table>" + "".join(f"<tr><th>{escape(n)}</th><td>{_spell(v)}</td></tr>" for n, v in rows) + "</table>"


def _sensitive(columns: Sequence[tuple[str, tuple[float | None, ...]]]) -> str:
    if not columns:
        return ""
    head = "<tr><th>Column</th><th>distinct l</th><th>entropy l</th><th>recursive c</th><th>t</th>"
    head += "<th>delta</th><th>basic beta</th><th>enhanced beta</th></tr>"
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{_spell(value)}</td>' for value in values)}</tr>"
        for name, values in columns
    )
    return f"<h2>Sensitive columns, weakest class</h2><table>{head}{body}</table>"


def _spell(value: float | None) -> str:
    if value is None:
        return "not available"
    return str(value) if isinstance(value, int) else f"{value:.6g}"
