"""What a browser brings into the code folder: scanned, recorded, and only then passed on.

An upload with a finding is refused. A save of the editor is never refused for what it says, for work would be lost;
what is found in one is an event instead.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from enclave.audit.client import AuditClient
from enclave.core.errors import DeniedError, EnclaveError
from enclave.runtime.log import Log
from enclave.server.gate.bodies import Written
from enclave.server.gate.scan import Finding, describe, scan_notebook, scan_text, scan_upload

_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_TAIL: Final = 4096  # characters of the piece before, so that nothing hides in a cut
_MAX_PATHS: Final = 64


@dataclass(slots=True)
class Uploads:
    """One person's gate; ``admit`` is for the event loop."""

    person: str
    audit: AuditClient
    log: Log
    _tails: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _told: OrderedDict[tuple[str, tuple[str, ...]], None] = field(default_factory=OrderedDict)

    async def admit(self, path: str, written: Written) -> None:
        """Returns when ``written`` may be passed on to the server.

        Raises ``DeniedError`` for an upload with findings, ``UnavailableError`` when its event is not taken.
        """
        findings = await asyncio.to_thread(self._scan, path, written)
        if not written.upload:
            if findings:
                await self._tell_of_save(path, written, findings)
            return
        detail: dict[str, Any] = {"size_bytes": written.size, "ending": written.ending, "piece": written.piece}
        if findings:
            self._tails.pop(path, None)
            rules = sorted({one.rule for one in findings})
            await self._record_refusal(rules[0], detail | {"findings": rules})
            raise DeniedError(
                f"Upload: wanted a notebook or text without keys, identifiers of patients and packed files, "
                f"got {describe(findings)}; take it out and upload again",
                code=rules[0],
            )
        await asyncio.to_thread(
            self.audit.record, "code.upload", actor=self.person, detail=detail | {"sha256": written.sha256}
        )

    def _scan(self, path: str, written: Written) -> tuple[Finding, ...]:
        if not written.upload:
            return scan_notebook(written.notebook) if written.notebook is not None else scan_text(written.text)
        if written.piece == 0:
            return scan_upload(written.text, written.notebook)
        before = self._tails.pop(path, "") if written.piece != 1 else ""
        if written.piece > 0:
            self._tails[path] = written.text[-_TAIL:]
            while len(self._tails) > _MAX_PATHS:
                self._tails.popitem(last=False)
        text = before + written.text
        return scan_text(_unescaped(text) if written.ending == "ipynb" else text)

    async def _record_refusal(self, reason: str, detail: dict[str, Any]) -> None:
        """The refusal stands, receipt or not: nothing was brought in."""
        try:
            await asyncio.to_thread(
                self.audit.record, "code.upload", actor=self.person, outcome="refused", reason=reason, detail=detail
            )
        except EnclaveError as error:
            self.log.warning("refused upload not recorded", reason=error.code)

    async def _tell_of_save(self, path: str, written: Written, findings: tuple[Finding, ...]) -> None:
        """Once per file and kind of finding: an editor saves every two minutes."""
        rules = tuple(sorted({one.rule for one in findings}))
        if (path, rules) in self._told:
            return
        detail = {"size_bytes": written.size, "ending": written.ending, "findings": list(rules)}
        try:
            await asyncio.to_thread(self.audit.record, "code.found", actor=self.person, detail=detail)
        except EnclaveError as error:
            self.log.warning("finding in a save not recorded", reason=error.code)
            return
        self._told[(path, rules)] = None
        while len(self._told) > _MAX_PATHS:
            self._told.popitem(last=False)


def _unescaped(text: str) -> str:
    """A piece of JSON as its strings read, for a scan; a whole notebook is parsed instead."""
    return _ESCAPE.sub(lambda one: chr(int(one[1], 16)) if one[1] else _LETTERS.get(one[2], one[2]), text)
