"""The Go implementation of transparency logs (golang.org/x/mod/sumdb) reads what the ledger writes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from optional import need

from enclave.audit.checkpoint import COSIGNER, VerifierKey
from enclave.audit.cosignature import AddCheckpoint, write_request
from enclave.audit.export import Source, write_entries
from enclave.audit.prove import prove
from enclave.audit.verify import read_vkey
from enclave.audit.witness import Witness
from enclave.keys.files import new_ed25519
from enclave.keys.sign import open_signer
from enclave.keys.verify import verify_ed25519
from enclave.runtime.clock import SystemClock

SOURCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The compiled program; returns exit code, what it says on standard output, and its errors."""
    go, _ = need("go"), need("go-sumdb")
    built = tmp_path_factory.mktemp("reference") / "reference"
    # GOPATH mode: Debian keeps the packages as sources, so nothing is ever fetched.
    settings = {
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    cache = {"GOCACHE": os.environ.get("GOCACHE") or str(built.parent / "cache")}
    subprocess.run([go, "build", "-o", built, "."], cwd=SOURCE, env=os.environ | settings | cache, check=True)

    def run(log: Path, *words):
        vkey = (log / "vkey").read_text()
        command = [built, "-log", log, "-vkey", vkey, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {}, done.stderr

    return run


def write(auditd, count):
    for number in range(count):
        auditd.client.record("audit.rebuild", actor="service:test", detail={"rows": number})


@pytest.fixture
def log(auditd, tmp_path):
    """The folder of a closed ledger with two full tiles and a partial one, copied away."""
    write(auditd, 600)
    auditd.stop()
    copy = tmp_path / "copy"
    shutil.copytree(auditd.home.state("audit"), copy)
    return copy


@pytest.mark.row("S10.3")
def test_the_go_reference_verifies_checkpoint_tree_and_every_proof(log, reference):
    write_entries(Source(log, key=read_vkey(log / "log" / "vkey")), log / "log")
    code, told, error = reference(log / "log")
    assert code == 0, error
    assert told["size"] == told["inclusions"] == told["consistencies"] == told["entries"] == 602


def test_the_go_reference_accepts_the_proofs_that_our_command_makes(log, reference, tmp_path):
    for seq, old_size in ((0, 1), (17, 256), (300, 512), (601, 602), (511, 0)):
        found = prove(log, seq, old_size=old_size)
        path = tmp_path / "proof.json"
        path.write_text(json.dumps({name: getattr(found, name) for name in found.__slots__}))
        code, told, error = reference(log / "log", "-proof", path, "-every", 100)
        assert code == 0, error
        assert told["proofs"] == 1


def test_the_go_reference_refuses_what_was_changed(log, reference):
    for part in ("checkpoint", "tile/0/000", "tile/0/001", "tile/1/000.p/2", "tile/0/002.p/90"):
        path = log / "log" / part
        kept = path.read_bytes()
        middle = len(kept) // 2
        path.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
        assert reference(log / "log")[0] == 1, part
        path.write_bytes(kept)
    assert reference(log / "log")[0] == 0


@pytest.mark.row("S10.3")
def test_a_cosignature_verifies_with_the_go_signed_note_package(log, reference, tmp_path):
    new_ed25519(tmp_path / "w.key")
    signer = open_signer(f"file:{tmp_path / 'w.key'}")
    key = VerifierKey("witness.example/w1", signer.public_key, COSIGNER)
    known = [read_vkey(log / "log" / "vkey")]
    witness = Witness(
        tmp_path / "store", key=key, sign=signer.sign, verify=verify_ed25519, logs=known, clock=SystemClock()
    )
    text = (log / "log" / "checkpoint").read_text()
    answer = witness.add_checkpoint(write_request(AddCheckpoint(0, (), text)))
    witness.close()
    cosigned = tmp_path / "cosigned"
    cosigned.write_text(text + answer.body)
    code, told, error = reference(log / "log", "-witness", key, "-cosigned", cosigned, "-every", 100)
    assert code == 0, error
    assert told["cosigned"] == 602
    raw = base64.b64decode(answer.body.split()[2])
    later = raw[:11] + bytes([raw[11] ^ 1]) + raw[12:]  # another second
    cosigned.write_text(text + f"— {key.name} {base64.b64encode(later).decode()}\n")
    assert reference(log / "log", "-witness", key, "-cosigned", cosigned, "-every", 100)[0] == 1
