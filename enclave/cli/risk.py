"""``enclave risk``: measure and lower re-identification risk; stands alone, touches no enclave."""

from __future__ import annotations

import dataclasses
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enclave.cli.output import JsonOption, words, write_file, write_json
from enclave.core.errors import EnclaveError, UnavailableError

if TYPE_CHECKING:
    from enclave.risk.assessment import Assessment
    from enclave.risk.engine import Alternative, Anonymised

app = typer.Typer(no_args_is_help=True, help="Measure and lower re-identification risk, stand-alone.")

ConfigOption = Annotated[Path, typer.Option("--config", help="risk.toml: roles of the columns and what is asked.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write a page for people.")]


@app.command()
def assess(table: Path, config: ConfigOption, json_path: JsonOption = None, html: HtmlOption = None) -> None:
    """Measure TABLE (CSV or Parquet) as it is."""
    from enclave.risk.engine import assess as measure
    from enclave.risk.engine import load_config, read_table
    from enclave.risk.page import assessment_page

    settings = load_config(config)
    found = measure(read_table(table), settings)
    if html is not None:
        write_file(html, assessment_page(found, k=settings.model.k).encode())
    _tell(found.to_json(), json_path, summary=_one_line(found) + _notes(found))


@app.command()
def anonymise(
    table: Path,
    config: ConfigOption,
    output: Path = typer.Option(..., "--output", help="The Parquet file to write."),
    alternatives: bool = typer.Option(False, "--alternatives", help="Also say what it would cost to keep more rows."),
    json_path: JsonOption = None,
) -> None:
    """Generalise and suppress TABLE until it holds the model, at the least cost."""
    from enclave.risk.engine import anonymise as lower
    from enclave.risk.engine import fewer_left_out, load_config, read_table

    settings, rows = load_config(config), read_table(table)
    try:
        found = lower(rows, settings)
    except EnclaveError as error:
        if error.code == "not_feasible" and json_path is not None:
            write_json({"node": None, "metric_value": None, "suppressed": None, "optimal": False}, json_path)
        raise
    _write_table(output, found.table)
    result = {
        **found.assessment_after.to_json(),
        "before": found.assessment_before.to_json(),
        "node": found.node,
        "metric_value": found.metric_value,
        "suppressed": found.suppressed,
        "nodes_total": found.nodes_total,
        "nodes_evaluated": found.nodes_evaluated,
        "optimal": found.optimal,
        "entropy": found.entropy,
        "recoding": found.recoding,
        "passes": list(found.passes),
    }
    others = fewer_left_out(rows, settings, found) if alternatives else ()
    result["alternatives"] = [dataclasses.asdict(one) for one in others]
    _tell(result, json_path, summary=_summary(found, others))


@app.command()
def compare(
    old: Path,
    new: Path,
    config: ConfigOption,
    seen: Annotated[
        list[Path] | None, typer.Option("--seen", help="Another release that the same person can see; repeatable.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Measure two tables by the same configuration: what changed, what breaks, and what they tell together."""
    from enclave.risk.engine import assess as measure
    from enclave.risk.engine import compose, load_config, read_table

    settings = load_config(config)
    tables = (read_table(old), read_table(new))
    first, second = (measure(table, settings) for table in tables)
    names = ("records", "subjects", "classes", "k", "unique_records", "sample_uniqueness", "marketer")
    change = {name: _difference(getattr(first, name), getattr(second, name)) for name in names}
    change["prosecutor_average"] = _difference(first.prosecutor.average, second.prosecutor.average)
    change["share_at_risk"] = _difference(first.prosecutor.share_at_risk, second.prosecutor.share_at_risk)
    result: dict[str, Any] = {"old": first.to_json(), "new": second.to_json(), "change": change}
    # of subjects without images no part of theirs is told: there is nothing to break
    result["broken"] = [name for name, holds in first.holds.items() if holds and not second.holds.get(name, True)]
    result["joint"] = None
    if settings.subject is not None:
        together = compose((*tables, *(read_table(path) for path in seen or ())), settings)
        result["joint"] = dataclasses.asdict(together)
    joint = f"\njoint: k = {result['joint']['k']}" if result["joint"] else ""
    _tell(result, json_path, summary=f"old: {_one_line(first)}\nnew: {_one_line(second)}{joint}")


@app.command()
def append(table: Path, rows: Path, config: ConfigOption, json_path: JsonOption = None) -> None:
    """Would ROWS, appended to TABLE, break its model? Ends with 3 when they do, or when only an assessment can tell."""
    from enclave.risk.engine import load_config, read_table, stand

    settings = load_config(config)
    found = stand(read_table(table), settings).append(read_table(rows))
    unclear = [name for name, holds in found.holds.items() if holds is None]
    words_of = "breaks the model" if found.breaks else "needs a full assessment" if unclear else "holds the model"
    _tell(
        dataclasses.asdict(found),
        json_path,
        summary=f"with {found.rows} rows: {words_of}; k = {found.k}, {found.small_classes} small classes",
    )
    if found.breaks or unclear:
        raise typer.Exit(3)


def _summary(found: Anonymised, others: tuple[Alternative, ...]) -> str:
    before, after = _one_line(found.assessment_before), _one_line(found.assessment_after)
    told = f"before: {before}\nafter:  {after}; {found.suppressed} rows left out" + _notes(found.assessment_before)
    if found.passes:
        told += f"\n{found.passes[0]['rows']} rows stay at one node, {len(found.passes) - 1} others hold the rest"
    if not found.optimal and found.recoding != "local":
        told += f"\nNote: {found.nodes_total} nodes are too many to search whole; a better one may exist."
    for one in others:
        told += f"\ninstead: {one.suppressed} rows left out at a cost of {one.metric_value:.6g}"
        told += f" (here {found.metric_value:.6g})"
    return told


def _notes(found: Assessment) -> str:
    """What a reader has to know about the table, a line each."""
    return "".join(f"\nNote: {flag.replace('_', ' ').replace(':', ': ')}." for flag in found.flags)


def _difference(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else new - old


def _one_line(found: Assessment) -> str:
    average = "not available" if found.prosecutor.average is None else f"{found.prosecutor.average:.4f}"
    return f"k = {found.k}, {found.classes} classes, {found.unique_records} unique records, average risk {average}"


def _tell(result: dict[str, Any], json_path: str | None, *, summary: str) -> None:
    if json_path is not None:
        write_json(result, json_path)
    words().print(summary, markup=False)


def _write_table(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        pq.write_table(table, part)
        part.replace(path)
    except OSError as error:  # Arrow puts the whole path into its words
        what = os.strerror(error.errno) if error.errno else "a failure"
        raise UnavailableError(f"{path.name}: wanted a file to write, got {what}; choose another") from None
    finally:
        part.unlink(missing_ok=True)
