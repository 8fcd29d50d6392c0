"""The gate's leg to the launcher: nothing is called saved before it is sealed, and what is read counts as shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enclave.core.errors import DeniedError, EnclaveError, UnavailableError
from enclave.wire.client import call_once
from enclave.wire.messages.launcher import KeepFiles, ShowFile

KEEP_S: Final = 25.0


@dataclass(frozen=True, slots=True)
class Keeper:
    """``socket`` is the launcher's for this gate."""

    socket: Path

    async def keep(self) -> None:
        """Returns when what was written is durable; raises ``UnavailableError`` when it is not."""
        try:
            await self._ask(KeepFiles())
        except EnclaveError as error:
            raise UnavailableError(
                f"Files: wanted this change sealed, got: {error.message} It is in the server's memory only; save again",
                code="not_kept",
            ) from None

    async def count(self, file: str, size_bytes: int) -> None:
        """Returns when a file of this size may be shown.

        Raises ``DeniedError`` when a display budget is spent, ``UnavailableError`` when nobody can say.
        """
        try:
            await self._ask(ShowFile(path=file, size_bytes=size_bytes))
        except DeniedError:
            raise
        except EnclaveError:
            words = "Files: wanted to know what may still be shown, got no answer; try again"
            raise UnavailableError(words, code="not_counted") from None

    async def _ask(self, message: Any) -> None:
        await asyncio.to_thread(call_once, self.socket, message, timeout_s=KEEP_S)
