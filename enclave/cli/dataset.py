"""``enclave dataset``: sealed dataset versions, as far as they can be seen without opening them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from enclave.cli.output import HomeOption, JsonOption, TicketOption, home_of, ticket_of, words, write_json
from enclave.core.errors import InvalidError, UnavailableError
from enclave.core.ids import VersionName, check_name
from enclave.runtime.home import Home
from enclave.sealed.store import SealedStore, VersionInfo

if TYPE_CHECKING:  # imported where they are used: --help must be quick
    from enclave.sealed.writer import PlainObject

app = typer.Typer(no_args_is_help=True, help="Sealed dataset versions.")
VersionArgument = Annotated[str, typer.Argument(metavar="NAME@V", help="A version such as demo-ct@1.")]
OPERATOR = "operator"


@app.command()
def seal(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="De-identified data: DIR/dicom and DIR/tables.")],
    name: Annotated[str, typer.Option("--name", help="The dataset; the version number follows by itself.")],
    ticket: TicketOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Seal de-identified data as the next version. A candidate only: it opens for nobody before its release."""
    from enclave.audit.client import AuditClient
    from enclave.keys.uri import file_uri
    from enclave.keys.wrap import open_wrapper
    from enclave.sealed.writer import seal_version

    where = home_of(home)
    check_name(name, what="dataset")
    objects = _plain_objects(directory)
    wrapper = open_wrapper(file_uri(where.key_file("kek").with_suffix(".pub")))
    audit = AuditClient(where.socket("auditd"))
    told: dict[str, Any] = {"actor": OPERATOR, "role": "operator", "dataset": name, "ticket": ticket_of(ticket)}
    audit.record("dataset.seal", outcome="intent", detail={"objects": len(objects)}, **told)
    store = SealedStore(where.state("sealed"))
    done = seal_version(store, dataset=name, objects=objects, wrapper=wrapper, at=datetime.now(UTC))
    detail = {"objects": done.objects, "size_bytes": done.bytes, "content_root": done.content_root}
    audit.record("dataset.seal", version=done.version, detail=detail, **told)
    if json_path is not None:
        write_json(dataclasses.asdict(done), json_path)
    words().print(f"Sealed {name}@{done.version}: {done.objects} objects, {done.bytes} bytes, root {done.content_root}")


@app.command("list")
def list_versions(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """List the sealed versions of this home."""
    infos = SealedStore(home_of(home).state("sealed")).versions()
    if json_path is not None:
        write_json({"versions": [dataclasses.asdict(info) for info in infos]}, json_path)
        return
    table = Table("version", "objects", "bytes", "sealed", "content root", box=None)
    for info in infos:
        table.add_row(
            f"{info.dataset}@{info.version}",
            *map(str, (info.objects, info.bytes, info.sealed_at[:10])),
            info.content_root,
        )
    words().print(table if infos else "No sealed versions yet; `enclave intake add` makes the first.")


@app.command()
def show(version: VersionArgument, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show what a version says in clear: its content root and counts. What it holds is sealed."""
    info = _store(home_of(home)).info(VersionName.parse(version))
    if json_path is not None:
        write_json(dataclasses.asdict(info), json_path)
        return
    for field in dataclasses.fields(VersionInfo):
        words().print(f"{field.name:>14}  {getattr(info, field.name)}", markup=False)


@app.command()
def verify(version: VersionArgument, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Read every byte of a version again and compare it with what was sealed; exit 15 when something differs."""
    name = VersionName.parse(version)
    bad = _verify(home_of(home), name)
    if json_path is not None:
        write_json({"ok": not bad, "bad": bad}, json_path)
    for item in bad:
        words().print(f"{item['object']}: {item['reason']}", markup=False)
    words().print(f"{name}: {'as it was sealed' if not bad else f'{len(bad)} objects are not as they were sealed'}")
    if bad:
        raise typer.Exit(15)


def _store(home: Home) -> SealedStore:
    return SealedStore(home.state("sealed"))


def _verify(home: Home, name: VersionName) -> list[dict[str, str]]:
    """By the broker when it runs, else here by whoever may read its key."""
    from enclave.wire.client import WireClient
    from enclave.wire.messages.broker import VerifyVersion

    _store(home).info(name)
    if home.socket("brokerd").exists():
        client = WireClient(home.socket("brokerd"), timeout_s=3600)
        try:
            return list(client.call(VerifyVersion(dataset=name.dataset, version=name.version)).bad)
        except UnavailableError as error:
            if error.code == "ledger_unavailable":
                raise
        finally:
            client.close()
    from enclave.broker.verification import verify_at_rest

    words().print("The broker does not run; reading with its key from here.")
    return [dataclasses.asdict(item) for item in verify_at_rest(home, name)]


def _plain_objects(directory: Path) -> list[PlainObject]:
    from enclave.deid.check_texts import recorded_texts
    from enclave.intake.documents import collect_documents
    from enclave.intake.series import collect_series

    if not directory.is_dir():
        raise InvalidError(f"{directory}: wanted a folder with dicom/ or tables/, got none")
    series = collect_series(directory / "dicom", without=frozenset())
    flagged = recorded_texts(directory / "provenance.parquet") or None
    documents = collect_documents(directory / "dicom", without=frozenset(), flagged=flagged, withheld=None)
    tables = [_table_object(path) for path in sorted((directory / "tables").glob("*")) if path.is_file()]
    for reason, count in series.left_out.items():
        words().print(f"[yellow]left out[/] {count} series: {reason}")
    if not (series.objects or documents.objects or tables):
        raise InvalidError(f"{directory}: wanted series or documents in dicom/ or tables in tables/, got none")
    return [*series.objects, *documents.objects, *tables]


def _table_object(path: Path) -> PlainObject:
    from enclave.sealed.writer import PlainObject

    table = _read_table(path)
    header = {"rows": table.num_rows, "columns": table.column_names}
    return PlainObject(name=f"tables/{path.stem}", kind="table", header=header, chunks=_arrow_bytes(table))


def _read_table(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv, feather, parquet

    readers = {".csv": csv.read_csv, ".parquet": parquet.read_table, ".arrow": feather.read_table}
    reader = readers.get(path.suffix)
    if reader is None:
        raise InvalidError("table file: wanted .csv, .parquet or .arrow, got another kind; move it out of tables/")
    try:
        return reader(path)
    except (pa.ArrowException, OSError):  # its words may hold values
        raise InvalidError(f"table file of kind {path.suffix}: wanted a readable table, got something else") from None


def _arrow_bytes(table: Any) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
