"""The determination as people read it: what was determined by whom, what was measured, in one HTML page. Pure.

The certificate is what binds; the page repeats its digest and can be made again from it at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from enclave.determination.certificate import Certificate, SignedCertificate, parse_certificate
from enclave.determination.faces import faces_html
from enclave.determination.plots import SERIES, Plot, figure, number
from enclave.wire.messages.schema import Json

_STYLE: Final = """
:root{color-scheme:light}body{font:16px/1.5 system-ui,sans-serif;color:#1d2a30;background:#fff;max-width:46rem;
margin:2rem auto;padding:0 1rem}h1,h2,figcaption{line-height:1.25}figcaption,caption{font-weight:600;text-align:left}
figure{margin:1.5rem 0;break-inside:avoid}svg{width:100%;height:auto;font:12px system-ui,sans-serif}
.s0{fill:#8a949a}.s1{fill:#0f5c5c}table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{border-bottom:1px solid #ccd2d0;padding:.25rem .5rem;text-align:left;vertical-align:top}td{overflow-wrap:anywhere}
code{font-size:.85em;overflow-wrap:anywhere}
.note{border-left:4px solid #855400;padding:.25rem .75rem;background:#fbeed3}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MEASURES: Final = (
    ("highest chance, prosecutor", ("prosecutor", "max")),
    ("average chance, prosecutor", ("prosecutor", "average")),
    ("share of subjects at risk", ("prosecutor", "share_at_risk")),
    ("marketer", ("marketer",)),
    ("unique in the sample", ("sample_uniqueness",)),
    ("unique in the population (Pitman)", ("population_uniqueness", "pitman")),
)


def report_html(signed: SignedCertificate, *, faces: str = "") -> str:
    """The page. What a certificate does not hold is said to be missing, never drawn as nothing.

    ``faces``: where the heads are shown, before and after. The page itself, which is passed on, never holds a face.
    """
    certificate = parse_certificate(signed.text)
    parts = (_head(signed, certificate), _free_text(certificate), _figures(certificate))
    body = "".join((*parts, faces_html(certificate, at=faces), _sections(certificate)))
    name = escape(str(certificate.name))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>Determination of {name}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Expert determination of {name}</h1>{body}</main></body></html>\n"
    )


def plots_of(certificate: Certificate) -> tuple[Plot, ...]:
    """The figures for which the certificate holds the numbers."""
    results: Mapping[str, Any] = certificate.results if isinstance(certificate.results, dict) else {}
    profile = results.get("profile")
    found = [_measures(results)]
    if isinstance(profile, dict) and all(isinstance(profile.get(side), dict) for side in SERIES):
        found = [_sizes(profile), _thresholds(profile), *found, _drivers(profile)]
    return tuple(plot for plot in found if plot.rows)


# ── parts of the page ───────────────────────────────────────────────────────


def _head(signed: SignedCertificate, certificate: Certificate) -> str:
    expert = certificate.expert
    state = "signed" if signed.signature else "a draft that nobody has signed"
    if signed.signature and not signed.countersignature:
        state = "signed, not yet countersigned by the data steward"
    note = "" if signed.signature and signed.countersignature else f'<p class="note">This is {escape(state)}.</p>'
    return note + _rows(
        "In short",
        [
            ("Expert", f"{expert.name}, {expert.qualification}"),
            ("Independence", expert.independence),
            ("Engagement", expert.engagement),
            ("Data steward", certificate.steward),
            ("For projects", ", ".join(certificate.release.recipients)),
            ("For purposes", "; ".join(certificate.release.purposes)),
            ("Controls", "; ".join(certificate.release.controls)),
            ("In force", f"{certificate.not_before} to {certificate.expires}"),
            ("Conditions", "; ".join(certificate.conditions)),
            ("Assessed anew when", ", ".join(word.replace("_", " ") for word in certificate.triggers)),
            ("Content root", certificate.content_root),
            ("Certificate", certificate.id),
            ("SHA-256 of the signed text", hashlib.sha256(signed.text).hexdigest()),
        ],
    )


def _free_text(certificate: Certificate) -> str:
    """What no measure covers is said before the measures."""
    counts = certificate.counts.get("documents") if isinstance(certificate.counts, dict) else None
    flagged = counts.get("flagged") if isinstance(counts, dict) else None
    if not isinstance(flagged, int) or flagged < 1:
        return ""
    return (
        f'<p class="note">This version holds {flagged} documents with cleaned free text. Detectors are never complete, '
        "and k does not measure words: each is flagged, and a sample of them waits for a person.</p>"
    )


def _figures(certificate: Certificate) -> str:
    plots = plots_of(certificate)
    drawn = "".join(figure(plot) for plot in plots)
    note = "" if len(plots) > 1 else "<p>This certificate holds no class sizes; they cannot be drawn.</p>"
    return f"<h2>What was measured</h2>{drawn}{note}{_images(certificate)}"


def _images(certificate: Certificate) -> str:
    """Who looks alike by the images; '' for a certificate that does not say."""
    told = certificate.results.get("images") if isinstance(certificate.results, dict) else None
    if not told:
        return ""
    note = "<p>Levels of a table do not change what images tell, but here stands how many look like too few others.</p>"
    return _rows("Subjects who look alike by their images", list(_flat(told))) + note


def _sections(certificate: Certificate) -> str:
    named = ("assumptions", "thresholds", "methods", "counts", "deidentification", "quality", "column_roles")
    return "".join(
        _rows(name.replace("_", " ").capitalize(), list(_flat(getattr(certificate, name)))) for name in named
    )


def _rows(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return f"<h2>{escape(title)}</h2><p>Nothing is stated.</p>"
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value or "nothing is stated")}</td></tr>'
        for name, value in rows
    )
    return f"<h2>{escape(title)}</h2><table><tbody>{cells}</tbody></table>"


def _flat(value: Json, *, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            words = str(key).replace("_", " ")
            yield from _flat(item, name=f"{name} · {words}" if name else words)
    elif isinstance(value, list):
        plain = all(isinstance(item, str | int | float) for item in value)
        yield name, ", ".join(str(item) for item in value) if plain else f"{len(value)} entries in the certificate"
    elif isinstance(value, float):
        yield name, number(value, share=False)
    else:
        yield name, "not available" if value is None else str(value)


# ── figures ─────────────────────────────────────────────────────────────────


def _sizes(profile: Mapping[str, Any]) -> Plot:
    bins = [[(row["from"], row["to"], row["subjects"]) for row in profile[side]["histogram"]] for side in SERIES]
    rows = tuple(
        (_bin(low, high), (float(before), float(after[2]))) for (low, high, before), after in zip(*bins, strict=True)
    )
    small = [sum(count for low, _, count in side if low < 11) for side in bins]
    return Plot(
        id="class-sizes",
        title="Subjects by the size of their equivalence class",
        reading=f"In classes of at most ten stand {small[0]} subjects before and {small[1]} after.",
        series=SERIES,
        rows=rows,
    )


def _bin(low: int, high: int | None) -> str:
    words = f"{low} or more" if high is None else str(low) if high == low else f"{low} to {high}"
    return f"class of {words}"


def _thresholds(profile: Mapping[str, Any]) -> Plot:
    before, after = (profile[side]["at_risk"] for side in SERIES)
    chosen = profile["after"]["k"]
    reached = number(profile["after"]["at_risk_at_k"], share=True)
    return Plot(
        id="risk-by-threshold",
        title="Share of subjects in classes smaller than a threshold",
        reading=f"At the threshold of this determination, k = {chosen}, the share after is {reached}.",
        series=SERIES,
        rows=tuple((f"k = {limit}", (before[limit], after.get(limit))) for limit in before),
        share=True,
    )


def _measures(results: Mapping[str, Any]) -> Plot:
    rows = tuple((name, tuple(_measure(results.get(side), path) for side in SERIES)) for name, path in _MEASURES)
    return Plot(
        id="before-after",
        title="Measures of risk, before and after generalisation",
        reading="Each measure as the assessment gave it; what could not be estimated is not available.",
        series=SERIES,
        rows=tuple(row for row in rows if any(value is not None for value in row[1])),
        share=True,
    )


def _measure(assessment: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        assessment = assessment.get(name) if isinstance(assessment, dict) else None
    known = isinstance(assessment, int | float) and not isinstance(assessment, bool)
    return float(assessment) if known else None


def _drivers(profile: Mapping[str, Any]) -> Plot:
    before = profile["before"]
    whole = before["at_risk_at_k"] or 0.0
    falls = {name: whole - (share or 0.0) for name, share in before["without"].items()}
    ordered = sorted(falls.items(), key=lambda pair: (-pair[1], pair[0]))
    most = ordered[0][0] if ordered else "none"
    return Plot(
        id="drivers",
        title="Which quasi-identifier drives the risk",
        reading=f"By how much the share at risk before generalisation falls without it; {most} drives it the most.",
        series=("fall",),
        rows=tuple((name, (max(0.0, fall),)) for name, fall in ordered),
        share=True,
    )
