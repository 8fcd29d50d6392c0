"""How long ``enclave audit verify`` and ``prove`` take on a ledger of a million events.

``python -m benchmarks.audit.verify [--events N] [--rounds N] [--folder DIR]`` writes a ledger's files (segments, tiles,
checkpoints, history, as the daemon would, without its fsyncs), checks it in new processes, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enclave.audit.checkpoint import TreeHead, VerifierKey, write_checkpoint
from enclave.audit.merkle import FullTile, Tree, leaf_hash
from enclave.audit.segments import ROTATE_BYTES, SegmentWriter, frame
from enclave.audit.tiles import TileFolder, write_file
from enclave.core.canonical import canonical_bytes

BATCH = 256


def record(seq: int) -> bytes:
    """A cell's record as the ledger writes it, about 640 bytes."""
    digest = hashlib.sha256(b"%d" % seq).hexdigest()
    at = f"2026-11-22T{seq // 3_600_000 % 24:02d}:{seq // 60_000 % 60:02d}:{seq // 1000 % 60:02d}.{seq % 1000:03d}000Z"
    event = {
        "actor": f"person{seq % 40}",
        "cell": digest[:32],
        "detail": {"channel": "shell", "code_hash": digest, "message_type": "execute_request", "silent": False},
        "id": digest[32:],
        "kernel": digest[:16],
        "kind": "cell.execute",
        "outcome": "intent",
        "project": f"project-{seq % 7}",
        "session": digest[16:32],
        "time": at,
    }
    bodies = {"code": {"bytes": seq % 900, "hash": digest}}
    return canonical_bytes(
        {"bodies": bodies, "event": event, "received": at, "seq": seq, "writer": {"pid": 4711, "uid": 210_000}}
    )


def write_log(folder: Path, *, events: int) -> VerifierKey:
    """A whole ledger's files in ``folder``."""
    private = Ed25519PrivateKey.generate()
    key = VerifierKey(f"enclave.local/{secrets.token_hex(8)}", private.public_key().public_bytes_raw())
    for name in ("segments", "log"):
        (folder / name).mkdir(parents=True)
    tree, tiles = Tree(), TileFolder(folder / "log")
    writer = SegmentWriter(folder / "segments", rotate_bytes=ROTATE_BYTES)
    data: list[bytes] = []
    full: list[FullTile] = []
    text = ""
    with (folder / "log" / "history.jsonl").open("wb") as history:
        for first in range(0, events, BATCH):
            payloads = [record(seq) for seq in range(first, min(first + BATCH, events))]
            data.extend(frame(first + i, payload) for i, payload in enumerate(payloads))
            full.extend(tree.add_all(leaf_hash(payload) for payload in payloads))
            text = write_checkpoint(TreeHead(key.name, tree.size, tree.root()), key=key, sign=private.sign)
            if tree.size % BATCH == 0:
                history.write(canonical_bytes({"checkpoint": text}) + b"\n")
            if len(data) >= 40 * BATCH or tree.size == events:
                writer.write(b"".join(data), first_seq=tree.size - len(data))
                data = []
    writer.close()
    tiles.write_full(full)
    tiles.write_open(tree.size, tree.open_tiles)
    write_file(folder / "log" / "checkpoint", text.encode())
    write_file(folder / "log" / "vkey", f"{key}\n".encode())
    write_file(folder / "origin", f"{key.name}\n".encode())
    return key


def timed(*words: str) -> tuple[float, float, str]:
    """Wall and processor seconds of one command in a new process, its start included, and its output."""
    began, used = time.perf_counter(), processor_s()
    command = [sys.executable, "-m", "enclave.cli.main", "audit", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, processor_s() - used, done.stdout


def processor_s() -> float:
    """What all finished child processes have used, user and system."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def spread(values: list[float]) -> dict[str, object]:
    """Median and all of them."""
    return {"median": round(statistics.median(values), 2), "all": [round(value, 2) for value in values]}


def main() -> None:
    """Writes, measures, prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit.verify")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="keep the ledger here (or use the one that is there)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "audit"
        if not folder.exists():
            write_log(folder, events=options.events)
        log = ("--log", str(folder), "--vkey", str(folder / "log" / "vkey"))
        runs = [timed("verify", *log, "--json", "-") for _ in range(options.rounds)]
        verdict = json.loads(runs[0][2])
        proofs = [
            timed("prove", str(n), "--from", str(n + 1), *log) for n in (0, options.events // 3, options.events - 1)
        ]
        stored = sum(path.stat().st_size for path in (folder / "segments").iterdir())
    told = {
        "events": verdict["size"],
        "ok": verdict["ok"],
        "segment_bytes": stored,
        "verify_wall_s": spread([run[0] for run in runs]),
        "verify_processor_s": spread([run[1] for run in runs]),
        "prove_wall_s": spread([run[0] for run in proofs]),
        "prove_processor_s": spread([run[1] for run in proofs]),
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()},
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
