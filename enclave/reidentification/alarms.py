"""Alarms on disk until everybody who must see them has: one encrypted file each, replaced whole, bound to its id.

The ledger holds every alarm for good; these files only remember who has seen which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from enclave.core.canonical import canonical_bytes, digest_hex, parse_json
from enclave.core.errors import NotFoundError, UnavailableError
from enclave.core.ids import check_token_id
from enclave.keys.box import Box
from enclave.runtime.durable import write_whole
from enclave.runtime.home import ensure_private_dir
from enclave.wire.messages.schema import from_json, to_json
from enclave.wire.messages.vault import Alarm

_SUFFIX = ".alarm"
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An alarm, and who has acknowledged it."""

    alarm: Alarm
    seen_by: tuple[str, ...] = ()


class AlarmStore:
    """All alarms below one folder. Not thread-safe: the desk holds its lock around each act."""

    def __init__(self, folder: Path, *, box: Box) -> None:
        self._folder = ensure_private_dir(folder)
        self._box = box

    def add(self, alarm: Alarm) -> None:
        """Keeps ``alarm``, durable when this returns; the same refused attempt again is one alarm with a count.

        Whoever had acknowledged it sees it again. Raises ``UnavailableError`` when the disk does not take it.
        """
        if alarm.stage == "refused":
            what = digest_hex([alarm.act, alarm.actor, alarm.reason, alarm.request, alarm.dataset])
            alarm = replace(alarm, id=what[:32])
            if self._path(alarm.id).exists():
                alarm = replace(alarm, times=self.get(alarm.id).times + 1)
        self._put(Kept(alarm=alarm))

    def get(self, alarm_id: str) -> Alarm:
        """One alarm; raises ``NotFoundError``, ``IntegrityError`` for a file that was changed or swapped."""
        return self._read(check_token_id(alarm_id, what="alarm")).alarm

    def waiting_for(self, person: str) -> tuple[Alarm, ...]:
        """The newest alarms that ``person`` has not acknowledged."""
        found = [self._read(path.stem) for path in self._folder.glob(f"*{_SUFFIX}")]
        waiting = [kept.alarm for kept in found if person not in kept.seen_by]
        return tuple(sorted(waiting, key=lambda alarm: (alarm.at, alarm.id), reverse=True)[:_SHOWN])

    def acknowledge(self, alarm_id: str, *, by: str) -> None:
        """Remembers that ``by`` has seen it."""
        kept = self._read(alarm_id)
        if by not in kept.seen_by:
            self._put(replace(kept, seen_by=(*kept.seen_by, by)))

    def _read(self, alarm_id: str) -> Kept:
        try:
            sealed = self._path(alarm_id).read_bytes()
        except FileNotFoundError:
            raise NotFoundError("alarm: wanted a known one, got an id that the vault does not have") from None
        return from_json(Kept, parse_json(self._box.open(sealed, context=_context(alarm_id))))

    def _put(self, kept: Kept) -> None:
        path = self._path(kept.alarm.id)
        sealed = self._box.seal(canonical_bytes(to_json(kept)), context=_context(kept.alarm.id))
        try:
            write_whole(path, sealed)
        except OSError:
            raise UnavailableError("vault: wanted to keep an alarm, got an error of the disk; nothing done") from None

    def _path(self, alarm_id: str) -> Path:
        return self._folder / f"{alarm_id}{_SUFFIX}"


def _context(alarm_id: str) -> bytes:
    return b"break-glass alarm " + alarm_id.encode()
