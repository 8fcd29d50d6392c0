"""The ledger's key on a PKCS#11 token: signed by it, verified without its PIN, and told when it does not answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optional import need

from enclave.audit.checkpoint import VerifierKey
from enclave.audit.verify import verify_log
from enclave.cli.main import main
from enclave.keys.files import new_ed25519
from enclave.keys.verify import public_half_of


@pytest.fixture
def token(tmp_path: Path) -> Iterator[Any]:
    need("softhsm")
    from softhsm import soft_token

    folder = tmp_path / "hsm"
    folder.mkdir()
    with soft_token(folder) as found:
        found.new_key("ledger")
        yield found


@pytest.fixture
def signed_by_token(token: Any, auditd: Any) -> Iterator[Any]:
    """A ledger whose home has no key file for checkpoints at all."""
    auditd.stop()
    for path in auditd.home.key_file("audit-checkpoint").parent.glob("audit-checkpoint.*"):
        path.unlink()
    settings = f'[audit]\ncheckpoint_key_uri = "{token.uri("ledger")}"\ncheckpoint_s = 0.1\n'
    auditd.home.settings_file.write_text(settings)
    auditd.home.state("audit").rename(auditd.home.root / "before")
    auditd.start()
    yield auditd
    auditd.stop()


def until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.05)


def enclave(auditd: Any, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["enclave", *words, "--home", str(auditd.home.root)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_checkpoints_are_signed_by_the_token_and_verified_without_its_pin(
    signed_by_token: Any, token: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        signed_by_token.client.record("audit.rebuild", actor="service:test", detail={"rows": number})
    signed_by_token.stop()
    assert verify_log(signed_by_token.home.state("audit")).ok
    token.pin_file.unlink()
    assert enclave(signed_by_token, monkeypatch, "audit", "verify") == 0
    assert enclave(signed_by_token, monkeypatch, "audit", "vkey") == 0
    assert VerifierKey.parse(capsys.readouterr().out).public_key == public_half_of(token.uri("ledger"))


def test_a_ledger_signed_by_another_key_than_the_settings_name_does_not_verify(
    signed_by_token: Any, token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    signed_by_token.stop()
    token.new_key("other", number=b"\x07")
    settings = signed_by_token.home.settings_file.read_text()
    signed_by_token.home.settings_file.write_text(settings.replace("object=ledger", "object=other"))
    assert enclave(signed_by_token, monkeypatch, "audit", "verify") == 15


def test_a_token_that_does_not_answer_is_an_event_and_so_is_its_return(signed_by_token: Any, token: Any) -> None:
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    token.take_out()
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    until(lambda: signed_by_token.events(kind="audit.signing", outcome="failed", reason="not_signed"))
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    token.put_back()
    until(lambda: signed_by_token.events(kind="audit.signing", outcome="ok"))
    assert len(signed_by_token.events(kind="audit.signing")) == 2
    signed_by_token.stop()
    assert verify_log(signed_by_token.home.state("audit")).ok


def test_a_ledger_does_not_open_with_a_key_that_is_not_there(signed_by_token: Any, token: Any) -> None:
    from enclave.core.errors import NotFoundError

    signed_by_token.stop()
    settings = signed_by_token.home.settings_file.read_text()
    signed_by_token.home.settings_file.write_text(settings.replace("object=ledger", "object=nobody"))
    new_ed25519(signed_by_token.home.key_file("audit-checkpoint"))  # is no way round
    with pytest.raises(NotFoundError):
        signed_by_token.start()
    signed_by_token.daemon = None
