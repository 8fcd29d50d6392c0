"""Checkpoints against the formats' own published examples, and against whoever would change one."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit.checkpoint import TreeHead, VerifierKey, parse_checkpoint, verify_checkpoint, write_checkpoint
from enclave.core.errors import IntegrityError, InvalidError
from enclave.keys.verify import verify_ed25519

# The example in the documentation of golang.org/x/mod/sumdb/note, and the key of the public Go checksum database.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NEUMANN_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_DATABASE = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey("enclave.local/0123456789abcdef", PRIVATE.public_key().public_bytes_raw())


def signed(size=5, root=b"r" * 32, *, key=KEY, origin=KEY.name):
    return write_checkpoint(TreeHead(origin, size, root), key=key, sign=PRIVATE.sign)


@pytest.mark.parametrize("text", [NEUMANN, GO_DATABASE])
def test_verifier_keys_of_others_read_and_write_the_same(text):
    assert str(VerifierKey.parse(text)) == text


def test_a_signature_made_by_the_reference_implementation_is_ours_to_check():
    key = VerifierKey.parse(NEUMANN)
    raw = base64.b64decode(NEUMANN_SIGNATURE)
    assert raw[:4] == key.key_id
    assert verify_ed25519(key.public_key, NEUMANN_TEXT.encode(), raw[4:])


def test_a_checkpoint_reads_back():
    assert verify_checkpoint(signed(), key=KEY, verify=verify_ed25519) == TreeHead(KEY.name, 5, b"r" * 32)


@settings(deadline=None)
@given(st.integers(0, 2**62), st.binary(min_size=32, max_size=32))
def test_every_head_reads_back(size, root):
    assert parse_checkpoint(signed(size, root)).size == size
    assert verify_checkpoint(signed(size, root), key=KEY, verify=verify_ed25519).root == root


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_changed_checkpoint_says_anything_else_than_the_signed_one(data):
    text = signed(1234)
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("0123456789ab+/=\n —Z"))
    changed = text[:position] + letter + text[position + 1 :]
    try:
        head = verify_checkpoint(changed, key=KEY, verify=verify_ed25519)
    except IntegrityError:
        return
    assert head == TreeHead(KEY.name, 1234, b"r" * 32)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_checkpoint_or_an_error_of_ours(text):
    with pytest.raises(IntegrityError):
        verify_checkpoint(text, key=KEY, verify=verify_ed25519)


def test_a_checkpoint_of_another_log_by_the_same_key_is_refused():
    other = VerifierKey("enclave.local/other", KEY.public_key)
    with pytest.raises(IntegrityError):
        verify_checkpoint(signed(key=other, origin=other.name), key=KEY, verify=verify_ed25519)


def test_a_second_signature_by_a_witness_does_no_harm():
    text = signed() + "— witness.example c2lnbmF0dXJl\n"
    assert verify_checkpoint(text, key=KEY, verify=verify_ed25519).size == 5


@pytest.mark.parametrize("text", ["", "a", "a+b+c", NEUMANN.replace("c74f", "c74e"), NEUMANN[:-4], "a b+00000000+AAAA"])
def test_a_wrong_verifier_key_is_refused(text):
    with pytest.raises(InvalidError):
        VerifierKey.parse(text)
