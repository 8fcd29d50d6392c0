"""What the tap says itself, as a kernel would say it: refusals, aborts, notices."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from enclave.sandbox.tap.message import Message

Send = Callable[[str, Message], None]


class Answers:
    """Builds messages in the tap's own session and hands them to ``send(channel, message)``."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._session = secrets.token_hex(16)

    def error(self, request: Message, *, name: str, text: str, busy: bool = True) -> None:
        """An execute request that was not run: an error in the notebook and in the reply."""
        fault = {"ename": name, "evalue": text, "traceback": [f"\x1b[31m{name}\x1b[0m: {text}"]}
        if busy:
            self._status(request, "busy")
        self._publish("error", request, fault)
        reply = {"status": "error", "execution_count": 0, "user_expressions": {}, "payload": [], **fault}
        self._reply("shell", request, reply)
        self._status(request, "idle")

    def aborted(self, request: Message) -> None:
        """A cell that waited behind one that failed."""
        self._status(request, "busy")
        self._reply("shell", request, {"status": "aborted", "execution_count": 0, "user_expressions": {}})
        self._status(request, "idle")

    def refusal(self, request: Message, *, kind: str, text: str) -> None:
        """A recorded request that was not run, whose event's kind is ``kind``: said where its client looks for it."""
        if kind == "cell.execute":
            self.error(request, name="EnclaveRefused", text=text)
        elif kind == "cell.comm":
            self.stream(request, f"{text}\n", busy=True)
        else:
            self.refuse_on("shell", request, text)

    def refuse_on(self, channel: str, request: Message, text: str) -> None:
        """A request of any other kind: an error in its reply."""
        reply = {"status": "error", "ename": "EnclaveRefused", "evalue": text, "traceback": [text]}
        self._status(request, "busy")
        self._reply(channel, request, reply)
        self._status(request, "idle")

    def stream(self, request: Message | None, text: str, *, busy: bool = False) -> None:
        """A line in the notebook on stderr."""
        if busy and request is not None:
            self._status(request, "busy")
        self._publish("stream", request, {"name": "stderr", "text": text})
        if busy and request is not None:
            self._status(request, "idle")

    def welcome(self, subscription: bytes) -> None:
        """Tells a client that its subscription stands (Jupyter enhancement proposal 65)."""
        content = {"subscription": subscription.decode("utf-8", "replace")}
        self._send("iopub", Message((subscription,), self._header("iopub_welcome"), {}, {}, content))

    def _status(self, request: Message, state: str) -> None:
        self._publish("status", request, {"execution_state": state})

    def _publish(self, kind: str, request: Message | None, content: dict[str, Any]) -> None:
        parent = request.header if request is not None else {}
        self._send("iopub", Message((f"kernel.tap.{kind}".encode(),), self._header(kind), parent, {}, content))

    def _reply(self, channel: str, request: Message, content: dict[str, Any]) -> None:
        kind = request.kind.removesuffix("_request") + "_reply"
        self._send(channel, Message(request.identities, self._header(kind), request.header, {}, content))

    def _header(self, kind: str) -> dict[str, Any]:
        return {
            "msg_id": secrets.token_hex(16),
            "msg_type": kind,
            "username": "enclave",
            "session": self._session,
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }
