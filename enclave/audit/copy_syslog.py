"""Checkpoints as syslog lines (RFC 5424), over a local socket, UDP, TCP (RFC 6587 octet counting) or TLS (RFC 5425).

The line holds the note itself, so that ``verify --against`` needs nothing but the receiver's file.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
from datetime import datetime
from urllib.parse import urlsplit

from enclave.audit.checkpoint import parse_checkpoint
from enclave.audit.copies import SyslogSettings
from enclave.core.clock import Clock, format_time
from enclave.core.errors import UnavailableError

_LOG_AUDIT_NOTICE = 13 * 8 + 5  # facility "log audit", severity "notice" (RFC 5424, section 6.2.1)
_PRIVATE_ENTERPRISE = 32473  # the number that RFC 5612 reserves for examples: we have none of our own


def checkpoint_line(checkpoint: str, *, host: str, pid: int, at: datetime) -> bytes:
    """One RFC 5424 message; the note stands in it as base64 of its bytes, for it has line breaks."""
    head = parse_checkpoint(checkpoint)
    note = base64.b64encode(checkpoint.encode()).decode()
    data = f'[checkpoint@{_PRIVATE_ENTERPRISE} origin="{head.origin}" size="{head.size}" note="{note}"]'
    who = f"{host or '-'} enclave-auditd {pid} checkpoint"
    return f"<{_LOG_AUDIT_NOTICE}>1 {format_time(at)} {who} {data} root {head.root.hex()}".encode()


class SyslogPlace:
    """One receiver; it says nothing back, so that all we know is that the bytes went out."""

    kind, off_host = "syslog", False

    def __init__(self, settings: SyslogSettings, *, clock: Clock, timeout_s: float) -> None:
        self.name = settings.name
        self._address = urlsplit(settings.address)
        self._ca_file, self._timeout_s, self._clock = settings.ca_file, timeout_s, clock
        self._sock: socket.socket | None = None

    def last(self) -> str:
        """Nothing: it gives no receipt."""
        return ""

    def send(self, checkpoint: str) -> str:
        """Sends one line; opens the connection again when it broke."""
        line = checkpoint_line(checkpoint, host=socket.gethostname(), pid=os.getpid(), at=self._clock.now())
        framed = b"%d %b" % (len(line), line) if self._address.scheme in ("tcp", "tls") else line
        try:
            if self._sock is None:
                self._sock = self._connect()
            self._sock.sendall(framed)
        except OSError:
            if self._sock is not None:
                self._sock.close()
                self._sock = None
            raise UnavailableError("syslog: wanted a receiver, got none", code="syslog_unreachable") from None
        return checkpoint

    def _connect(self) -> socket.socket:
        scheme = self._address.scheme
        if scheme == "unix":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            return _connected(sock, self._address.path, self._timeout_s)
        host, port = self._address.hostname or "", self._address.port or (6514 if scheme == "tls" else 514)
        if scheme == "udp":
            family = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][0]
            return _connected(socket.socket(family, socket.SOCK_DGRAM), (host, port), self._timeout_s)
        sock = socket.create_connection((host, port), timeout=self._timeout_s)
        if scheme == "tls":
            trust = ssl.create_default_context(cafile=self._ca_file or None)
            return trust.wrap_socket(sock, server_hostname=host)
        return sock


def _connected(sock: socket.socket, address: str | tuple[str, int], timeout_s: float) -> socket.socket:
    try:
        sock.settimeout(timeout_s)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock
