"""Machine checks and previews, each in a check sandbox of the launcher: no hostile byte is decoded in this process."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enclave.airlock.frozen import FrozenFiles
from enclave.airlock.package import as_memory
from enclave.airlock.store import FileRecord
from enclave.core.errors import EnclaveError, IntegrityError, UnavailableError
from enclave.disclosure.findings import Judged, Report, failed_check, judge
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.airlock import PreviewReply
from enclave.wire.messages.launcher import RunCheck
from enclave.wire.messages.schema import from_json, to_json

MODULE: Final = "enclave.disclosure.parse"
_PREVIEW_TYPES: Final = frozenset({"image/png", "text/plain"})
_GRACE_S: Final = 15.0  # the launcher's own time around the check


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """Runs one file at a time, so that a file that breaks the parser breaks only its own result."""

    launcher: Path
    frozen: FrozenFiles
    timeout_s: float
    log: Log

    def check(self, file: FileRecord) -> FileRecord:
        """``file`` with its findings; a check that crashed or was not available is a finding that blocks."""
        try:
            result = self._run({"act": "check", "names": [file.name]}, file)
            judged = _judge(result, file)
        except EnclaveError as error:
            self.log.warning("check failed", sha256=file.sha256, reason=error.code)
            judged = failed_check(sha256=file.sha256, size_bytes=file.size_bytes)
        return FileRecord(
            name=file.name,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            type=judged.type,
            verdict=judged.verdict,
            findings=tuple(to_json(finding) for finding in judged.findings),
            checks_not_run=judged.checks_not_run,
        )

    def preview(self, file: FileRecord, *, mark: str) -> PreviewReply:
        """The picture or text to show, with ``mark`` on it; raises ``UnavailableError`` when it cannot be made."""
        result = self._run({"act": "preview", "name": file.name, "mark": mark}, file)
        mime, data = (result.get("mime"), result.get("data")) if isinstance(result, dict) else (None, None)
        if mime not in _PREVIEW_TYPES or not isinstance(data, str):
            raise _no_preview()
        try:
            content = base64.b64decode(data, validate=True)
        except (ValueError, binascii.Error):
            raise _no_preview() from None
        if content == self.frozen.read(file.sha256):
            raise IntegrityError("preview: wanted a rendering, got the file itself", code="preview_is_source")
        return PreviewReply(mime=str(mime), data=data)

    def _run(self, request: dict[str, Any], file: FileRecord) -> Any:
        fd = as_memory(self.frozen.read(file.sha256), name="check")
        launcher = WireClient(self.launcher, timeout_s=self.timeout_s + _GRACE_S)  # so that a look waits for no check
        try:
            message = RunCheck(module=MODULE, names=(file.name,), request=request, timeout_s=self.timeout_s)
            reply, _ = launcher.call_with_descriptors(message, descriptors=[fd])
        finally:
            os.close(fd)
            launcher.close()
        if reply.exit_code != 0:
            raise UnavailableError(
                f"check: wanted it to end well, got exit code {reply.exit_code}", code="check_crashed"
            )
        return reply.result


def _judge(result: Any, file: FileRecord) -> Judged:
    """The judged report, after it was compared with the file that was asked about."""
    files = result.get("files") if isinstance(result, dict) else None
    if not isinstance(files, list) or len(files) != 1:
        raise IntegrityError("check: wanted a report on one file, got another answer", code="check_answer")
    report = from_json(Report, files[0])
    if report.sha256 != file.sha256 or report.size_bytes != file.size_bytes:
        raise IntegrityError("check: wanted a report on the file that was sent, got another's", code="check_answer")
    return judge(report)


def _no_preview() -> UnavailableError:
    return UnavailableError("preview: wanted a picture or text, got neither; try again", code="preview_failed")
