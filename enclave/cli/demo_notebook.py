"""A researcher at a notebook, without the browser: the same REST and websocket paths that JupyterLab uses."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import websocket

from enclave.core.errors import UnavailableError


class WebSession(Protocol):
    """What a signed-in person's HTTP session offers (cookies and XSRF handled)."""

    def get_json(self, path: str) -> Any:
        """GET ``path`` of the public address."""
        ...

    def post_json(self, path: str, body: Any) -> Any:
        """POST ``body`` to ``path`` of the public address."""
        ...

    def delete(self, path: str) -> None:
        """DELETE ``path`` of the public address."""
        ...

    def websocket_url(self, path: str) -> str:
        """The ``ws://`` address of ``path``."""
        ...

    def cookie_header(self, path: str) -> str:
        """The cookies that a browser would send to ``path``."""
        ...


@dataclass(slots=True)
class CellResult:
    """What one cell showed: ``status`` is ``ok`` or ``error``; ``error`` is ``name: value``."""

    status: str = "unknown"
    text: str = ""
    error: str = ""
    mimetypes: list[str] = field(default_factory=list)


class Notebook:
    """One open notebook with its kernel, reached through proxy, gate and server."""

    def __init__(self, session: WebSession, person: str, path: str) -> None:
        self._session = session
        self._base = f"/user/{person}"
        body = {"path": path, "name": path.rpartition("/")[2], "type": "notebook", "kernel": {"name": "enclave-python"}}
        made = session.post_json(f"{self._base}/api/sessions", body)
        self._session_id = str(made["id"])
        self.kernel_id = str(made["kernel"]["id"])
        channels = f"{self._base}/api/kernels/{self.kernel_id}/channels?session_id={self._session_id}"
        self._socket = websocket.create_connection(
            session.websocket_url(channels),
            cookie=session.cookie_header(channels),
            timeout=60,
            suppress_origin=True,
        )
        self.executed = 0

    def run(self, code: str, *, timeout_s: float = 60.0) -> CellResult:
        """Runs one cell and returns what came back; raises ``UnavailableError`` when nothing ends it in time."""
        message = self._request("execute_request", _execute(code), "shell")
        self.executed += 1
        result = CellResult()
        end = time.monotonic() + timeout_s
        replied = idle = False
        while not (replied and idle):
            received = self._receive(end)
            if received.get("parent_header", {}).get("msg_id") != message:
                continue
            kind = received["msg_type"]
            if kind == "execute_reply":
                replied = True
                result.status = received["content"]["status"]
            elif kind == "status":
                idle = received["content"]["execution_state"] == "idle"
            else:
                _collect(result, kind, received["content"])
        return result

    def close(self) -> None:
        """Ends the kernel, as closing and shutting down a notebook does."""
        self._socket.close()
        self._session.delete(f"{self._base}/api/sessions/{self._session_id}")

    def _request(self, kind: str, content: dict[str, Any], channel: str) -> str:
        message_id = secrets.token_hex(16)
        header = {
            "msg_id": message_id,
            "msg_type": kind,
            "session": self._session_id,
            "username": "",
            "version": "5.4",
            "date": datetime.now(UTC).isoformat(),
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel}
        self._socket.send(json.dumps({**message, "buffers": []}))
        return message_id

    def _receive(self, end: float) -> dict[str, Any]:
        self._socket.settimeout(max(0.1, end - time.monotonic()))
        try:
            data = self._socket.recv()
        except (websocket.WebSocketException, OSError):
            raise UnavailableError("notebook: wanted the cell to end in time, got no end") from None
        found: dict[str, Any] = json.loads(data)
        found.setdefault("msg_type", found.get("header", {}).get("msg_type"))
        return found


def _execute(code: str) -> dict[str, Any]:
    return {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }


def _collect(result: CellResult, kind: str, content: dict[str, Any]) -> None:
    if kind == "stream":
        result.text += content["text"]
    elif kind in ("execute_result", "display_data"):
        result.mimetypes.extend(content["data"])
        result.text += content["data"].get("text/plain", "")
    elif kind == "error":
        result.error = f"{content['ename']}: {content['evalue']}"
