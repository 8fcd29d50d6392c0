"""An invented year of one enclave as segment files: who did what is drawn from a seed, nobody exists.

Most are cells (intent and end), the rest reads, sign-ins, egress and refusals.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from enclave.audit.segments import FILE_HEAD, MAGIC, ROTATE_BYTES, frame, segment_name
from enclave.core.canonical import canonical_bytes
from enclave.core.clock import format_time

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365
PEOPLE, PROJECTS, DATASETS = 200, 30, 40
_OUTPUTS = [
    {"bytes": 1234, "hash": "0f" * 32, "mime": "text/plain"},
    {"bytes": 20480, "hash": "1e" * 32, "mime": "image/png"},
]


def write_year(folder: Path, *, events: int, seed: int) -> None:
    """Writes ``events`` records into new segments below ``folder``; not durable, for a benchmark only."""
    folder.mkdir(parents=True, mode=0o700)
    file, room = None, 0
    for seq, payload in enumerate(records(events, seed=seed)):
        data = frame(seq, payload)
        if file is None or room < len(data):
            if file is not None:
                file.close()
            file = (folder / segment_name(seq)).open("wb", buffering=1 << 20)
            file.write(FILE_HEAD.pack(MAGIC, seq))
            room = ROTATE_BYTES
        file.write(data)
        room -= len(data)
    if file is not None:
        file.close()


def records(events: int, *, seed: int) -> Iterator[bytes]:
    """The payloads in their order, as a ledger would have written them."""
    chance = random.Random(seed)
    step = timedelta(days=DAYS) / events
    acts = _acts(chance)
    for seq in range(events):
        at = format_time(BEGIN + seq * step)
        event = next(acts) | {"id": f"{chance.getrandbits(128):032x}", "time": at}
        yield b'{"event":%b,"received":"%b","seq":%d,"writer":{"pid":%d,"uid":990}}' % (
            canonical_bytes(event),
            at.encode(),
            seq,
            1000 + seq % 50,
        )


def _acts(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Acts of people taking turns; what one cell did lies a few events apart, as it does when many work."""
    waiting: list[dict[str, Any]] = []
    while True:
        person = chance.randrange(PEOPLE)
        who = {
            "actor": f"person-{person:03d}",
            "role": "researcher",
            "project": f"project-{person % PROJECTS:02d}",
            "session": f"{person:032x}",
            "kernel": f"{person * 1000 + chance.randrange(5):032x}",
        }
        for act in _of_one(chance, who):
            waiting.append(act)
            if len(waiting) > 40:
                yield waiting.pop(0)


def _of_one(chance: random.Random, who: dict[str, Any]) -> Iterator[dict[str, Any]]:
    drawn = chance.random()
    if drawn < 0.03:
        yield {
            "actor": who["actor"],
            "kind": "login.ok",
            "outcome": "ok",
            "detail": {"method": "mfa"},
            "source": "10.0.0.7",
        }
    elif drawn < 0.05:
        reason = chance.choice(["certificate_expired", "not_member", "lease_unknown"])
        yield who | {"kind": "dataset.open", "outcome": "refused", "reason": reason, "detail": {}} | _dataset(chance)
    elif drawn < 0.06:
        detail = {"request": f"{chance.getrandbits(64):016x}", "round": 1, "files": 2, "size_bytes": 40_000}
        yield who | {"kind": "egress.submit", "outcome": "ok", "detail": detail}
    else:
        yield from _cell(chance, who)


def _cell(chance: random.Random, who: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cell = {"cell": f"{chance.getrandbits(128):032x}"}
    begin = {"code_hash": f"{chance.getrandbits(256):064x}", "message_type": "execute_request", "channel": "shell"}
    yield who | cell | {"kind": "cell.execute", "outcome": "intent", "detail": begin}
    used = _dataset(chance)
    objects = [f"series/{chance.randrange(5000):05d}" for _ in range(3)]
    if chance.random() < 0.5:
        lease = {"lease": f"{chance.getrandbits(128):032x}", "count": 3, "size_bytes": 1_500_000, "warm": True}
        yield who | cell | used | {"kind": "dataset.read", "outcome": "ok", "objects": objects, "detail": lease}
    detail = {
        "datasets": [f"{used['dataset']}@{used['version']}"],
        "duration_ms": chance.randrange(20_000),
        "outputs": _OUTPUTS,
        "outputs_total": 2,
        "output_bytes": 21_714,
        "status": "ok",
    }
    outcome = {"outcome": "ok"} if chance.random() < 0.95 else {"outcome": "failed", "reason": "cell_error"}
    yield who | cell | {"kind": "cell.execute", "objects": objects, "detail": detail} | outcome


def _dataset(chance: random.Random) -> dict[str, Any]:
    number = chance.randrange(DATASETS)
    return {"dataset": f"dataset-{number:02d}", "version": 1 + number % 3}
