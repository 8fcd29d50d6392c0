"""A PKCS#11 token for tests: SoftHSM in a folder of its own, with keys made by the token itself."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pkcs11
from optional import need
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

from enclave.keys.token import TokenSigner

PIN = "test-pin-7351"
ED25519, ED448, P256 = "1.3.101.112", "1.3.101.113", "1.2.840.10045.3.1.7"


@dataclass(frozen=True)
class SoftToken:
    """One token; ``pin_file`` holds its PIN."""

    module: str
    label: str
    pin_file: Path

    def uri(self, key: str, *, pin_file: Path | None = None, token: str | None = None, more: str = "") -> str:
        source = pin_file or self.pin_file
        return (
            f"pkcs11:token={token or self.label};object={key}{more}?module-path={self.module}&pin-source=file:{source}"
        )

    def take_out(self) -> None:
        """The token is gone for this process, until ``put_back``."""
        with _no_call():
            pkcs11.lib(self.module).finalize()

    def put_back(self) -> None:
        """The token is there again; every session with it is over."""
        with _no_call():
            pkcs11.lib(self.module)

    def new_key(self, label: str, *, number: bytes = b"\x01", curve: str = ED25519) -> None:
        edwards = curve != P256
        kind = KeyType.EC_EDWARDS if edwards else KeyType.EC
        made = Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN
        token = pkcs11.lib(self.module).get_token(token_label=self.label)
        try:
            session = token.open(user_pin=PIN, rw=True)
        except pkcs11.UserAlreadyLoggedIn:
            session = token.open(rw=True)
        with session:
            parameters = session.create_domain_parameters(
                kind, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
            )
            parameters.generate_keypair(mechanism=made, store=True, label=label, id=number)


@contextmanager
def _no_call() -> Iterator[None]:
    """While no signer of this process calls the library, which frees at its end what a call still uses."""
    with contextlib.ExitStack() as stack:
        for signer in [found for found in gc.get_objects() if isinstance(found, TokenSigner)]:
            stack.enter_context(signer._guard)
        yield


@contextmanager
def soft_token(folder: Path, *, label: str = "ward") -> Iterator[SoftToken]:
    """A new token; this process' SoftHSM sees only tokens in ``folder`` until the end."""
    module = need("softhsm")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin_file = folder / "pin"
    pin_file.write_text(PIN + "\n")
    pin_file.chmod(0o600)
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", PIN],
        check=True, capture_output=True,
    )  # fmt: skip
    # Settings are read when the library begins. It is never unloaded: an object that the garbage collector finds later
    # would call into memory that is gone.
    with _no_call():
        pkcs11.lib(module).reinitialize()
    try:
        yield SoftToken(module, label, pin_file)
    finally:
        with _no_call():
            pkcs11.lib(module).finalize()
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before
