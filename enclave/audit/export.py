"""A range of the ledger for somebody who has no enclave: records, what proves them, and the program that checks it.

A range is proven by the subtrees beside it, so that a month or a day stands on its own: its records give its leaf
hashes, these and the proof give the root that the checkpoint signs. ``record`` is the truth, columns are for use.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from enclave.audit.checkpoint import VerifierKey
from enclave.audit.merkle import leaf_hash, range_proof, root_with_range
from enclave.audit.ocsf import event_of, line_of
from enclave.audit.prove import signed_head
from enclave.audit.segments import Record, first_seq_of, read_segment, segment_files
from enclave.audit.tiles import TileTree, tile_path, write_file
from enclave.audit.verify import log_folder
from enclave.core.canonical import parse_json
from enclave.core.clock import parse_time
from enclave.core.errors import EnclaveError, IntegrityError, NotFoundError

FORMAT = "enclave.audit.export/1"
_TEXT = ("kind", "actor", "role", "project", "dataset", "session", "kernel", "cell", "source", "ticket", "trace")
COLUMNS = pa.schema(
    [
        ("seq", pa.int64()),
        ("received", pa.string()),
        ("time", pa.string()),
        *((name, pa.string()) for name in _TEXT),
        ("version", pa.int64()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("leaf_hash", pa.string()),
        ("record", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class Exported:
    """Records ``first`` … ``end`` - 1 under the checkpoint of ``size``."""

    path: Path
    first: int
    end: int
    size: int


class Source:
    """One log's signed records, read once for any number of ranges."""

    def __init__(self, folder: Path, *, key: VerifierKey) -> None:
        """Raises ``IntegrityError`` when there is no checkpoint that ``key`` signed."""
        self._folder, self._key = log_folder(folder), key
        self.checkpoint, self.head = signed_head(self._folder, key=key)
        self._tree = TileTree(self._folder / "log", size=self.head.size)

    def records(self, *, first: int = 0, end: int | None = None) -> Iterator[Record]:
        """The signed records of a range in order; raises ``IntegrityError`` when one is missing."""
        wanted, upto = first, self.head.size if end is None else end
        files = segment_files(self._folder / "segments")
        for number, path in enumerate(files):
            if number + 1 < len(files) and first_seq_of(files[number + 1]) <= wanted:
                continue
            for item in read_segment(path):
                if wanted >= upto:
                    return
                if isinstance(item, Record) and item.seq == wanted:
                    yield item
                    wanted += 1
        if wanted < upto:
            raise _differs()

    def export(self, records: Sequence[Record], output: Path, *, table: bool, siem: bool = False) -> Exported:
        """Writes one proven range into a new folder; raises ``IntegrityError`` when it is not what was signed.

        With ``siem`` the same events in the words of OCSF beside it.
        """
        first, end = records[0].seq, records[-1].seq + 1
        proof = range_proof(first, end, self.head.size, self._tree.range_root)
        leaves = [leaf_hash(record.payload) for record in records]
        if root_with_range(leaves, first, self.head.size, proof) != self.head.root:
            raise _differs()
        output.mkdir(parents=True)
        if table:
            _write_table(records, leaves, output / "events.parquet")
        else:
            write_file(output / "events.jsonl", b"".join(record.payload + b"\n" for record in records))
        if siem:
            _write_ocsf(records, output, origin=self.head.origin)
        self._write_proof(output, first, end, proof)
        return Exported(output, first, end, self.head.size)

    def _write_proof(self, output: Path, first: int, end: int, proof: Sequence[bytes]) -> None:
        told: dict[str, Any] = {
            "format": FORMAT,
            "first": first,
            "end": end,
            "hashes": [step.hex() for step in proof],
            "checkpoint": self.checkpoint,
            "vkey": str(self._key),
        }
        write_file(output / "proof.json", (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
        write_file(output / "checkpoint", self.checkpoint.encode())
        verifier = importlib.resources.files("enclave.audit.inspector") / "verify_export.py"
        write_file(output / "verify_export.py", verifier.read_bytes())


def _write_ocsf(records: Sequence[Record], output: Path, *, origin: str) -> None:
    """``events.ocsf.jsonl`` beside a proven range: the same events in the words of a SIEM (see ``audit.ocsf``)."""
    version = importlib.metadata.version("enclave")
    with (output / "events.ocsf.jsonl").open("x", encoding="utf-8", newline="\n") as file:
        for record in records:
            told = parse_json(record.payload)
            leaf = leaf_hash(record.payload)
            file.write(line_of(event_of(told, leaf=leaf, origin=origin, product_version=version)) + "\n")


def in_period(records: Iterator[Record], *, since: datetime | None, until: datetime | None) -> list[Record]:
    """Those received in a period; the ledger's time never runs backwards, so they are one range.

    Raises ``NotFoundError`` when there is none.
    """
    found = []
    for record in records:
        at = received(record)
        if until is not None and at >= until:
            break
        if since is None or at >= since:
            found.append(record)
    if not found:
        raise NotFoundError("export: wanted events in this period, got none; give another --from or --to")
    return found


def archive(source: Source, output: Path, *, before: datetime) -> list[Exported]:
    """Writes each whole month before ``before`` as ``year=YYYY/month=MM``; months that are there are left alone.

    A month is whole when an event of a later one was received.
    """
    made: list[Exported] = []
    part: list[Record] = []
    for record in source.records():
        at = received(record)
        if part and _month(received(part[0])) != _month(at):
            made.extend(_partition(source, part, output))
            part = []
        if _month(at) >= _month(before):
            return made
        part.append(record)
    return made


def write_entries(source: Source, output: Path) -> int:
    """Writes the records as entry bundles (C2SP tlog-tiles) below ``output``; returns how many bundles."""
    bundle: list[bytes] = []
    count = 0
    size: int = source.head.size
    for record in source.records():
        bundle.append(len(record.payload).to_bytes(2, "big") + record.payload)
        if len(bundle) == 256 or record.seq == size - 1:
            path = tile_path(0, record.seq // 256, width=len(bundle)).replace("tile/0/", "tile/entries/", 1)
            write_file(output / path, b"".join(bundle))
            bundle, count = [], count + 1
    return count


def received(record: Record) -> datetime:
    """When the ledger took a record; raises ``IntegrityError`` for one that is not of our writing."""
    try:
        return parse_time(parse_json(record.payload)["received"])
    except (EnclaveError, KeyError, TypeError):
        raise _differs() from None


def _partition(source: Source, records: list[Record], output: Path) -> list[Exported]:
    at = received(records[0])
    target = output / f"year={at.year:04d}" / f"month={at.month:02d}"
    if target.exists():
        return []
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    made = source.export(records, part, table=True)
    for path in (*part.iterdir(), part):
        _sync(path)
    part.rename(target)
    for path in (target.parent, output):
        _sync(path)
    return [Exported(target, made.first, made.end, made.size)]


def _sync(path: Path) -> None:
    """Makes a file's bytes or a folder's names durable: a month that is there is never written again."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _month(at: datetime) -> tuple[int, int]:
    return at.year, at.month


def _write_table(records: Sequence[Record], leaves: Sequence[bytes], path: Path) -> None:
    rows = [_row(record, leaf) for record, leaf in zip(records, leaves, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), path, compression="zstd")


def _row(record: Record, leaf: bytes) -> dict[str, Any]:
    told = parse_json(record.payload)
    event = told["event"]
    row = {name: event.get(name) for name in (*_TEXT, "time", "version", "outcome", "reason")}
    detail = json.dumps(event.get("detail", {}), ensure_ascii=False, sort_keys=True)
    row |= {"seq": record.seq, "received": told["received"], "detail": detail}
    return row | {"leaf_hash": leaf.hex(), "record": record.payload}


def _differs() -> IntegrityError:
    return IntegrityError("export: wanted the records that were signed, got others; run `enclave audit verify`")
