"""What can be set for the watch; an empty section works."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.core.errors import InvalidError


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """``[watch]``. Rules and thresholds are no settings: they are part of the release.

    Alerts always go to ``HOME/watch/alerts.jsonl`` (OCSF). With ``syslog_host`` they go there too: RFC 5424 over TLS,
    the receiver's certificate checked against ``syslog_ca`` (PEM; '' is the machine's list) and the host's name.
    ``syslog_cert`` and ``syslog_key`` are this side's own certificate, if the receiver wants one. ``metrics`` is
    ``unix`` (a socket ``metrics.sock`` beside the others), a port on 127.0.0.1, or '' for none.
    """

    look_s: float = 1.0
    syslog_host: str = ""
    syslog_port: int = 6514
    syslog_ca: str = ""
    syslog_cert: str = ""
    syslog_key: str = ""
    metrics: str = "unix"

    def __post_init__(self) -> None:
        """Raises ``InvalidError`` for a place of metrics that others could reach."""
        if self.metrics not in ("", "unix") and not (self.metrics.isdigit() and 0 < int(self.metrics) < 65_536):
            raise InvalidError("[watch] metrics: wanted unix, a port number or nothing, got something else")
        if self.look_s <= 0:
            raise InvalidError("[watch] look_s: wanted a time above 0, got another")
