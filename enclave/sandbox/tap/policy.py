"""``[launcher.display]``: what a kernel may show in a browser, and how much of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Final

from enclave.core.errors import InvalidError
from enclave.sandbox.tap.amounts import Amount

ACTIVE_TYPES: Final = frozenset(
    {"application/javascript", "text/javascript", "application/xhtml+xml", "text/xml", "application/xml",
     "image/svg+xml", "application/pdf"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be shown: megabytes of messages, pictures, rows (of tables, and lines of text)."""

    mb: int
    images: int
    rows: int

    @property
    def amount(self) -> Amount:
        """The same in the measures of the tap."""
        return Amount(self.mb << 20, self.images, self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayPolicy:
    """``[launcher.display]``. The budgets of hour and day are one person's in one project, over all kernels."""

    mime_types: tuple[str, ...] = ("text/plain", "text/html", "text/latex", "image/png")
    comms: bool = False
    html_kb: int = 256
    cell: Budget = field(default_factory=lambda: Budget(mb=200, images=200, rows=250_000))
    hour: Budget = field(default_factory=lambda: Budget(mb=1024, images=1000, rows=2_000_000))
    day: Budget = field(default_factory=lambda: Budget(mb=4096, images=5000, rows=10_000_000))
    warn_percent: int = 80
    freeze_after: int = 10

    @property
    def windows(self) -> dict[str, Amount]:
        """The limits of hour and day."""
        return {"hour": self.hour.amount, "day": self.day.amount}


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayChange:
    """``[launcher.display_of.PROJECT]``: what is different in one project; the rest is as in ``[launcher.display]``."""

    mime_types: tuple[str, ...] | None = None
    comms: bool | None = None
    html_kb: int | None = None
    cell: Budget | None = None
    hour: Budget | None = None
    day: Budget | None = None
    warn_percent: int | None = None
    freeze_after: int | None = None


def policy_for(project: str, *, default: DisplayPolicy, changes: dict[str, DisplayChange]) -> DisplayPolicy:
    """The policy of one project; raises ``InvalidError`` for one that cannot be kept."""
    change = changes.get(project, DisplayChange())
    named = {one.name: value for one in fields(change) if (value := getattr(change, one.name)) is not None}
    return check_policy(replace(default, **named), project or "a kernel without a project")


def check_policy(policy: DisplayPolicy, name: str) -> DisplayPolicy:
    """Raises ``InvalidError`` for types that run in a browser and for budgets without sense."""
    if not set(policy.mime_types).isdisjoint(ACTIVE_TYPES):
        raise InvalidError(
            f"display policy of {name}: wanted types that run nothing in a browser, got one that can; take it out"
        )
    budgets = (policy.cell, policy.hour, policy.day)
    if min(min(one.mb, one.images, one.rows) for one in budgets) < 0 or policy.html_kb < 0 or policy.freeze_after < 1:
        raise InvalidError(f"display policy of {name}: wanted budgets of 0 or more and freeze_after of 1 or more")
    if not 1 <= policy.warn_percent <= 100:
        raise InvalidError(f"display policy of {name}: wanted warn_percent from 1 to 100, got another number")
    return policy
