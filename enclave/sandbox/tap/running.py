"""One request on its way through the kernel, and the digest of what it showed."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from enclave.sandbox.tap.amounts import NOTHING, Amount
from enclave.sandbox.tap.leases import Leases
from enclave.sandbox.tap.message import Message
from enclave.sandbox.tap.rules import Rule

MAX_OUTPUTS = 200  # one record stays below the 65,535 bytes of a log entry (tlog-tiles)
_STREAMS = {"stdout": "application/vnd.enclave.stdout", "stderr": "application/vnd.enclave.stderr"}


class OutputDigest:
    """Mime type, size and SHA-256 of each output; the text of a stream counts as one output."""

    def __init__(self) -> None:
        self.bytes = 0
        self.total = 0
        self._rows: list[dict[str, Any]] = []
        self._streams: dict[str, tuple[Any, list[int]]] = {}

    def add(self, message: Message) -> None:
        """Counts one iopub message; others than outputs are ignored."""
        content = message.content
        match message.kind:
            case "stream":
                self._stream(str(content.get("name", "stdout")), str(content.get("text", "")))
            case "display_data" | "execute_result" | "update_display_data":
                data = content.get("data")
                for mime, value in data.items() if isinstance(data, dict) else ():
                    self._row(str(mime), value)
            case "error":
                self._row("application/vnd.enclave.error", content.get("traceback"))
            case _:
                return
        self.bytes += message.size_bytes

    def rows(self) -> list[dict[str, Any]]:
        """``[{mime, size, sha256}]``, at most ``MAX_OUTPUTS``."""
        streams = [
            {"mime": _STREAMS.get(name, _STREAMS["stdout"]), "size": size[0], "sha256": digest.hexdigest()}
            for name, (digest, size) in self._streams.items()
        ]
        return (streams + self._rows)[:MAX_OUTPUTS]

    def _stream(self, name: str, text: str) -> None:
        if name not in self._streams:
            if len(self._streams) >= 4:
                return
            self._streams[name] = (hashlib.sha256(), [0])
            self.total += 1
        digest, size = self._streams[name]
        data = text.encode("utf-8", "replace")
        digest.update(data)
        size[0] += len(data)

    def _row(self, mime: str, value: Any) -> None:
        self.total += 1
        if len(self._rows) < MAX_OUTPUTS:
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            data = text.encode("utf-8", "replace")
            self._rows.append({"mime": mime[:100], "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})


@dataclass(slots=True)
class Shown:
    """What one cell has shown. ``closed`` names the budget after which nothing of it is shown any more."""

    cell: str = ""
    spent: Amount = NOTHING
    closed: str = ""
    warned: bool = False
    refused: int = 0
    placeholders: int = 0
    recorded: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class Running:
    """The one recorded request that the kernel has now. ``cell`` is the execution's id, which the kernel never sees."""

    message: Message
    rule: Rule
    cell: str
    started: float
    outputs: OutputDigest = field(default_factory=OutputDigest)
    idle: bool = False
    status: str = ""
    cut: bool = False
    shown: Shown = field(default_factory=Shown)
    leases: Leases | None = None  # in force when it began, where its intent said others

    @property
    def done(self) -> bool:
        """Whether the kernel has said all about it: idle, and for a cell the reply too."""
        return self.idle and (self.rule.kind != "cell.execute" or bool(self.status))


def text_of(message: Message, rule: Rule) -> str:
    """What the kernel is asked to run: the code, and whatever else of the message reaches code (see ``asked``)."""
    if not rule.text:
        whole: Any = message.content
        if message.metadata or message.buffers:
            buffers = [base64.b64encode(one).decode("ascii") for one in message.buffers]
            whole = {"content": message.content, "metadata": message.metadata, "buffers": buffers}
        return json.dumps(whole, sort_keys=True, ensure_ascii=False)
    text = message.content.get(rule.text)
    code = text if isinstance(text, str) else json.dumps(text, sort_keys=True, ensure_ascii=False)
    expressions = message.content.get("user_expressions")
    if rule.kind == "cell.execute" and expressions:
        code += "\n# user_expressions: " + json.dumps(expressions, sort_keys=True, ensure_ascii=False)
    return code
