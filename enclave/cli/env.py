"""``enclave env``: the package sets that kernels stand on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.output import HomeOption, JsonOption, TicketOption, home_of, ticket_of, words, write_json
from enclave.core.errors import EnclaveError, NotFoundError

app = typer.Typer(no_args_is_help=True, help="Build and list package sets for kernels.")


@app.command()
def build(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A set of kernels/envs, or its TOML file.")],
    wheels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder with all wheels; without it they are fetched.")
    ] = None,
    ticket: TicketOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Build the next version of a package set: wheels only, hashes required, installed without network."""
    from enclave.audit.client import AuditClient
    from enclave.sandbox.set_build import build_set, check_new

    where = home_of(home)
    where.check_format()
    order = _order(name, wheels=wheels)
    check_new(where, order.description.name)
    told: dict[str, Any] = {"actor": "operator", "role": "operator", "ticket": ticket_of(ticket)}
    detail: dict[str, Any] = {"environment": str(order.description.name), "lock": order.lock_digest}
    audit = AuditClient(where.socket("auditd"))
    try:
        audit.record("packages.build", outcome="intent", detail=detail, **told)
        try:
            built = build_set(where, order, at=datetime.now(UTC))
        except EnclaveError as error:
            audit.record("packages.build", outcome="failed", reason=error.code, detail=detail, **told)
            raise
        done = {"tree": built.tree, "packages": len(built.packages), "size_bytes": built.bytes}
        audit.record("packages.build", detail=detail | done, **told)
    finally:
        audit.close()
    if json_path is not None:
        write_json(dataclasses.asdict(built), json_path)
    words().print(f"Built {built.id}: {len(built.packages)} packages, {built.bytes} bytes.", markup=False)


@app.command("list")
def list_sets(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """The package sets that were built in this home, and the installation's own."""
    from enclave.sandbox.installation import find_installation
    from enclave.sandbox.set_store import built_sets
    from enclave.sandbox.settings import LauncherSettings

    where = home_of(home)
    settings = where.settings(LauncherSettings, section="launcher")
    own = find_installation(kernel_env=settings.kernel_env).environment_id
    sets = built_sets(where)
    if json_path is not None:
        rows = [dataclasses.asdict(one) | {"id": one.id} for one in sets]
        write_json({"installed": own, "default": settings.environment, "sets": rows}, json_path)
        return
    words().print(f"{own}  of this installation", markup=False)
    for one in sets:
        gpu = f"  devices: {', '.join(one.devices)}" if one.devices else ""
        size = f"{len(one.packages)} packages  {one.bytes >> 20} MiB  built {one.built[:10]}"
        words().print(f"{one.id}  {size}  {one.title}{gpu}", markup=False)


def _order(name: str, *, wheels: Path | None) -> Any:
    """The description and its lock: a file as it is named, else ``kernels/envs/NAME.toml`` of this installation."""
    import enclave
    from enclave.sandbox.package_set import parse_description
    from enclave.sandbox.set_build import Order

    checkout = Path(enclave.__file__).parent.parent
    given = Path(name)
    place = given if given.suffix == ".toml" else checkout / "kernels" / "envs" / f"{name}.toml"
    if not place.is_file():
        raise NotFoundError("package set: wanted a TOML file or the name of one in kernels/envs, got neither")
    description = parse_description(place.read_text("utf-8"))
    beside = place.parent / description.lock
    lock = beside if beside.is_file() else checkout / description.lock
    if not lock.is_file():
        raise NotFoundError(f"package set {description.name}: wanted its lock, got no file at {description.lock}")
    return Order(description=description, lock=lock.read_text("utf-8"), wheels=wheels)
