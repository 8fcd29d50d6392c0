"""Alerts to a syslog receiver: RFC 5424 messages, octet-counted over TLS (RFC 5425).

The receiver's certificate and name are always checked. Syslog has no receipts: what was in the network when a
connection broke may be lost there; the file of alerts and the ledger have it.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from enclave.core.errors import UnavailableError

FACILITY: Final = 13  # log audit
PRIORITIES: Final[Mapping[int, int]] = MappingProxyType({2: 5, 3: 4, 4: 3, 5: 2})  # OCSF severity → syslog severity
STRUCTURE: Final = "enclave@32473"  # the number that RFC 5612 keeps for documents
TIMEOUT_S: Final = 5.0
_BOM: Final = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where messages go. ``ca`` '' is the machine's list of authorities; ``cert`` and ``key`` are ours, or ''."""

    host: str
    port: int
    ca: str = ""
    cert: str = ""
    key: str = ""


def message_of(line: str, *, host: str, process: int) -> bytes:
    """One RFC 5424 message around an OCSF line, which is its text."""
    finding = json.loads(line)
    severity = PRIORITIES.get(int(finding["severity_id"]), 5)
    at = _timestamp(int(finding["time"]))
    info = finding["finding_info"]
    parameters = {
        "alert": info["uid"],
        "rule": info["analytic"]["uid"],
        "status": finding["status"],
        "drill": finding["unmapped"]["drill"] or "no",
    }
    data = " ".join(f'{name}="{_parameter(str(value))}"' for name, value in parameters.items())
    head = f"<{FACILITY * 8 + severity}>1 {at} {_token(host, 255)} enclave-watchd {process} alert [{STRUCTURE} {data}]"
    return f"{head} {_BOM}{line}".encode()


def framed(message: bytes) -> bytes:
    """Octet counting (RFC 5425, section 4.3)."""
    return b"%d %s" % (len(message), message)


class SyslogSender:
    """One TLS connection, made when needed, kept while it lives."""

    def __init__(self, receiver: Receiver, *, host: str, process: int) -> None:
        self._receiver, self._host, self._process = receiver, host, process
        self._socket: ssl.SSLSocket | None = None

    def send(self, lines: Sequence[str]) -> None:
        """Sends all; raises ``UnavailableError`` with the reason, and then none may count as sent."""
        data = b"".join(framed(message_of(line, host=self._host, process=self._process)) for line in lines)
        try:
            connection = self._connected()
            connection.sendall(data)
        except ssl.SSLCertVerificationError:
            self.close()
            raise _away("a certificate that is not the receiver's", "syslog_certificate") from None
        except (OSError, ValueError) as error:
            self.close()
            raise _away(f"an error ({type(error).__name__})", "syslog_unreachable") from None

    def close(self) -> None:
        """Ends the connection; the next message makes a new one."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connected(self) -> ssl.SSLSocket:
        if self._socket is not None and _was_closed(self._socket):
            self.close()
        if self._socket is None:
            self._socket = _connect(self._receiver)
        return self._socket


def _connect(receiver: Receiver) -> ssl.SSLSocket:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=receiver.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if receiver.cert:
        context.load_cert_chain(receiver.cert, receiver.key or None)
    plain = socket.create_connection((receiver.host, receiver.port), timeout=TIMEOUT_S)
    try:
        return context.wrap_socket(plain, server_hostname=receiver.host)
    except BaseException:
        plain.close()
        raise


def _was_closed(connection: ssl.SSLSocket) -> bool:
    """A syslog receiver says nothing: what can be read is the end of the connection, or a ticket of TLS 1.3."""
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return False
    connection.settimeout(0)
    try:
        return connection.recv(1024) == b""
    except ssl.SSLWantReadError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(TIMEOUT_S)


def _timestamp(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds") + "Z"


def _parameter(text: str) -> str:
    """RFC 5424, section 6.3.3: quotation mark, backslash and closing bracket are escaped."""
    return re.sub(r'(["\\\]])', r"\\\1", text)


def _token(text: str, longest: int) -> str:
    return re.sub(r"[^!-~]", "-", text)[:longest] or "-"


def _away(got: str, code: str) -> UnavailableError:
    return UnavailableError(f"syslog receiver: wanted a TLS connection, got {got}; alerts wait", code=code)
