"""Killing the daemon under load, again and again: is every event with a receipt there, once?"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.audit.contenders import daemon, kill, make_home
from enclave.audit.client import AuditClient
from enclave.audit.segments import Record, read_segment, segment_files
from enclave.audit.verify import verify_log
from enclave.core.errors import UnavailableError

CLIENTS = 8


def kill_rounds(folder: Path, *, rounds: int, seconds: float = 0.3) -> dict[str, Any]:
    """Counts of events with a receipt, of those lost and of those that stand twice, after ``rounds`` of SIGKILL."""
    home = make_home(folder / "home")
    client = AuditClient(home.socket("auditd"))
    receipts: list[tuple[int, str]] = []
    for turn in range(rounds):
        with daemon(home) as child:
            stop = threading.Event()
            threads = [threading.Thread(target=_write, args=(client, receipts, stop)) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            time.sleep(seconds)
            kill(child)
            stop.set()
            for thread in threads:
                thread.join()
        print(f"killed {turn + 1} times, {len(receipts)} receipts", file=sys.stderr)
    with daemon(home):
        pass
    store = home.state("audit")
    found = [
        (item.seq, json.loads(item.payload)["event"].get("cell"))
        for path in segment_files(store / "segments")
        for item in read_segment(path)
        if isinstance(item, Record)
    ]
    at = dict(found)
    cells = [cell for _, cell in found if cell]
    return {
        "kills": rounds,
        "receipts": len(receipts),
        "lost": sum(at.get(seq) != cell for seq, cell in receipts),
        "doubled": len(cells) - len(set(cells)),
        "verifies": verify_log(store).ok,
    }


def _write(client: AuditClient, receipts: list[tuple[int, str]], stop: threading.Event) -> None:
    while not stop.is_set():
        cell = secrets.token_hex(16)
        try:
            receipt = client.record("cell.execute", actor="service:benchmark", outcome="intent", cell=cell)
        except UnavailableError:
            return
        receipts.append((receipt.seq, cell))
