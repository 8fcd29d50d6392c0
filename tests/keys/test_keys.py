"""Key files, signatures, wrapping, boxes: what they give, and what each neighbour is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import ConflictError, DeniedError, EnclaveError, IntegrityError, InvalidError, NotFoundError
from enclave.core.secret import Secret
from enclave.keys.box import open_box
from enclave.keys.files import new_ed25519, new_symmetric, new_x25519, read_public_half, read_secret, read_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.unwrap import open_unwrapper
from enclave.keys.uri import file_uri
from enclave.keys.verify import read_public, verify_ed25519
from enclave.keys.wrap import open_wrapper

MAKERS = {"aes256": new_symmetric, "ed25519": new_ed25519, "x25519": new_x25519}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_key_file_is_one_line_that_its_owner_alone_may_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.key"
    old = os.umask(0)
    try:
        MAKERS[kind](path)
    finally:
        os.umask(old)
    assert re.fullmatch(rf"enclave-{kind}-v1 [A-Za-z0-9+/=]{{44}}\n", path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {item.suffix for item in tmp_path.iterdir()} <= {".key", ".pub"}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_key_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.key"
    MAKERS[kind](path)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    with pytest.raises(ConflictError):
        MAKERS[kind](path)
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


def test_a_pair_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text("mine")
    with pytest.raises(ConflictError):
        new_ed25519(tmp_path / "a.key")
    assert [item.name for item in tmp_path.iterdir()] == ["a.pub"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.key"
    new_symmetric(path)
    path.chmod(mode)
    with pytest.raises(DeniedError) as caught:
        read_symmetric(path)
    assert caught.value.code == "key_exposed"


def test_a_link_to_a_key_is_refused(tmp_path: Path) -> None:
    new_symmetric(tmp_path / "a.key")
    (tmp_path / "b.key").symlink_to(tmp_path / "a.key")
    with pytest.raises(DeniedError):
        read_symmetric(tmp_path / "b.key")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    for kind, make in MAKERS.items():
        make(tmp_path / f"{kind}.key")
    for kind in MAKERS:
        for wanted in MAKERS:
            path = tmp_path / f"{kind}.key"
            if kind == wanted:
                assert len(read_secret(path, kind=wanted).reveal()) == 32
            else:
                with pytest.raises(IntegrityError):
                    read_secret(path, kind=wanted)


def test_a_missing_key_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"a\.key"):
        read_symmetric(tmp_path / "a.key")
    assert not list(tmp_path.iterdir())


@settings(max_examples=50)
@given(text=st.binary(max_size=120))
def test_what_is_not_a_key_line_is_never_a_key(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = tmp_path_factory.mktemp("keys") / "a.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(IntegrityError) as caught:
        read_symmetric(path)
    assert text.decode("latin-1") not in caught.value.message or len(text) < 8


OPENERS = {
    "signing": open_signer,
    "wrapping": open_wrapper,
    "unwrapping": open_unwrapper,
    "box": open_box,
}


@pytest.mark.row("S4.2")
@pytest.mark.parametrize("purpose", OPENERS)
@pytest.mark.parametrize("uri", ["vault:x", "/plain/path", "", "pkcs12:/x", "file"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(purpose: str, uri: str) -> None:
    with pytest.raises(InvalidError, match="file:") as caught:
        OPENERS[purpose](uri)
    assert caught.value.code == "key_uri_unknown"


@pytest.mark.parametrize("purpose", OPENERS)
def test_a_relative_key_path_is_refused(purpose: str) -> None:
    with pytest.raises(InvalidError):
        OPENERS[purpose]("file:keys/a.key")


@settings(max_examples=25)
@given(message=st.binary(max_size=200), other=st.binary(max_size=200))
def test_a_signature_is_for_one_message_and_one_key(
    tmp_path_factory: pytest.TempPathFactory, message: bytes, other: bytes
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    public = new_ed25519(folder / "a.key")
    stranger = new_ed25519(folder / "b.key")
    signer = open_signer(file_uri(folder / "a.key"))
    signature = signer.sign(message)
    assert signer.public_key == public == read_public(folder / "a.pub")
    assert verify_ed25519(public, message, signature)
    assert verify_ed25519(public, other, signature) == (other == message)
    assert not verify_ed25519(stranger, message, signature)
    assert not verify_ed25519(public[:-1], message, signature)
    assert not verify_ed25519(public, message, signature[:-1])


@pytest.mark.row("S4.4")
def test_what_is_wrapped_comes_out_only_for_its_key_and_its_purpose(tmp_path: Path) -> None:
    new_x25519(tmp_path / "kek.key")
    new_x25519(tmp_path / "other.key")
    wrapped = open_wrapper(file_uri(tmp_path / "kek.pub")).wrap(Secret(b"k" * 32), context=b"demo-ct@1")
    unwrapper = open_unwrapper(file_uri(tmp_path / "kek.key"))
    assert unwrapper.unwrap(wrapped, context=b"demo-ct@1").reveal() == b"k" * 32
    with pytest.raises(IntegrityError):
        unwrapper.unwrap(wrapped, context=b"demo-ct@2")
    with pytest.raises(IntegrityError):
        open_unwrapper(file_uri(tmp_path / "other.key")).unwrap(wrapped, context=b"demo-ct@1")


@pytest.mark.row("S4.4")
def test_the_half_that_wraps_cannot_unwrap(tmp_path: Path) -> None:
    new_x25519(tmp_path / "kek.key")
    with pytest.raises(EnclaveError):
        open_unwrapper(file_uri(tmp_path / "kek.pub"))
    with pytest.raises(EnclaveError):
        open_wrapper(file_uri(tmp_path / "kek.key"))
    wrapper = open_wrapper(file_uri(tmp_path / "kek.pub"))
    assert not hasattr(wrapper, "unwrap")
    secret = read_secret(tmp_path / "kek.key", kind="x25519").reveal()
    assert all(secret not in (value if isinstance(value, bytes) else b"") for value in vars(wrapper).values())


def test_any_changed_byte_of_a_wrapped_key_is_noticed(tmp_path: Path) -> None:
    new_x25519(tmp_path / "kek.key")
    wrapped = open_wrapper(file_uri(tmp_path / "kek.pub")).wrap(Secret(b"k" * 32), context=b"c")
    unwrapper = open_unwrapper(file_uri(tmp_path / "kek.key"))
    for position in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[position] ^= 1
        with pytest.raises(IntegrityError):
            unwrapper.unwrap(bytes(changed), context=b"c")
    for length in range(len(wrapped)):
        with pytest.raises(IntegrityError):
            unwrapper.unwrap(wrapped[:length], context=b"c")


def test_a_wrapped_key_is_hpke_as_the_standard_derives_it(tmp_path: Path) -> None:
    """An independent derivation of RFC 9180 base mode from HMAC and AES-GCM opens what the product wrapped."""
    new_x25519(tmp_path / "kek.key")
    wrapped = open_wrapper(file_uri(tmp_path / "kek.pub")).wrap(Secret(b"s" * 32), context=b"purpose")
    public = read_public_half(tmp_path / "kek.pub", kind="x25519-public")
    private = read_secret(tmp_path / "kek.key", kind="x25519").reveal()
    assert wrapped[:9] == b"\x01" + hashlib.sha256(public).digest()[:8]
    enc, ciphertext = wrapped[9:41], wrapped[41:]
    info = b"enclave wrapped key v1\x00purpose"
    key, nonce = _hpke_key_schedule(private, public, enc, info)
    assert AESGCM(key).decrypt(nonce, ciphertext, b"") == b"s" * 32


def _hpke_key_schedule(private: bytes, public: bytes, enc: bytes, info: bytes) -> tuple[bytes, bytes]:
    """RFC 9180, sections 4.1 and 5.1: DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, AES-256-GCM 0x0002."""

    def extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(suite: bytes, prk: bytes, label: bytes, data: bytes, length: int) -> bytes:
        labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + data
        return hmac.digest(prk, labeled + b"\x01", "sha256")[:length]

    kem = b"KEM\x00\x20"
    dh = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(enc))
    shared = expand(kem, extract(kem, b"", b"eae_prk", dh), b"shared_secret", enc + public, 32)
    hpke = b"HPKE\x00\x20\x00\x01\x00\x02"
    context = b"\x00" + extract(hpke, b"", b"psk_id_hash", b"") + extract(hpke, b"", b"info_hash", info)
    secret = extract(hpke, shared, b"secret", b"")
    return expand(hpke, secret, b"key", context, 32), expand(hpke, secret, b"base_nonce", context, 12)


@settings(max_examples=25)
@given(data=st.binary(max_size=300), context=st.binary(max_size=20), flip=st.integers(min_value=0))
def test_a_box_opens_unchanged_and_in_its_own_context_only(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, context: bytes, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    new_symmetric(folder / "a.key")
    new_symmetric(folder / "b.key")
    box, other = (open_box(file_uri(folder / name)) for name in ("a.key", "b.key"))
    sealed = box.seal(data, context=context)
    assert box.open(sealed, context=context) == data
    assert box.seal(data, context=context) != sealed
    changed = bytearray(sealed)
    changed[flip % len(sealed)] ^= 1 + flip % 255
    for attempt, key, about in (
        (bytes(changed), box, context),
        (sealed[:-1], box, context),
        (sealed, other, context),
        (sealed, box, context + b"x"),
    ):
        with pytest.raises(IntegrityError):
            key.open(attempt, context=about)


@pytest.mark.row("S16.4")
def test_no_error_about_a_key_holds_the_key(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    new_symmetric(path)
    text = path.read_text().split()[1]
    path.chmod(0o644)
    with pytest.raises(DeniedError) as denied:
        read_symmetric(path)
    path.chmod(0o600)
    with pytest.raises(IntegrityError) as malformed:
        read_secret(path, kind="ed25519")
    for caught in (denied, malformed):
        assert text not in caught.value.message
    assert text not in repr(read_symmetric(path))
    assert base64.b64decode(text) == read_symmetric(path).reveal()
