"""Ed25519 keys on a PKCS#11 token (smart card, HSM, SoftHSM): the private half never leaves it.

PKCS#11 3.0 §2.3.13 (CKM_EDDSA without parameters is Ed25519). A session is neither fork- nor thread-safe: one process
has one per key, behind a lock; a process forked from it opens its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag

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
from enclave.keys.files import read_pin
from enclave.keys.token_uri import TokenKey, parse_token_uri
from enclave.keys.verify import verify_ed25519

AskPin = Callable[[], Secret]
_ED25519: Final = (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519")  # as OID (RFC 8410), as PrintableString
_PUBLIC_BYTES: Final = 32
_PIN_WRONG: Final = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange)


class TokenSigner:
    """Signs with the key at a ``pkcs11:`` URI. The token is asked at once, so that a wrong URI or PIN shows here.

    Raises ``InvalidError`` (URI, several keys that fit), ``NotFoundError`` (module, token, key), ``DeniedError`` (PIN)
    and ``UnavailableError`` (anything else the token says).

    A PIN that the token refused is not shown to it again: tokens count wrong tries and lock themselves, and not all
    say when one is left. ``sign`` raises ``DeniedError`` (``token_pin``) until the PIN file holds another one.
    """

    def __init__(self, uri: str, ask_pin: AskPin | None = None) -> None:
        self._at = parse_token_uri(uri)
        self._ask_pin = ask_pin
        self._guard = threading.Lock()
        self._process = os.getpid()
        self._session: Any = None
        self._key: Any = None
        self._salt = secrets.token_bytes(32)
        self._refused = b""  # the keyed hash of the PIN that the token refused last
        with self._guard, _told():
            self._open()
            self._public = _public_half(self._session, self._at)

    @property
    def public_key(self) -> bytes:
        """The public half, 32 bytes."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``, 64 bytes, checked before it is given out.

        Raises ``UnavailableError`` when the token does not sign (the next call opens it anew) and in a forked process,
        ``DeniedError`` when its PIN is another one now, ``NotFoundError`` when token or key is not there any more,
        ``IntegrityError`` when what it gave does not fit its public half.
        """
        if os.getpid() != self._process:
            raise UnavailableError(
                "token: wanted the process that opened it, got one forked from it", code="token_fork"
            )
        with self._guard, _told():
            try:
                if self._key is None:
                    self._open()
                signature = bytes(self._key.sign(message, mechanism=Mechanism.EDDSA))
            except pkcs11.PKCS11Error:
                self._close()
                raise
        if not verify_ed25519(self._public, message, signature):
            raise IntegrityError("token: wanted a signature of its key, got another one", code="token_signature")
        return signature

    def _open(self) -> None:
        token = _token(self._at)
        if token.flags & TokenFlag.USER_PIN_LOCKED or token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            raise DeniedError(
                "token: wanted one whose PIN may be tried, got one that is locked or one wrong try away from it; "
                "log in once with the token's own tool",
                code="token_locked",
            )
        self._session = self._logged_in(token)
        try:
            self._key = _found(self._session, self._at, ObjectClass.PRIVATE_KEY)
        except (pkcs11.PKCS11Error, EnclaveError):
            self._close()
            raise

    def _logged_in(self, token: Any) -> Any:
        pin = self._pin(token)
        # Typed at the token's own reader it is a person's try, not ours to count.
        mark = hashlib.blake2b(pin.encode(), key=self._salt).digest() if isinstance(pin, str) else b""
        if mark and secrets.compare_digest(mark, self._refused):
            raise DeniedError(
                "token: wanted another PIN than the one it has refused, got that one again; it was not tried. "
                "Put the right one where the URI says",
                code="token_pin",
            )
        try:
            session = _log_in(token, pin)
        except _PIN_WRONG:
            self._refused = mark
            raise
        self._refused = b""
        return session

    def _pin(self, token: Any) -> Any:
        if token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
            return pkcs11.PROTECTED_AUTH
        if self._at.pin_file is not None:
            return read_pin(self._at.pin_file).reveal().decode("utf-8")
        if self._ask_pin is not None:
            return self._ask_pin().reveal().decode("utf-8")
        raise InvalidError("key URI: wanted pin-source=file:/PATH in it, got none", code="key_uri_no_pin")

    def _close(self) -> None:
        with contextlib.suppress(pkcs11.PKCS11Error):
            if self._session is not None:
                self._session.close()
        self._session = self._key = None


def token_public_half(uri: str) -> bytes:
    """The public half (32 bytes) of the key at ``uri``; needs no PIN. Raises as ``TokenSigner``."""
    at = parse_token_uri(uri)
    with _told(), _token(at).open() as session:
        return _public_half(session, at)


def _token(at: TokenKey) -> Any:
    fits = [
        token
        for token in _module(at.module).get_tokens(token_label=at.token, token_serial=at.serial)
        if at.manufacturer in (None, token.manufacturer_id) and at.model in (None, token.model)
    ]
    if len(fits) != 1:
        raise _none("token") if not fits else _several("token", "serial=…")
    return fits[0]


def _module(path: Path) -> Any:
    if not path.is_file():
        raise NotFoundError(
            f"token: wanted the PKCS#11 module {path.name} in {path.parent}, got no such file", code="token_module"
        )
    try:
        return pkcs11.lib(str(path))
    except RuntimeError:  # PKCS11Error is one too: a library that does not load, or no PKCS#11 library
        raise UnavailableError(
            f"token: wanted a PKCS#11 module, got {path.name}, which does not load as one", code="token_module"
        ) from None


def _log_in(token: Any, pin: Any) -> Any:
    try:
        return token.open(user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:  # a process has one login for all its sessions with a token
        return token.open()


def _found(session: Any, at: TokenKey, half: ObjectClass) -> Any:
    asked = {
        Attribute.CLASS: half,
        Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
        Attribute.LABEL: at.object,
        Attribute.ID: at.id,
    }
    # All of them: a search that is left half-way is ended by the garbage collector, whenever and on whatever session.
    keys = list(session.get_objects({name: value for name, value in asked.items() if value is not None}))
    if len(keys) != 1:
        raise _none("Ed25519 key") if not keys else _several("Ed25519 key", "id=…")
    return keys[0]


def _public_half(session: Any, at: TokenKey) -> bytes:
    key = _found(session, at, ObjectClass.PUBLIC_KEY)
    point = bytes(key[Attribute.EC_POINT])
    # PKCS#11 3.0 wants the bare point, 2.40 and many tokens an OCTET STRING around it.
    public = point[2:] if point[:2] == bytes((4, _PUBLIC_BYTES)) and len(point) > _PUBLIC_BYTES else point
    if bytes(key[Attribute.EC_PARAMS]) not in _ED25519 or len(public) != _PUBLIC_BYTES:
        raise ConflictError("token: wanted an Ed25519 key, got one of another curve", code="token_curve")
    return public


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the token says, in our families of errors."""
    try:
        yield
    except _PIN_WRONG:
        raise DeniedError(
            "token: wanted its PIN, got another one; tokens count wrong tries and lock themselves", code="token_pin"
        ) from None
    except pkcs11.PinLocked:
        raise DeniedError("token: wanted a PIN that may be tried, got a locked one", code="token_locked") from None
    except pkcs11.PKCS11Error as error:
        raise UnavailableError(
            f"token: wanted an answer, got {type(error).__name__}; is it there, and by this URI?", code="token_failed"
        ) from None


def _none(what: str) -> NotFoundError:
    return NotFoundError(f"token: wanted the {what} that the URI names, got none that fits", code="token_missing")


def _several(what: str, remedy: str) -> InvalidError:
    return InvalidError(
        f"token: wanted one {what} that the URI names, got several; add {remedy} to it", code="token_ambiguous"
    )
