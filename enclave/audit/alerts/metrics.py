"""Figures for Prometheus: counts by rule and severity, never a name; served on a Unix socket or on 127.0.0.1."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from enclave.wire.messages.watch import WatchState

CountRow = tuple[str, str, str, bool, int]
LABELS: Final = ("rule", "severity", "state")


class WatchCollector(Collector):
    """Reads the figures at the moment they are asked for. Alerts of drills have a family of their own."""

    def __init__(
        self,
        *,
        counts: Callable[[], list[CountRow]],
        state: Callable[[], WatchState],
        failures: Callable[[], dict[str, int]],
    ) -> None:
        self._counts, self._state, self._failures = counts, state, failures

    def collect(self) -> Iterator[Metric]:
        """Every family once."""
        real = GaugeMetricFamily("enclave_alerts", "Alerts by rule, severity and state.", labels=LABELS)
        drill = GaugeMetricFamily("enclave_drill_alerts", "Alerts of drills by rule.", labels=("rule",))
        drills: dict[str, int] = {}
        for rule, severity, stands, of_drill, count in self._counts():
            if of_drill:
                drills[rule] = drills.get(rule, 0) + count
            else:
                real.add_metric((rule, severity, stands), count)
        for rule, count in drills.items():
            drill.add_metric((rule,), count)
        yield real
        yield drill
        state = self._state()
        waiting = GaugeMetricFamily("enclave_alerts_waiting", "Lines not sent yet.", labels=("channel",))
        failing = GaugeMetricFamily("enclave_alert_channel_failing", "1 when the last try failed.", labels=("channel",))
        for channel, count in state.waiting.items():
            waiting.add_metric((channel,), count)
            failing.add_metric((channel,), channel in state.failing)
        yield waiting
        yield failing
        failures = CounterMetricFamily("enclave_alert_delivery_failures", "Tries that failed.", labels=("channel",))
        for channel, count in self._failures().items():
            failures.add_metric((channel,), count)
        yield failures
        yield GaugeMetricFamily("enclave_rules_failing", "Rules that cannot be evaluated.", len(state.failing_rules))
        yield GaugeMetricFamily("enclave_reviews_unsigned", "Weeks without a full signature.", state.unsigned_weeks)
        yield GaugeMetricFamily("enclave_watch_looked_seconds", "Since the last look; -1: none yet.", state.looked_s)


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class MetricsServer:
    """``GET /metrics`` and nothing else."""

    def __init__(self, collector: WatchCollector, *, place: Path | int) -> None:
        """``place`` is the path of a Unix socket or a port on 127.0.0.1."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        handler = _handler(registry)
        self._path = place if isinstance(place, Path) else None
        if isinstance(place, Path):
            place.unlink(missing_ok=True)
            self._server: socketserver.BaseServer = _UnixServer(str(place), handler)
            place.chmod(0o660)
        else:
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", place), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def start(self) -> None:
        """Serves from now on."""
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        self._server.shutdown()
        self._server.server_close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _handler(registry: CollectorRegistry) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            data = generate_latest(registry)
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def address_string(self) -> str:
            return "local"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
            del format, args

    return Handler


def fetch(path: Path) -> str:
    """The figures behind a Unix socket, as text."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        data = b""
        while piece := sock.recv(65_536):
            data += piece
    return data.partition(b"\r\n\r\n")[2].decode()
