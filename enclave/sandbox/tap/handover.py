"""The tap's page in the hands of broker and airlock, and the broker's page in the tap's.

On the tap's page stands which cell runs; broker and airlock look at it whenever the kernel asks them for something. So
no cell waits for them. The broker's page says how often the kernel's leases have changed; only when they have does the
tap ask which there are. Who of the two goes away loses the page: it is handed over again, by itself, as soon as they
answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Final

from enclave.core.errors import EnclaveError, InvalidError, UnavailableError
from enclave.sandbox.tap.settings import TapSettings
from enclave.wire.messages.airlock import TakeSubmitPage
from enclave.wire.messages.broker import LeasesReply, TakePage
from enclave.wire.page import ChangeView, ExecutionPage
from enclave.wire.polled_line import BrokenLineError, PolledLine

RETRY_S: Final = 0.2  # between two attempts to reach who is away
RENEW_S: Final = 300.0  # a connection that is silent for ten minutes is closed at the other end


class Handover:
    """Belongs to the poller's thread. ``heard`` gets each answer of the broker."""

    def __init__(
        self,
        settings: TapSettings,
        *,
        watch: Callable[[int], None],
        unwatch: Callable[[int], None],
        heard: Callable[[LeasesReply], None],
    ) -> None:
        self._kernel = settings.kernel
        self._heard = heard
        self._page = ExecutionPage(settings.kernel)
        self._broker = PolledLine(Path(settings.broker_socket), watch=watch, unwatch=unwatch, brings=True)
        self._airlock = PolledLine(Path(settings.airlock_socket), watch=watch, unwatch=unwatch)
        self._requests: dict[PolledLine, Any] = {
            self._broker: TakePage(kernel=self._kernel),
            self._airlock: TakeSubmitPage(kernel=self._kernel),
        }
        self._holders: set[PolledLine] = set()
        self._told: ChangeView | None = None
        self._again: float | None = None  # when to try again or to renew; None: when the next cell begins

    @property
    def lines(self) -> tuple[PolledLine, ...]:
        """Its connections, open or not."""
        return tuple(self._requests)

    def show(self, cell: str | None) -> None:
        """What runs in the kernel from now on; None: nothing."""
        self._page.show(cell)

    def stands(self, change: int) -> bool:
        """Whether both hold the page, and the broker's says that nothing has changed since ``change``."""
        return len(self._holders) == len(self._requests) and self._change() == change

    def ask(self, change: int) -> None:
        """Hands the page to who does not hold it, and to the broker when its leases have changed since ``change``."""
        if self._change() != change:
            self._holders.discard(self._broker)
        for line in self._requests:
            if line not in self._holders and not line.waiting:
                self._hand(line)

    def hear(self, ready: Container[int]) -> EnclaveError | None:
        """Takes the answers that are there; returns the last refusal among them."""
        fault = None
        for line in self._requests:
            if line.descriptor in ready:
                fault = self._take(line) or fault
        if self._again is not None and time.monotonic() >= self._again:
            self._again = None
            if len(self._holders) == len(self._requests):
                self._holders.clear()
            for line in self._requests:
                if line not in self._holders and not line.waiting:
                    self._hand(line)
        return fault

    def wait_ms(self, otherwise: int) -> int:
        """How long the poller may sleep."""
        if self._again is None:
            return otherwise
        return max(1, min(otherwise, round(1000 * (self._again - time.monotonic())) + 1))

    def begin(self) -> None:
        """A kernel begins, and with it a session at broker and airlock; a cell may have been sent to it already."""
        self._forget()
        for line in self._requests:
            self._hand(line)

    def end(self) -> None:
        """The kernel has ended: nothing runs, and nobody is asked before the next one."""
        self.show(None)
        self._forget()

    def give_up(self) -> None:
        """Waits for no answer any more; whoever has not answered is tried again."""
        for line in self._requests:
            if line.waiting:
                self._lose(line)

    def unavailable(self) -> UnavailableError:
        """What to say when not both hold the page in time."""
        away = next((line for line in self._requests if line not in self._holders), self._broker)
        return away.unavailable()

    def _forget(self) -> None:
        self._holders.clear()
        self._told, self._again = None, None
        for line in self._requests:
            line.drop()

    def _hand(self, line: PolledLine) -> None:
        descriptor = self._page.descriptor()
        try:
            line.ask(self._requests[line], descriptors=(descriptor,))
        except BrokenLineError:
            self._lose(line)
        finally:
            os.close(descriptor)

    def _take(self, line: PolledLine) -> EnclaveError | None:
        try:
            answer = line.answer()
            if answer is None:
                return None
            if line is self._broker:
                self._told = self._view(line.brought())
                self._heard(answer)
        except BrokenLineError:
            self._lose(line)
            return None
        except EnclaveError as error:
            self._holders.discard(line)
            return error
        self._holders.add(line)
        if len(self._holders) == len(self._requests):
            self._again = time.monotonic() + RENEW_S
        return None

    def _view(self, descriptors: list[int]) -> ChangeView:
        try:
            if len(descriptors) != 1:
                raise InvalidError("broker: wanted the page of its leases beside the answer, got none")
            return ChangeView(descriptors[0], kernel=self._kernel)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _lose(self, line: PolledLine) -> None:
        line.drop()
        self._holders.discard(line)
        self._again = time.monotonic() + RETRY_S

    def _change(self) -> int | None:
        """What the broker's page says; None when it cannot be read, which is never what is known."""
        try:
            return self._told.change() if self._told is not None else None
        except UnavailableError:
            return None
