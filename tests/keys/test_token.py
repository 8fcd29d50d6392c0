"""Signing keys on a PKCS#11 token, a real one in software: what it gives, and what each neighbour is refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optional import need

from enclave.core.errors import (
    ConflictError,
    DeniedError,
    EnclaveError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from enclave.core.secret import Secret
from enclave.keys.sign import open_signer
from enclave.keys.token_uri import TokenKey, parse_token_uri
from enclave.keys.verify import public_half_of, verify_ed25519

MODULE = "/usr/lib/module.so"
pytestmark = pytest.mark.row("S4.2")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    need("softhsm")
    from softhsm import ED448, P256, soft_token

    with soft_token(tmp_path_factory.mktemp("hsm")) as found:
        found.new_key("edgar")
        found.new_key("twice", number=b"\x02")
        found.new_key("twice", number=b"\x03")
        found.new_key("longer", number=b"\x04", curve=ED448)
        found.new_key("nist", number=b"\x05", curve=P256)
        yield found


def test_a_key_on_a_token_signs_and_its_public_half_needs_no_pin(token: Any, tmp_path: Path) -> None:
    signer = open_signer(token.uri("edgar"))
    signature = signer.sign(b"a certificate")
    assert len(signature) == 64
    assert verify_ed25519(signer.public_key, b"a certificate", signature)
    assert not verify_ed25519(signer.public_key, b"another", signature)
    assert public_half_of(token.uri("edgar", pin_file=tmp_path / "none")) == signer.public_key


def test_a_process_uses_several_keys_of_a_token_at_once(token: Any) -> None:
    first, second = open_signer(token.uri("edgar")), open_signer(token.uri("twice", more=";id=%02"))
    assert first.public_key != second.public_key
    for signer in (first, second, first):
        assert verify_ed25519(signer.public_key, b"m", signer.sign(b"m"))


def test_threads_share_a_signer(token: Any) -> None:
    signer = open_signer(token.uri("edgar"))
    wrong: list[bytes] = []

    def work(number: int) -> None:
        for turn in range(20):
            message = b"%d %d" % (number, turn)
            if not verify_ed25519(signer.public_key, message, signer.sign(message)):
                wrong.append(message)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_pin_is_asked_for_when_the_uri_names_no_file(token: Any) -> None:
    uri = token.uri("edgar").partition("&pin-source")[0]
    with pytest.raises(InvalidError) as caught:
        open_signer(uri)
    assert caught.value.code == "key_uri_no_pin"
    signer = open_signer(uri, ask_pin=lambda: Secret(token.pin_file.read_bytes().strip()))
    assert verify_ed25519(signer.public_key, b"m", signer.sign(b"m"))


@pytest.mark.parametrize(
    ("key", "more", "error", "code"),
    [
        ("nobody", {}, NotFoundError, "token_missing"),
        ("edgar", {"token": "other"}, NotFoundError, "token_missing"),
        ("edgar", {"more": ";id=%09"}, NotFoundError, "token_missing"),
        ("edgar", {"more": ";model=Other"}, NotFoundError, "token_missing"),
        ("twice", {}, InvalidError, "token_ambiguous"),
        ("nist", {}, NotFoundError, "token_missing"),
        ("longer", {}, ConflictError, "token_curve"),
    ],
)
def test_another_key_or_token_is_refused(
    token: Any, key: str, more: dict[str, str], error: type[EnclaveError], code: str
) -> None:
    with pytest.raises(error) as caught:
        open_signer(token.uri(key, **more))
    assert caught.value.code == code


@pytest.mark.parametrize("pin", ["wrong-pin-99", "1", "x" * 200])
def test_a_wrong_pin_is_refused_and_not_repeated(token: Any, tmp_path: Path, pin: str) -> None:
    token.take_out()
    token.put_back()  # who has logged in once is not asked again
    path = tmp_path / "pin"
    path.write_text(pin)
    path.chmod(0o600)
    with pytest.raises(DeniedError) as caught:
        open_signer(token.uri("edgar", pin_file=path))
    assert caught.value.code == "token_pin"
    assert pin not in str(caught.value) or len(pin) == 1


@pytest.mark.parametrize(
    ("content", "mode", "error"),
    [
        (b"1234\n", 0o644, DeniedError),
        (b"", 0o600, IntegrityError),
        (b"12\n34\n", 0o600, IntegrityError),
        (b"\xff\xfe", 0o600, IntegrityError),
        (b"1" * 300, 0o600, IntegrityError),
        (None, 0o600, NotFoundError),
    ],
)
def test_a_pin_file_is_one_line_that_its_owner_alone_may_read(
    token: Any, tmp_path: Path, content: bytes | None, mode: int, error: type[EnclaveError]
) -> None:
    path = tmp_path / "pin"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(error):
        open_signer(token.uri("edgar", pin_file=path))


def test_a_token_that_is_nearly_locked_is_not_tried(token: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pkcs11 import TokenFlag

    from enclave.keys import token as provider

    class NearlyLocked:
        flags = TokenFlag.USER_PIN_FINAL_TRY

        def open(self, **_: Any) -> None:
            raise AssertionError("was tried")

    monkeypatch.setattr(provider, "_token", lambda _: NearlyLocked())
    with pytest.raises(DeniedError) as caught:
        open_signer(token.uri("edgar"))
    assert caught.value.code == "token_locked"


def test_a_module_that_is_none_is_named(token: Any, tmp_path: Path) -> None:
    text = tmp_path / "module.so"
    text.write_text("not a library")
    for path, error in ((tmp_path / "none.so", NotFoundError), (text, UnavailableError)):
        with pytest.raises(error) as caught:
            open_signer(token.uri("edgar").replace(token.module, str(path)))
        assert caught.value.code == "token_module"


def test_a_token_that_went_away_refuses_and_signs_again_when_it_is_back(token: Any) -> None:
    signer = open_signer(token.uri("edgar"))
    token.take_out()
    with pytest.raises(UnavailableError) as caught:
        signer.sign(b"m")
    assert caught.value.code == "token_failed"
    token.put_back()
    assert verify_ed25519(signer.public_key, b"m", signer.sign(b"m"))


def test_a_pin_that_the_token_refused_is_not_shown_to_it_again_until_its_file_holds_another(
    token: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from enclave.keys import token as provider

    tried: list[str] = []
    log_in = provider._log_in

    def counted(at: Any, pin: Any) -> Any:
        tried.append(pin)
        return log_in(at, pin)

    monkeypatch.setattr(provider, "_log_in", counted)
    token.take_out()
    token.put_back()
    path = tmp_path / "pin"
    right = token.pin_file.read_text()
    path.write_text(right)
    path.chmod(0o600)
    signer = open_signer(token.uri("edgar", pin_file=path))
    for wrong in ("wrong-pin-1\n", "wrong-pin-2\n"):
        token.take_out()
        token.put_back()
        tried.clear()
        path.write_text(wrong)
        for _ in range(5):
            with pytest.raises((DeniedError, UnavailableError)) as caught:
                signer.sign(b"m")
            assert caught.value.code in ("token_pin", "token_failed")  # the first sees that the session is over
        assert caught.value.code == "token_pin"
        assert "wrong-pin" not in str(caught.value)
        assert tried == [wrong.strip()]
    path.write_text(right)
    assert verify_ed25519(signer.public_key, b"m", signer.sign(b"m"))
    assert len(tried) == 2


def test_a_refused_pin_that_a_person_typed_is_not_shown_again_either(token: Any) -> None:
    from enclave.keys import token as provider

    token.take_out()
    token.put_back()
    answers = [b"wrong-pin-1", b"wrong-pin-1", token.pin_file.read_bytes().strip()]
    signer = open_signer(token.uri("edgar").partition("&pin-source")[0], ask_pin=lambda: Secret(answers[-1]))
    token.take_out()
    token.put_back()
    signer._close()
    asked = iter(answers)
    signer._ask_pin = lambda: Secret(next(asked))
    tried: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        log_in = provider._log_in
        patch.setattr(provider, "_log_in", lambda at, pin: (tried.append(pin), log_in(at, pin))[1])
        for _ in range(2):
            with pytest.raises(DeniedError):
                signer.sign(b"m")
        assert verify_ed25519(signer.public_key, b"m", signer.sign(b"m"))
    assert len(tried) == 2


def test_a_forked_process_does_not_use_the_session_of_its_parent(token: Any) -> None:
    signer = open_signer(token.uri("edgar"))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signer.sign(b"m")
        except UnavailableError as error:
            code = 0 if error.code == "token_fork" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert signer.sign(b"m")


# ── the URI ─────────────────────────────────────────────────────────────────


def test_a_uri_is_read_as_rfc_7512_writes_it() -> None:
    path = "token=My%20token;serial=%01A;object=k%3B;id=%00%ff;type=private"
    uri = f"pkcs11:{path}?module-path={MODULE}&pin-source=file:/p"
    assert parse_token_uri(uri) == TokenKey(
        module=Path(MODULE),
        token="My token",
        serial=b"\x01A",
        object="k;",
        id=b"\x00\xff",
        pin_file=Path("/p"),
    )


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        f"pkcs11:token=a?module-path={MODULE}",
        f"pkcs11:object=a?module-path={MODULE}",
        "pkcs11:token=a;object=b",
        "pkcs11:token=a;object=b?module-path=lib.so",
        f"pkcs11:token=a;token=b;object=c?module-path={MODULE}",
        f"pkcs11:token=a;object=b;type=public?module-path={MODULE}",
        f"pkcs11:token=a;object=b;colour=red?module-path={MODULE}",
        f"pkcs11:token=a;object=%zz?module-path={MODULE}",
        f"pkcs11:token=a;object=%ff?module-path={MODULE}",
        f"pkcs11:token=;object=b?module-path={MODULE}",
        f"pkcs11:token=a;object=b?module-path={MODULE}&pin-source=|cat",
        f"pkcs11:token=a;object=b?module-path={MODULE}%00",
    ],
)
def test_a_uri_that_does_not_name_one_key_is_refused(uri: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_token_uri(uri)
    assert caught.value.code == "key_uri_malformed"


def test_a_pin_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidError) as caught:
        parse_token_uri(f"pkcs11:token=a;object=b?module-path={MODULE}&pin-value=very-secret-1")
    assert "very-secret-1" not in str(caught.value)
    assert "PIN" in str(caught.value)


@given(st.text(max_size=120))
def test_no_text_breaks_the_reading_of_a_uri(text: str) -> None:
    for uri in (text, f"pkcs11:{text}", f"pkcs11:token=a;object=b?module-path={MODULE}&{text}"):
        try:
            found = parse_token_uri(uri)
        except InvalidError as error:
            assert len(text) < 12 or text not in error.message
        else:
            assert found.module.is_absolute()
