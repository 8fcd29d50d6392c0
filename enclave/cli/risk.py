"""``enclave risk``: measure and lower re-identification risk; stands alone, touches no enclave."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enclave.cli.output import JsonOption, words, write_json
from enclave.core.errors import EnclaveError, UnavailableError

if TYPE_CHECKING:
    from enclave.risk.assessment import Assessment

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
        _write_whole(html, assessment_page(found, k=settings.model.k).encode())
    _tell(found.to_json(), json_path, summary=_one_line(found))


@app.command()
def anonymise(
    table: Path,
    config: ConfigOption,
    output: Path = typer.Option(..., "--output", help="The Parquet file to write."),
    json_path: JsonOption = None,
) -> None:
    """Generalise and suppress TABLE until it holds the model, at the least cost."""
    from enclave.risk.engine import anonymise as lower
    from enclave.risk.engine import load_config, read_table

    settings = load_config(config)
    try:
        found = lower(read_table(table), settings)
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
    }
    before, after = _one_line(found.assessment_before), _one_line(found.assessment_after)
    _tell(result, json_path, summary=f"before: {before}\nafter:  {after}; {found.suppressed} rows left out")


@app.command()
def compare(old: Path, new: Path, config: ConfigOption, json_path: JsonOption = None) -> None:
    """Measure two tables by the same configuration and say what changed."""
    from enclave.risk.engine import assess as measure
    from enclave.risk.engine import load_config, read_table

    settings = load_config(config)
    first, second = measure(read_table(old), settings), measure(read_table(new), settings)
    names = ("records", "subjects", "classes", "k", "unique_records", "sample_uniqueness", "marketer")
    change = {name: _difference(getattr(first, name), getattr(second, name)) for name in names}
    change["prosecutor_average"] = _difference(first.prosecutor.average, second.prosecutor.average)
    change["share_at_risk"] = _difference(first.prosecutor.share_at_risk, second.prosecutor.share_at_risk)
    result = {"old": first.to_json(), "new": second.to_json(), "change": change}
    _tell(result, json_path, summary=f"old: {_one_line(first)}\nnew: {_one_line(second)}")


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
    except OSError as error:
        raise UnavailableError(f"{path.name}: wanted a file to write, got {error.strerror}; choose another") from None
    finally:
        part.unlink(missing_ok=True)


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise UnavailableError(f"{path.name}: wanted a file to write, got {error.strerror}; choose another") from None
    finally:
        part.unlink(missing_ok=True)
