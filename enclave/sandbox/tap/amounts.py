"""How much of a project's data a person was shown, and how much they may be. Pure: the time is given.

Three measures: bytes of messages to the browser, pictures, rows (of tables, and lines of text). A window slides in
steps of five minutes, so a budget comes back bit by bit and not at midnight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from enclave.core.errors import InvalidError

STEP_S: Final = 300
WINDOWS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Amount:
    """What was or may be shown."""

    bytes: int = 0
    images: int = 0
    rows: int = 0

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.bytes + other.bytes, self.images + other.images, self.rows + other.rows)

    def minus(self, other: Amount) -> Amount:
        """What is left, never below nothing."""
        return Amount(
            max(0, self.bytes - other.bytes), max(0, self.images - other.images), max(0, self.rows - other.rows)
        )

    def beyond(self, limit: Amount) -> str:
        """The first measure that is more than ``limit`` has; empty when all of it fits."""
        if self.bytes > limit.bytes:
            return "bytes"
        if self.images > limit.images:
            return "images"
        return "rows" if self.rows > limit.rows else ""

    def percent_of(self, limit: Amount) -> int:
        """The largest share of ``limit`` over the three measures, rounded down; more than 100 when it is exceeded."""
        return max(
            _percent(self.bytes, limit.bytes), _percent(self.images, limit.images), _percent(self.rows, limit.rows)
        )

    def words(self) -> str:
        """For people: ``3.2 MB, 4 pictures, 120 rows``."""
        return f"{size_words(self.bytes)}, {self.images} pictures, {self.rows} rows"


def _percent(used: int, most: int) -> int:
    return 100 * used // most if most else (101 if used else 0)


NOTHING: Final = Amount()
FLOAT: Final = Amount(1 << 20, 5, 5_000)  # what a tap has in hand between cells, so that few outputs wait


def size_words(size: int) -> str:
    """A number of bytes for people."""
    if size < 1 << 10:
        return f"{size} bytes"
    if size < 1 << 20:
        return f"{size / (1 << 10):.1f} KB"
    return f"{size / (1 << 20):.1f} MB"


def amount_from_json(value: Any) -> Amount:
    """``[bytes, images, rows]`` as a tap or a file has it; raises ``InvalidError``."""
    if not (
        isinstance(value, list) and len(value) == 3 and all(type(number) is int and number >= 0 for number in value)
    ):
        raise InvalidError("display amount: wanted three whole numbers, got something else")
    return Amount(*value)


def amount_to_json(amount: Amount) -> list[int]:
    """The same backwards."""
    return [amount.bytes, amount.images, amount.rows]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person may be shown now. ``budget`` and ``measure`` name what is spent when nothing was granted.

    ``warned`` are the windows that this grant took over the share at which a person is warned.
    """

    granted: Amount | None
    left: dict[str, Amount]
    budget: str = ""
    measure: str = ""
    warned: tuple[str, ...] = ()


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """As the launcher tells a tap."""
    return {
        "granted": None if answer.granted is None else amount_to_json(answer.granted),
        "left": {window: amount_to_json(amount) for window, amount in answer.left.items()},
        "budget": answer.budget,
        "measure": answer.measure,
        "warned": list(answer.warned),
    }


@dataclass(slots=True)
class Usage:
    """What one person was granted in one project, by steps of five minutes: seconds since 1970 → amount, refusals."""

    steps: dict[int, tuple[Amount, int]] = field(default_factory=dict)

    def used(self, window: str, at: datetime) -> Amount:
        """All of a window that ends at ``at``; a step that only reaches into it counts whole."""
        total = NOTHING
        for start, (amount, _) in self.steps.items():
            if start + STEP_S > at.timestamp() - WINDOWS[window].total_seconds():
                total = total.plus(amount)
        return total

    def refusals(self, at: datetime) -> int:
        """Cells of the last day that went on after a budget was spent."""
        oldest = at.timestamp() - WINDOWS["day"].total_seconds()
        return sum(count for start, (_, count) in self.steps.items() if start + STEP_S > oldest)

    def draw(
        self, need: Amount, *, spare: Amount, limits: dict[str, Amount], warn_percent: int, at: datetime
    ) -> Answer:
        """Takes ``need``, and ``spare`` on top when that fits as well, off every window; or nothing at all."""
        before = {window: self.used(window, at) for window in WINDOWS}
        for window, used in before.items():
            measure = used.plus(need).beyond(limits[window])
            if measure:
                left = {name: limits[name].minus(before[name]) for name in WINDOWS}
                return Answer(None, left, window, measure)
        more = need.plus(spare)
        fits = all(not used.plus(more).beyond(limits[window]) for window, used in before.items())
        granted = more if fits else need
        self._note(granted, 0, at)
        after = {window: used.plus(granted) for window, used in before.items()}
        warned = tuple(
            window
            for window in WINDOWS
            if before[window].percent_of(limits[window]) < warn_percent <= after[window].percent_of(limits[window])
        )
        return Answer(granted, {name: limits[name].minus(after[name]) for name in WINDOWS}, warned=warned)

    def give_back(self, amount: Amount, at: datetime) -> None:
        """Takes what was not shown off the newest steps; never more than they hold."""
        for start in sorted(self.steps, reverse=True):
            held, refused = self.steps[start]
            self.steps[start] = (held.minus(amount), refused)
            amount = amount.minus(held)
        self._forget(at)

    def refuse(self, at: datetime) -> int:
        """Counts one more refused cell; says how many there were in a day."""
        self._note(NOTHING, 1, at)
        return self.refusals(at)

    def _note(self, amount: Amount, refused: int, at: datetime) -> None:
        self._forget(at)
        start = int(at.timestamp()) // STEP_S * STEP_S
        held, count = self.steps.get(start, (NOTHING, 0))
        self.steps[start] = (held.plus(amount), count + refused)

    def _forget(self, at: datetime) -> None:
        oldest = at.timestamp() - WINDOWS["day"].total_seconds() - STEP_S
        for start in [start for start in self.steps if start < oldest]:
            del self.steps[start]
