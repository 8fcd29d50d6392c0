"""How much of the ledger one principal may take, so that who floods it is cut and nobody else waits for him.

A principal is the writing process's user and the actor that this trusted process names: a person in one daemon cannot
use up what he may do in another, and no process is cut for what its people do. Services are not people and are not
counted. A token bucket bounds events, a day's sum bounds bytes. Who began an act may tell its end: only what begins an
act is refused at the bottom of the bucket, everything else a whole bucket later.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

WINDOW_S = 60.0  # one event per window about one principal
REMEMBERED = 10_000
DAY_S = 86_400.0

Principal = tuple[int, str]  # uid of the writing process, actor


@dataclass(frozen=True, slots=True)
class Limits:
    """What one principal may write; refusals and control events have a bucket of the same size for themselves."""

    events_per_s: float
    burst: int
    bytes_per_day: int


@dataclass(frozen=True, slots=True)
class Cut:
    """That a principal was cut: how often since the last time that it was told."""

    principal: Principal
    reason: str
    refused: int


@dataclass(slots=True)
class _Account:
    tokens: float
    told: float
    at: float
    day_began: float
    day_bytes: int = 0
    refused: int = 0
    reason: str = ""
    told_at: float | None = None


@dataclass(slots=True)
class Quotas:
    """All accounts; the oldest of very many is forgotten, which is in its favour. ``at`` is monotonic, in seconds."""

    limits: Limits
    _accounts: OrderedDict[Principal, _Account] = field(default_factory=OrderedDict)
    _cut: set[Principal] = field(default_factory=set)

    def admit(self, principal: Principal, *, size_bytes: int, kind_class: str, begins: bool, at: float) -> str | None:
        """None when the event may be written, else the code of what is used up."""
        if kind_class == "control" or principal[1].startswith("service:"):
            return None
        account = self._account(principal, at)
        floor = 1.0 if begins else 1.0 - self.limits.burst
        if kind_class == "refusal":
            if account.told >= 1.0:
                account.told -= 1.0
                return None
            return self._refuse(principal, account, "quota_events")
        if account.tokens < floor:
            return self._refuse(principal, account, "quota_events")
        if begins and account.day_bytes + size_bytes > self.limits.bytes_per_day:
            return self._refuse(principal, account, "quota_bytes")
        account.tokens -= 1.0
        account.day_bytes += size_bytes
        return None

    def due(self, at: float) -> list[Cut]:
        """Who was cut and has to be told of now: at once the first time, then once per window."""
        found: list[Cut] = []
        if not self._cut:
            return found
        for principal in list(self._cut):
            account = self._accounts.get(principal)
            if account is None or (account.told_at is not None and at - account.told_at < WINDOW_S):
                continue
            found.append(Cut(principal, account.reason, account.refused))
            account.told_at, account.refused = at, 0
            self._cut.discard(principal)
        return found

    def _account(self, principal: Principal, at: float) -> _Account:
        account = self._accounts.get(principal)
        if account is None:
            burst = float(self.limits.burst)
            account = self._accounts[principal] = _Account(burst, burst, at, at)
            while len(self._accounts) > REMEMBERED:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(principal)
        earned = (at - account.at) * self.limits.events_per_s
        account.tokens = min(account.tokens + earned, self.limits.burst)
        account.told = min(account.told + earned, self.limits.burst)
        account.at = at
        if at - account.day_began >= DAY_S:
            account.day_began, account.day_bytes = at, 0
        return account

    def _refuse(self, principal: Principal, account: _Account, reason: str) -> str:
        account.refused += 1
        account.reason = reason
        self._cut.add(principal)
        return reason
