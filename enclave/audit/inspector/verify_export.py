#!/usr/bin/env python3
"""Checks an export of an enclave's ledger: this one file, Python 3.11 or newer, nothing else.

    python3 verify_export.py DIR --vkey FILE [--against CHECKPOINT]...

DIR holds ``proof.json`` and ``events.jsonl`` (or ``events.parquet``, for which pyarrow is needed). FILE is the ledger's
verifier key and must come from elsewhere than DIR; without it the key in DIR is taken, and the result says so.

Records give leaf hashes, leaf hashes and the subtrees beside them give the root (RFC 6962, section 2.1), the root is in
a checkpoint (C2SP tlog-checkpoint) that the key signed (RFC 8032, Ed25519). Exit code 0: all that is printed holds.
1: something does not hold. 2: it could not be checked.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# --- Ed25519 (RFC 8032, section 5.1), verification only: the numbers of the curve and its addition law ---

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

EVENT_COLUMNS = frozenset(
    ("kind", "actor", "role", "project", "dataset", "version", "session", "kernel", "cell", "source", "ticket", "trace")
) | {"time", "outcome", "reason"}
OWN_FILES = frozenset({"proof.json", "checkpoint", "verify_export.py"})

Point = tuple[int, int, int, int]
Key = tuple[str, bytes, bytes]  # name, key id, public key


class RefusedError(Exception):
    """Something does not hold."""


class UncheckedError(Exception):
    """Something could not be looked at."""


def add(a: Point, b: Point) -> Point:
    """The sum of two points in extended coordinates."""
    x = (a[1] - a[0]) * (b[1] - b[0]) % P
    y = (a[1] + a[0]) * (b[1] + b[0]) % P
    t = 2 * a[3] * b[3] * D % P
    z = 2 * a[2] * b[2] % P
    e, f, g, h = y - x, z - t, z + t, y + x
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(number: int, point: Point) -> Point:
    """A point added to itself so many times."""
    total = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = add(total, point)
        point = add(point, point)
        number >>= 1
    return total


def same(a: Point, b: Point) -> bool:
    """Whether two points are one."""
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_of(data: bytes) -> Point | None:
    """The point that 32 bytes stand for; None when they stand for none."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")) or (0, 0, 0, 0)


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``message`` is of the owner of ``public``."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r = point_of(public), point_of(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    return same(times(s, BASE), add(r, times(h, key)))


# --- signed notes ---


def unbase64(text: str) -> bytes:
    """The bytes; raises RefusedError."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise RefusedError("something is not base64") from None


def read_key(text: str) -> Key:
    """Name, key id and public key of a verifier key."""
    parts = text.strip().split("+", 2)
    raw = unbase64(parts[2]) if len(parts) == 3 else b""
    if len(raw) != 33 or raw[0] != 1:
        raise RefusedError("the verifier key is not one of an Ed25519 log")
    key_id = hashlib.sha256(parts[0].encode() + b"\n" + raw).digest()[:4]
    if key_id.hex() != parts[1]:
        raise RefusedError("the verifier key's id is not that of its name and key")
    return parts[0], key_id, raw[1:]


def read_checkpoint(text: str, key: Key) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the key signed for its own log."""
    name, key_id, public = key
    body, found, signatures = text.partition("\n\n")
    lines = body.split("\n")
    if not found or len(lines) < 3 or lines[0] != name or not lines[1].isdecimal():
        raise RefusedError("the checkpoint is not one of this log")
    for line in signatures.split("\n"):
        words = line.split(" ")
        if len(words) == 3 and words[0] == "\u2014" and words[1] == name:
            raw = unbase64(words[2])
            if raw[:4] == key_id and ed25519(public, (body + "\n").encode(), raw[4:]):
                root = unbase64(lines[2])
                if len(root) == 32:
                    return int(lines[1]), root
    raise RefusedError("the checkpoint is not signed by this key")


# --- the tree ---


def leaf_of(record: bytes) -> bytes:
    """The hash of one record."""
    return hashlib.sha256(b"\x00" + record).digest()


def fold(low: int, high: int, start: int, leaves: Sequence[bytes], beside: Iterator[bytes]) -> bytes:
    """The root of records low … high - 1: from the leaves inside of the range, from the proof beside it."""
    end = start + len(leaves)
    if high <= start or end <= low:
        try:
            return next(beside)
        except StopIteration:
            raise RefusedError("the proof is too short") from None
    if high - low == 1:
        return leaves[low - start]
    half = 1 << (high - low - 1).bit_length() - 1
    left = fold(low, low + half, start, leaves, beside)
    right = fold(low + half, high, start, leaves, beside)
    return hashlib.sha256(b"\x01" + left + right).digest()


# --- the export ---


def records_of(folder: Path) -> tuple[list[bytes], str]:
    """The bytes of each record, and the name of the file that they are in."""
    lines, table = folder / "events.jsonl", folder / "events.parquet"
    if lines.is_file():
        data = lines.read_bytes()
        if not data.endswith(b"\n"):
            raise RefusedError("events.jsonl does not end with its last record")
        return data[:-1].split(b"\n"), lines.name
    if not table.is_file():
        raise UncheckedError("wanted events.jsonl or events.parquet, got neither")
    try:
        import pyarrow.parquet
    except ImportError:
        raise UncheckedError("wanted pyarrow to read events.parquet, got none; pip install pyarrow") from None
    return columns_checked(pyarrow.parquet.read_table(table)), table.name


def columns_checked(table: Any) -> list[bytes]:
    """The records of a table whose other columns say what the records say, every one of them."""
    records = [bytes(value) for value in table.column("record").to_pylist()]
    columns = {name: table.column(name).to_pylist() for name in table.column_names if name != "record"}
    for number, record in enumerate(records):
        told = json.loads(record)
        for name, values in columns.items():
            if not says(told, record, name, values[number]):
                raise RefusedError(f"row {number}: the column {name} is not that of the record")
    return records


def says(told: Any, record: bytes, name: str, value: Any) -> bool:
    """Whether a record has ``value`` where the column ``name`` shows it."""
    if name == "leaf_hash":
        return bool(value == leaf_of(record).hex())
    if name in ("seq", "received"):
        return bool(value == told[name])
    if name == "detail":
        return bool(json.loads(value) == told["event"].get("detail", {}))
    return name in EVENT_COLUMNS and bool(value == told["event"].get(name))


def compared(path: Path, saved: tuple[int, bytes], own: tuple[int, bytes]) -> str:
    """What a saved checkpoint says beside that of the export."""
    if saved == own:
        return f"saved checkpoint {path.name}: is the one of this export"
    if saved[0] == own[0]:
        raise RefusedError(f"saved checkpoint {path.name}: another tree of the same size, a split view")
    return f"saved checkpoint {path.name}: of another size, NOT compared (that needs the whole log)"


def check(folder: Path, key_text: str, against: Sequence[Path]) -> list[str]:
    """Everything; returns what was checked, sentence by sentence."""
    proof = json.loads((folder / "proof.json").read_text("utf-8"))
    key = read_key(key_text or proof["vkey"])
    size, root = read_checkpoint(proof["checkpoint"], key)
    beside_it = folder / "checkpoint"
    if beside_it.exists() and beside_it.read_text("utf-8") != proof["checkpoint"]:
        raise RefusedError("the file checkpoint is not the checkpoint of the proof")
    records, name = records_of(folder)
    first, end = proof["first"], proof["end"]
    if not 0 <= first < end <= size or len(records) != end - first:
        raise RefusedError(f"wanted records {first} to {end - 1} of {size}, got {len(records)} of them")
    for number, record in enumerate(records):
        if json.loads(record)["seq"] != first + number:
            raise RefusedError(f"record {first + number} bears another number")
    beside = iter([bytes.fromhex(step) for step in proof["hashes"]])
    if fold(0, size, first, [leaf_of(record) for record in records], beside) != root:
        raise RefusedError("the records do not give the signed root: something was changed, left out, added or moved")
    if next(beside, None) is not None:
        raise RefusedError("the proof is too long")
    said = [
        f"checkpoint: signed by the key of {key[0]} for {size} events",
        f"records: {first} to {end - 1} ({name}) are in that tree, unchanged, complete and in this order",
    ]
    said += [compared(path, read_checkpoint(path.read_text("utf-8"), key), (size, root)) for path in against]
    source = "given with --vkey" if key_text else "found IN THE EXPORT: whoever made it could have made the key too"
    said.append(f"verifier key: {source}")
    others = sorted(path.name for path in folder.iterdir() if path.name not in OWN_FILES | {name})
    if others:
        said.append(f"NOT checked: {', '.join(others)}")
    said.append("NOT checked: what happened before it was recorded; events outside of these numbers; texts (bodies)")
    return said


def main() -> int:
    """Exit code 0, 1 or 2."""
    parser = argparse.ArgumentParser(description="Checks an export of an enclave's ledger.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vkey", type=Path)
    parser.add_argument("--against", type=Path, action="append", default=[])
    options = parser.parse_args()
    code, lines = judged(options.folder, options.vkey, options.against)
    sys.stdout.write("".join(f"{shown(line)}\n" for line in lines))
    return code


def shown(line: str) -> str:
    """A line with nothing in it that a terminal acts on: names come from whoever made the export."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def judged(folder: Path, vkey: Path | None, against: Sequence[Path]) -> tuple[int, list[str]]:
    """The exit code and what to say."""
    try:
        said = check(folder, vkey.read_text("utf-8") if vkey else "", against)
    except RefusedError as error:
        return 1, [f"DOES NOT HOLD: {error}"]
    except UncheckedError as error:
        return 2, [f"NOT CHECKED: {error}"]
    except OSError as error:
        return 2, [f"NOT CHECKED: wanted a file to read, got {type(error).__name__}"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return 1, [f"DOES NOT HOLD: a file of the export has another form ({type(error).__name__})"]
    return 0, ["HOLDS:", *(f"- {line}" for line in said)]


if __name__ == "__main__":
    sys.exit(main())
