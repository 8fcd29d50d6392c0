"""Proofs from a log's files: that a record is in the signed tree, that an older tree is the beginning of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enclave.audit.checkpoint import VerifierKey, verify_checkpoint
from enclave.audit.merkle import consistency_proof, inclusion_proof
from enclave.audit.tiles import TileFolder, root_of, split_hashes
from enclave.audit.verify import CHECKPOINT, log_folder, read_vkey
from enclave.core.errors import IntegrityError
from enclave.keys.verify import verify_ed25519


@dataclass(frozen=True, slots=True)
class Proof:
    """All hashes in hex; paths lowest first (RFC 6962). ``old_size`` 0 means that no consistency was asked."""

    seq: int
    size: int
    root: str
    leaf_hash: str
    inclusion: tuple[str, ...]
    checkpoint: str
    old_size: int = 0
    old_root: str = ""
    consistency: tuple[str, ...] = ()


def prove(folder: Path, seq: int, *, old_size: int = 0, key: VerifierKey | None = None) -> Proof:
    """The proofs under the last checkpoint; raises ``IntegrityError`` when log and checkpoint do not agree."""
    folder = log_folder(folder)
    try:
        text = (folder / CHECKPOINT).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise IntegrityError("audit log: wanted a checkpoint, got none; start the ledger once") from None
    head = verify_checkpoint(text, key=key or read_vkey(folder / "log" / "vkey"), verify=verify_ed25519)
    data = TileFolder(folder / "log").leaves(head.size)
    leaves = split_hashes(data) if data is not None else []
    if data is None or root_of(leaves) != head.root:
        raise IntegrityError(
            "audit log: wanted tiles that give the signed root, got others; run `enclave audit verify`"
        )
    path = inclusion_proof(seq, head.size, lambda start, end: root_of(leaves[start:end]))
    old = consistency_proof(old_size, head.size, lambda a, b: root_of(leaves[a:b])) if old_size else []
    return Proof(
        seq=seq,
        size=head.size,
        root=head.root.hex(),
        leaf_hash=leaves[seq].hex(),
        inclusion=tuple(step.hex() for step in path),
        checkpoint=text,
        old_size=old_size,
        old_root=root_of(leaves[:old_size]).hex() if old_size else "",
        consistency=tuple(step.hex() for step in old),
    )
