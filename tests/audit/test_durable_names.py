"""A file is not there after a power cut because its bytes are: its name must be on the disk as well, and in time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enclave.audit.bodies import shred_bodies
from enclave.audit.body_keys import BodyKeys
from enclave.audit.checkpoint import COSIGNER, TreeHead, VerifierKey, write_checkpoint
from enclave.audit.cosignature import AddCheckpoint, write_request
from enclave.audit.ledger import Ledger
from enclave.audit.merkle import leaf_hash
from enclave.audit.segments import FILE_HEAD, MAGIC, frame, segment_name
from enclave.audit.tiles import write_file
from enclave.audit.witness import Witness
from enclave.keys.box import open_box
from enclave.keys.files import new_ed25519, new_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.verify import verify_ed25519
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log


@pytest.fixture
def steps(monkeypatch):
    """What is asked of the disk, in order: (``fsync`` | ``replace`` | ``write``, the path)."""
    made = []
    fsync, replace, pwrite = os.fsync, os.replace, os.pwrite

    def path_of(fd):
        return str(Path(f"/proc/self/fd/{fd}").readlink())

    def traced_fsync(fd):
        made.append(("fsync", path_of(fd)))
        fsync(fd)

    def traced_replace(source, target, **more):
        replace(source, target, **more)
        made.append(("replace", str(target)))

    def traced_pwrite(fd, data, offset):
        made.append(("write", path_of(fd)))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    monkeypatch.setattr(os, "pwrite", traced_pwrite)
    return made


def test_a_durable_file_has_its_bytes_first_then_its_name(tmp_path, steps):
    write_file(tmp_path / "log" / "checkpoint", b"x", durable=True)
    folder = str(tmp_path / "log")
    assert steps == [
        ("fsync", f"{folder}/.checkpoint.part"),
        ("replace", f"{folder}/checkpoint"),
        ("fsync", folder),
    ]


@pytest.mark.row("S10.3")
def test_a_witness_remembers_a_checkpoint_for_good_before_it_answers(tmp_path, steps):
    new_ed25519(tmp_path / "log.key")
    new_ed25519(tmp_path / "witness.key")
    log, own = (open_signer(f"file:{tmp_path / name}.key") for name in ("log", "witness"))
    key = VerifierKey("enclave.local/1", log.public_key)
    cosigner = VerifierKey("witness.example/w1", own.public_key, COSIGNER)
    witness = Witness(
        tmp_path / "seen", key=cosigner, sign=own.sign, verify=verify_ed25519, logs=[key], clock=SystemClock()
    )
    text = write_checkpoint(TreeHead(key.name, 1, leaf_hash(b"x")), key=key, sign=log.sign)
    assert witness.add_checkpoint(write_request(AddCheckpoint(0, (), text))).status == 200
    witness.close()
    kept = next((tmp_path / "seen").glob("*/checkpoint"))
    after = steps[steps.index(("replace", str(kept))) :]
    assert ("fsync", str(kept.parent)) in after, "the name of what was seen"
    assert ("fsync", str(kept.parent.parent)) in steps, "the name of the log's folder"


def test_bodies_that_stay_have_their_name_before_the_old_bytes_are_overwritten(tmp_path, steps):
    folder = tmp_path / "bodies"
    folder.mkdir()
    for first in (0, 10):
        data = FILE_HEAD.pack(MAGIC, first) + frame(first, b"goes") + frame(first + 1, b"stays")
        (folder / segment_name(first)).write_bytes(data)
    new_symmetric(tmp_path / "body.key")
    keys = BodyKeys(tmp_path / "body-keys", base=open_box(f"file:{tmp_path / 'body.key'}"), clock=SystemClock())
    shredded = shred_bodies(folder, seqs={0}, keys=keys, before=folder / segment_name(10))
    assert shredded.bodies == 1
    named = steps.index(("replace", str(folder / segment_name(0))))
    wiped = next(n for n, (act, path) in enumerate(steps) if act == "write" and "deleted" in path)
    assert ("fsync", str(folder)) in steps[named:wiped]


def test_the_folders_of_a_new_ledger_have_their_names_before_the_first_receipt(tmp_path, steps):
    new_ed25519(tmp_path / "sign.key")
    new_symmetric(tmp_path / "body.key")
    signer = open_signer(f"file:{tmp_path / 'sign.key'}")
    made = {"sign": signer.sign, "verify": verify_ed25519, "clock": SystemClock(), "log": Log("test")}
    box = open_box(f"file:{tmp_path / 'body.key'}")
    folder = tmp_path / "audit"
    Ledger(folder, key=VerifierKey("enclave.local/1", signer.public_key), box=box, reserve_bytes=1, **made).close()
    assert ("fsync", str(folder)) in steps
    assert ("fsync", str(tmp_path)) in steps
