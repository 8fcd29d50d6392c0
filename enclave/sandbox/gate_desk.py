"""What a gate asks of the launcher: to have the code folder sealed, and whether a saved file may be shown."""

from __future__ import annotations

from typing import Any

from enclave.core.errors import DeniedError, InvalidError
from enclave.sandbox.kernel_rights import kernel_rights
from enclave.sandbox.owner import Owner
from enclave.sandbox.tap.amounts import NOTHING, Amount
from enclave.sandbox.workshop import Workshop
from enclave.wire.client import WireClient
from enclave.wire.messages import launcher
from enclave.wire.messages.schema import Done
from enclave.wire.peer import Handler

_WINDOWS = {"hour": "this hour", "day": "this day"}


class GateDesk:
    """Answers the gate of one server; ``owner`` is whose server it is."""

    def __init__(self, workshop: Workshop, owner: Owner) -> None:
        self._shop = workshop
        self._owner = owner

    def handlers(self) -> dict[type[Any], Handler]:
        """All that a gate may ask."""
        return {launcher.KeepFiles: lambda _m, _c: self.keep(), launcher.ShowFile: lambda m, _c: self.show(m)}

    def keep(self) -> Done:
        """Seals the code folder as it is now."""
        self._shop.code.keep(self._owner.person)
        return Done()

    def show(self, message: launcher.ShowFile) -> Done:
        """Takes a file off the display budgets of its project; raises ``DeniedError`` when one is spent.

        The outputs in it passed the display policy once; to look at them again is to be shown them again.
        """
        person = self._owner.person
        need = Amount(max(0, message.size_bytes))
        answer = self._shop.display.draw(person, self._project(message.path), need=need, spare=NOTHING)
        if answer.granted is None:
            window = _WINDOWS.get(answer.budget, answer.budget)
            raise DeniedError(
                f"Files: wanted one within what {window} may show, got one beyond it; it comes back bit by bit, "
                "or ask a data steward for a larger budget",
                code=f"{answer.budget}_budget",
            )
        return Done()

    def _project(self, path: str) -> str:
        """The one that a kernel of this file would work for; a file of none counts for no project.

        Raises where that cannot be known: a registry that is away, or a clock set back, spares nobody's budget.
        """
        registry = WireClient(self._shop.places.runtime.home.socket("registryd"))
        try:
            return kernel_rights(registry, owner=self._owner, project=None, path=path, clock=self._shop.time).project
        except (DeniedError, InvalidError):
            self._shop.time.check()
            return ""
