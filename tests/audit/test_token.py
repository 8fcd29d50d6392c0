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
from enclave.audit.ledger import lock_store
from enclave.audit.verify import verify_log
from enclave.cli.main import main
from enclave.core.clock import parse_time
from enclave.core.errors import DeniedError, UnavailableError
from enclave.keys.files import new_ed25519
from enclave.keys.verify import public_half_of
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import LogState, State


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


def silence(token: Any) -> None:
    """The session is lost and no new one can be had, until ``speak``; ``take_out`` alone lasts for one call."""
    token.pin_file.rename(token.pin_file.with_suffix(".away"))
    token.take_out()
    token.put_back()


def speak(token: Any) -> None:
    token.pin_file.with_suffix(".away").rename(token.pin_file)


def checkpoint_of(auditd: Any) -> LogState:
    client = WireClient(auditd.home.socket("auditd"))
    try:
        state: LogState = client.call(State())
        return state
    finally:
        client.close()


def test_while_its_key_is_silent_the_ledger_tells_the_last_checkpoint_and_what_it_leaves_out(
    signed_by_token: Any, token: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checkpoint_of(signed_by_token)
    assert before.unsigned == 0
    assert enclave(signed_by_token, monkeypatch, "audit", "checkpoint") == 0
    assert capsys.readouterr().err == ""
    silence(token)
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    until(lambda: signed_by_token.events(kind="audit.signing", outcome="failed"))
    until(lambda: checkpoint_of(signed_by_token).unsigned >= 2)  # a record is in its file before it is counted
    now = checkpoint_of(signed_by_token)
    assert now.size >= before.size
    assert now.unsigned == len(signed_by_token.records()) - now.size >= 2
    assert f"\n{now.size}\n" in now.checkpoint
    assert enclave(signed_by_token, monkeypatch, "audit", "checkpoint") == 14
    told = capsys.readouterr()
    assert told.out == now.checkpoint
    assert f"{now.unsigned} newer events cannot be signed now" in " ".join(told.err.split())
    speak(token)
    until(lambda: checkpoint_of(signed_by_token).unsigned == 0)
    assert verify_log(signed_by_token.home.state("audit"), against=(now.checkpoint,)).ok


def test_a_ledger_that_has_not_signed_since_it_opened_tells_the_checkpoint_of_its_last_run(
    auditd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditd.stop()
    left = (auditd.home.state("audit") / "log" / "checkpoint").read_text()

    def silent(_signer: Any, _message: bytes) -> bytes:
        raise DeniedError("token: wanted its PIN, got another one", code="token_pin")

    monkeypatch.setattr("enclave.keys.sign._FileSigner.sign", silent)
    auditd.start()
    now = checkpoint_of(auditd)
    assert (now.checkpoint, now.size + now.unsigned) == (left, len(auditd.records()))
    assert now.unsigned > 0
    auditd.stop()
    assert verify_log(auditd.home.state("audit"), against=(left,)).ok


@pytest.mark.parametrize("gone", ["token", "pin"])
def test_a_ledger_whose_key_is_silent_closes_in_order(signed_by_token: Any, token: Any, gone: str) -> None:
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    signed_by_token.daemon._feed.catch_up(signed_by_token.daemon.ledger.size)
    store = signed_by_token.daemon._feed.store
    assert store.alive
    if gone == "token":
        silence(token)
    else:  # DeniedError instead of NotFoundError
        token.pin_file.write_text("wrong-pin-99\n")
        token.take_out()
        token.put_back()
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    until(lambda: signed_by_token.events(kind="audit.signing", outcome="failed"))
    signed_by_token.stop()
    assert not store.alive
    assert signed_by_token.events()[-1]["kind"] == "audit.stopped"
    with lock_store(signed_by_token.home.state("audit")):
        pass
    assert verify_log(signed_by_token.home.state("audit")).ok


def test_a_silence_whose_event_cannot_be_written_is_told_once_it_can_and_so_is_its_end(
    signed_by_token: Any, token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = signed_by_token.daemon
    own, refused = daemon._own, []

    def refusing(kind: str, **fields: Any) -> Any:
        if kind == "audit.signing" and len(refused) < 2 and fields.get("outcome", "ok") not in refused:
            refused.append(fields.get("outcome", "ok"))
            raise UnavailableError("ledger: wanted to write a record, the disk refused")
        return own(kind, **fields)

    monkeypatch.setattr(daemon, "_own", refusing)
    silence(token)
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    until(lambda: signed_by_token.events(kind="audit.signing", outcome="failed"))
    speak(token)
    until(lambda: signed_by_token.events(kind="audit.signing", outcome="ok"))
    assert refused == ["failed", "ok"]
    assert [event["outcome"] for event in signed_by_token.events(kind="audit.signing")] == ["failed", "ok"]


def test_a_silence_that_lasts_is_told_again_each_day(
    signed_by_token: Any, token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave.audit.daemon.SILENCE_S", 1.5)
    silence(token)
    signed_by_token.client.record("audit.rebuild", actor="service:test")
    until(lambda: len(signed_by_token.events(kind="audit.signing", outcome="failed")) >= 2)
    times = [parse_time(event["time"]) for event in signed_by_token.events(kind="audit.signing", outcome="failed")]
    assert (times[1] - times[0]).total_seconds() >= 1.4
    speak(token)
    until(lambda: signed_by_token.events(kind="audit.signing", outcome="ok"))
    assert len(signed_by_token.events(kind="audit.signing", outcome="ok")) == 1


def test_a_query_store_built_again_is_told_once_its_event_can_be_written(
    auditd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = auditd.daemon
    own, refused = daemon._own, []

    def refusing(kind: str, **fields: Any) -> Any:
        if kind == "audit.rebuild" and not refused:
            refused.append(kind)
            raise UnavailableError("ledger: wanted to write a record, the disk refused")
        return own(kind, **fields)

    monkeypatch.setattr(daemon, "_own", refusing)
    daemon._feed.cause = "unreadable"
    with pytest.raises(UnavailableError):
        daemon._level()
    assert auditd.events(kind="audit.rebuild") == []
    daemon._level()
    assert [event["detail"]["cause"] for event in auditd.events(kind="audit.rebuild")] == ["unreadable"]
    assert daemon._feed.cause == ""


def test_a_ledger_does_not_open_with_a_key_that_is_not_there(signed_by_token: Any, token: Any) -> None:
    from enclave.core.errors import NotFoundError

    signed_by_token.stop()
    settings = signed_by_token.home.settings_file.read_text()
    signed_by_token.home.settings_file.write_text(settings.replace("object=ledger", "object=nobody"))
    new_ed25519(signed_by_token.home.key_file("audit-checkpoint"))  # is no way round
    with pytest.raises(NotFoundError):
        signed_by_token.start()
    signed_by_token.daemon = None
