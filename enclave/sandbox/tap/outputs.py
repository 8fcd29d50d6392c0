"""The display channel: each output of a kernel is judged, weighed against the budgets, and shown or refused.

Budgets of hour and day are kept by the launcher, for a person may have several kernels: the tap draws from it in small
parts and gives back what a cell did not use. While it waits for an answer nothing is taken from the kernel's iopub, so
the tap holds one output at most; a launcher that does not answer in time is a refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from enclave.core.errors import InvalidError
from enclave.sandbox.tap.amounts import FLOAT, NOTHING, Amount, amount_from_json, amount_to_json, size_words
from enclave.sandbox.tap.answers import Answers
from enclave.sandbox.tap.display import (
    OTHER,
    Refusal,
    Verdict,
    judge,
    judge_reply,
    placeholder,
    short_reply,
    with_placeholder,
)
from enclave.sandbox.tap.journal import Journal
from enclave.sandbox.tap.message import Message
from enclave.sandbox.tap.running import Running, Shown
from enclave.sandbox.tap.settings import TapSettings

ANSWER_S: Final = 2.0
MAX_PLACEHOLDERS: Final = 20  # of one cell; what is refused beyond is only counted
SPARE: Final = Amount(4 << 20, 10, 20_000)  # drawn on top, so that not every output asks; doubles within a cell
MAX_SPARE_BYTES: Final = 32 << 20
_BUDGETS: Final = {"cell": "this cell", "hour": "this hour", "day": "this day"}
_MEASURES: Final = {"bytes": "bytes", "images": "pictures", "rows": "rows"}
_DISPLAYS: Final = frozenset({"display_data", "execute_result", "update_display_data"})

Ask = Callable[[dict[str, Any]], None]
Show = Callable[[Message], None]


@dataclass(slots=True)
class _Held:
    message: Message
    verdict: Verdict
    shown: Shown
    running: Running | None
    until: float


class Outputs:
    """``ask`` sends a line to the launcher, ``show`` a message to the clients."""

    def __init__(self, settings: TapSettings, *, journal: Journal, answers: Answers, ask: Ask, show: Show) -> None:
        self._policy = settings.display
        self._journal = journal
        self._answers = answers
        self._ask, self._show = ask, show
        self._limit = settings.display.cell.amount
        self._left = {window: amount_from_json(value) for window, value in settings.left.items()}
        self._purse = amount_from_json(settings.granted)
        self._spare = SPARE
        self._owed = NOTHING  # shown by a reply, which cannot wait, before the launcher had said yes
        self._held: _Held | None = None
        self._between = Shown()

    @property
    def waiting(self) -> bool:
        """Whether an output waits for the launcher: take no more from the kernel."""
        return self._held is not None

    def begin(self, running: Running) -> None:
        """A cell begins, with budgets of its own."""
        running.shown = Shown(cell=running.cell)
        self._between = Shown()

    def end(self) -> None:
        """A cell ended: what it did not use goes back."""
        self._spare = SPARE
        rest = self._purse.minus(FLOAT)
        if rest != NOTHING and self._held is None:
            self._purse = self._purse.minus(rest)
            self._ask({"back": amount_to_json(rest)})

    def offer(self, message: Message, running: Running | None) -> None:
        """Shows what may be shown of one message from the kernel's iopub; ``running`` is the cell it belongs to."""
        shown = running.shown if running is not None else self._between
        verdict = judge(message, self._policy)
        if message.needed and verdict.message is not None:
            self._purse = self._purse.minus(verdict.amount)
            self._show(_with_own_code(verdict.message, running))
            return
        if verdict.refusals or verdict.removed:
            self._note(verdict, message, shown)
        if verdict.message is None:
            if message.kind in _DISPLAYS:
                self._stand_in(verdict.refusals[0], message, shown)
            return
        if shown.closed:
            shown.refused += 1
            return
        self._weigh(_Held(message, verdict, shown, running, time.monotonic() + ANSWER_S))

    def reply(self, message: Message, running: Running | None) -> Message:
        """What may be shown of an answer on another channel; without a budget for it, that it was answered."""
        shown = running.shown if running is not None else self._between
        verdict = judge_reply(message, self._policy)
        if verdict.refusals:
            self._note(verdict, message, shown)
        total = shown.spent.plus(verdict.amount)
        if shown.closed or total.beyond(self._limit) or verdict.amount.minus(FLOAT) != NOTHING:
            return short_reply(message)
        if verdict.amount.beyond(self._purse):
            owed = self._owed.plus(verdict.amount)
            if any(owed.beyond(left) for left in self._left.values()):
                return short_reply(message)
            self._ask_for(verdict.amount)
            self._owed = owed
        else:
            self._purse = self._purse.minus(verdict.amount)
        shown.spent = total
        return verdict.message or short_reply(message)

    def answer(self, order: Any) -> None:
        """What the launcher said to the last draw."""
        granted, budget, measure, warned = self._read(order)
        held, self._held = self._held, None
        if granted is not None:
            have = self._purse.plus(granted)
            self._purse, self._owed = have.minus(self._owed), self._owed.minus(have)
        for window in warned:
            self._warn(window, held)
        if held is None:
            return
        if granted is None:
            self._close(held, budget, measure)
        else:
            self._weigh(held)

    def forget(self) -> None:
        """The kernel is gone, and what waited with it."""
        self._held = None

    def look(self) -> None:
        """Refuses what waited too long for the launcher."""
        if self._held is not None and time.monotonic() > self._held.until:
            held, self._held = self._held, None
            self._close(held, "hour", "bytes")

    # ── steps ───────────────────────────────────────────────────────────────

    def _weigh(self, held: _Held) -> None:
        amount, shown = held.verdict.amount, held.shown
        total = shown.spent.plus(amount)
        measure = total.beyond(self._limit)
        if measure:
            self._close(held, "cell", measure)
        elif amount.beyond(self._purse):
            self._held = held
            self._ask_for(amount)
        else:
            self._purse = self._purse.minus(amount)
            shown.spent = total
            if held.running is not None and held.verdict.message is not None:
                held.running.outputs.add(held.verdict.message)
            if held.verdict.message is not None:
                self._show(held.verdict.message)
            if not shown.warned and total.percent_of(self._limit) >= self._policy.warn_percent:
                shown.warned = True
                self._warn("cell", held)

    def _ask_for(self, amount: Amount) -> None:
        self._ask({"draw": amount_to_json(amount.minus(self._purse)), "spare": amount_to_json(self._spare)})
        if self._spare.bytes < MAX_SPARE_BYTES:
            self._spare = self._spare.plus(self._spare)

    def _read(self, order: Any) -> tuple[Amount | None, str, str, tuple[str, ...]]:
        try:
            self._left = {window: amount_from_json(order["left"][window]) for window in ("hour", "day")}
            granted = amount_from_json(order["granted"]) if order["granted"] is not None else None
            return granted, str(order["budget"]), str(order["measure"]), tuple(order["warned"])
        except (KeyError, TypeError, InvalidError):
            return None, "hour", "bytes", ()

    def _close(self, held: _Held, budget: str, measure: str) -> None:
        """A budget is spent: nothing more of this cell is shown."""
        shown, kind = held.shown, held.message.kind
        shown.closed = budget
        shown.refused += 1
        size = held.verdict.amount.bytes
        rule = f"{budget}_budget"
        text = (
            f"[enclave] Not shown: {size_words(size)}. Rule {rule}: the {_MEASURES.get(measure, measure)} that "
            f"{_BUDGETS.get(budget, budget)} may show are spent; the rest is cut. {self._note_of_left(shown)}"
        )
        if kind in _DISPLAYS:
            self._show(with_placeholder(held.message, text))
        else:
            self._answers.stream(held.running.message if held.running else None, f"\n{text}\n")
        if held.running is not None:
            held.running.cut = True
        detail = {"budget": budget, "measure": measure, "output_bytes": shown.spent.bytes, "size": size, "mime": OTHER}
        detail["limit"] = getattr(self._limit, measure, 0) if budget == "cell" else 0
        self._journal.note("output.refused", "refused", cell=shown.cell, reason=rule, detail=detail)
        if budget != "cell":
            self._ask({"refused": budget})

    def _warn(self, budget: str, held: _Held | None) -> None:
        shown = held.shown if held is not None else self._between
        percent = self._policy.warn_percent
        text = f"[enclave] {percent} % of what {_BUDGETS[budget]} may show is used. {self._note_of_left(shown)}"
        self._answers.stream(held.running.message if held and held.running else None, f"\n{text}\n")
        detail = {"budget": budget, "percent": percent}
        self._journal.note("output.warned", "ok", cell=shown.cell, detail=detail)

    def _note(self, verdict: Verdict, message: Message, shown: Shown) -> None:
        """Each rule and type once per cell in the ledger, at once; how often stands in the cell's record."""
        for one in verdict.refusals:
            shown.refused += 1
            if (one.rule, one.mime) not in shown.recorded and len(shown.recorded) < MAX_PLACEHOLDERS:
                shown.recorded.add((one.rule, one.mime))
                detail = {"mime": one.mime, "size": one.size}
                self._journal.note("output.refused", "refused", cell=shown.cell, reason=one.rule, detail=detail)
        if verdict.removed and ("cleaned", "") not in shown.recorded:
            shown.recorded.add(("cleaned", ""))
            detail = {"removed": verdict.removed, "size": message.size_bytes}
            self._journal.note("output.cleaned", "ok", cell=shown.cell, detail=detail)

    def _stand_in(self, refusal: Refusal, message: Message, shown: Shown) -> None:
        if shown.placeholders < MAX_PLACEHOLDERS:
            shown.placeholders += 1
            self._show(with_placeholder(message, placeholder(refusal, note=self._note_of_left(shown))))

    def _note_of_left(self, shown: Shown) -> str:
        parts = [f"this cell {self._limit.minus(shown.spent).words()}"]
        parts += [f"this {window} {left.plus(self._purse).words()}" for window, left in self._left.items()]
        return "Left for " + "; for ".join(parts) + "."


def _with_own_code(message: Message, running: Running | None) -> Message:
    """An echo of a cell's code says what its client sent, not what the kernel says that it was."""
    if message.kind != "execute_input" or running is None:
        return message
    code = running.message.content.get("code")
    return message.with_content({**message.content, "code": code if isinstance(code, str) else ""})
