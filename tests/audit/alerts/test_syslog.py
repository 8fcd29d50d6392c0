"""Alerts arrive at a real rsyslog over TLS; without a receiver or its certificate they wait, and that is an event."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from optional import need
from ports import free_ports

from enclave.audit.alerts.settings import WatchSettings
from enclave.audit.alerts.syslog import Receiver, SyslogSender
from enclave.core.errors import InvalidError, UnavailableError
from enclave.wire.messages import watch as m

CONFIG = """
module(load="imtcp" StreamDriver.Name="{driver}" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
global(
  DefaultNetstreamDriver="{driver}"
  DefaultNetstreamDriverCAFile="{folder}/ca.pem"
  DefaultNetstreamDriverCertFile="{folder}/server.pem"
  DefaultNetstreamDriverKeyFile="{folder}/server.key"
  workDirectory="{folder}"
  maxMessageSize="64k"
)
template(name="whole" type="list") {{
  property(name="pri") constant(value=" ") property(name="app-name") constant(value=" ")
  property(name="structured-data") constant(value=" ") property(name="msg") constant(value="\\n")
}}
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{folder}/received" template="whole")
"""


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key


def certificates(folder: Path, *, address: str = "127.0.0.1") -> None:
    """An authority and a server certificate for one address."""
    now = dt.datetime.now(dt.UTC)
    ca_key, server_key = _key(folder / "ca.key"), _key(folder / "server.key")
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])

    def start(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
        )

    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ca = (
        start(ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    server = (
        start(server_name, server_key)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))


@dataclass
class Rsyslog:
    """A real rsyslogd on a loopback port; ``received`` is what it wrote."""

    program: str
    folder: Path
    driver: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.folder / "rsyslog.conf"
        config.write_text(CONFIG.format(driver=self.driver, folder=self.folder, port=self.port))
        argv = (self.program, "-n", "-f", str(config), "-i", str(self.folder / "pid"))
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(15)
            self.process = None

    def received(self) -> list[str]:
        path = self.folder / "received"
        return path.read_text("utf-8").splitlines() if path.exists() else []


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    program, module = need("rsyslog"), need("rsyslog-tls")
    folder = tmp_path / "receiver"
    folder.mkdir()
    certificates(folder)
    stand = Rsyslog(program, folder, "ossl" if "ossl" in module else "gtls", free_ports())
    yield stand
    stand.stop()


def settings_for(stand: Rsyslog) -> WatchSettings:
    ca = str(stand.folder / "ca.pem")
    return WatchSettings(look_s=0.05, syslog_host="127.0.0.1", syslog_port=stand.port, syslog_ca=ca)


@pytest.mark.row("S10.6")
def test_an_alert_arrives_at_a_real_rsyslog_and_what_waited_arrives_when_it_is_back(auditd, watchd, rsyslog):
    watchd.stop()
    watchd.settings = settings_for(rsyslog)
    watchd.start()
    auditd.client.record("project.create", actor="stella", project="demo")
    failed = watchd.wait_for(lambda: auditd.events(kind="alert.delivery", outcome="failed"))
    assert failed[0]["reason"] == "syslog_unreachable"
    assert failed[0]["detail"]["channel"] == "syslog"
    assert watchd.ask(m.AskWatchState()).failing == ("syslog",)
    rsyslog.start()
    received = watchd.wait_for(rsyslog.received, seconds=30)
    head, _, text = received[0].partition(" \ufeff") if "\ufeff" in received[0] else received[0].partition("] ")
    assert head.startswith("109 enclave-watchd [enclave@32473 ")  # facility log audit, severity notice
    finding = json.loads(text[text.index("{") :])
    assert finding["finding_info"]["analytic"]["uid"] == "admin_without_ticket"
    watchd.wait_for(lambda: auditd.events(kind="alert.delivery", outcome="ok"))
    alert = watchd.alert("admin_without_ticket")
    watchd.ask(m.ResolveAlert(token="ada-token", id=alert.id, verdict="expected", reason="x"))
    watchd.wait_for(lambda: len(rsyslog.received()) == 2)
    assert len(auditd.events(kind="alert.delivery")) == 2


def test_a_receiver_with_another_certificate_gets_nothing_and_the_alert_waits(auditd, watchd, rsyslog, tmp_path):
    rsyslog.start()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    certificates(foreign)
    watchd.stop()
    ca = str(foreign / "ca.pem")
    watchd.settings = WatchSettings(look_s=0.05, syslog_host="127.0.0.1", syslog_port=rsyslog.port, syslog_ca=ca)
    watchd.start()
    auditd.client.record("project.create", actor="stella", project="demo")
    failed = watchd.wait_for(lambda: auditd.events(kind="alert.delivery", outcome="failed"))
    assert failed[0]["reason"] == "syslog_certificate"
    assert watchd.ask(m.AskWatchState()).waiting["syslog"] == 1
    assert rsyslog.received() == []


def test_a_certificate_of_another_name_is_refused(rsyslog):
    certificates(rsyslog.folder, address="127.0.0.2")
    rsyslog.start()
    receiver = Receiver(host="127.0.0.1", port=rsyslog.port, ca=str(rsyslog.folder / "ca.pem"))
    with pytest.raises(UnavailableError) as caught:
        SyslogSender(receiver, host="h", process=1).send([])
    assert caught.value.code == "syslog_certificate"


def test_alerts_survive_a_restart_of_the_watch_while_nobody_receives_them(auditd, watchd, rsyslog):
    watchd.stop()
    watchd.settings = settings_for(rsyslog)
    watchd.start()
    auditd.client.record("project.create", actor="stella", project="demo")
    watchd.wait_for(lambda: watchd.ask(m.AskWatchState()).waiting["syslog"] == 1)
    watchd.stop()
    rsyslog.start()
    watchd.start()
    watchd.wait_for(rsyslog.received)
    assert len(rsyslog.received()) == 1


@pytest.mark.parametrize("place", ["0.0.0.0:9464", "tcp", "99999", "0"])
def test_metrics_are_never_served_where_others_could_reach_them(place):
    with pytest.raises(InvalidError):
        WatchSettings(metrics=place)
