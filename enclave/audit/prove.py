"""Proofs from a log's files, and their check by somebody who has only the log's verifier key.

That a record is in the signed tree, and that an older tree is the beginning of it. The text form is C2SP tlog-proof.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from enclave.audit.checkpoint import TreeHead, VerifierKey, verify_checkpoint
from enclave.audit.merkle import consistency_proof, holds_consistency, holds_inclusion, inclusion_proof, leaf_hash
from enclave.audit.segments import SegmentReader
from enclave.audit.tiles import TileTree
from enclave.audit.verify import CHECKPOINT, log_folder, read_vkey
from enclave.core.canonical import parse_json
from enclave.core.errors import IntegrityError, InvalidError
from enclave.keys.verify import verify_ed25519
from enclave.wire.messages.schema import from_json

_TLOG_PROOF = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Proof:
    """All hashes in hex; paths lowest first (RFC 6962). ``old_size`` 0 means that no consistency was asked.

    ``record`` is the record's text, so that who checks the proof sees what it is about.
    """

    seq: int
    size: int
    root: str
    leaf_hash: str
    record: str
    inclusion: tuple[str, ...]
    checkpoint: str
    old_size: int = 0
    old_root: str = ""
    consistency: tuple[str, ...] = ()


def prove(folder: Path, seq: int, *, old_size: int = 0, key: VerifierKey | None = None) -> Proof:
    """The proofs under the last checkpoint, read from a few tiles.

    Raises ``InvalidError`` for a number or size that the checkpoint does not cover, ``IntegrityError`` when
    checkpoint, tiles and record do not agree.
    """
    folder = log_folder(folder)
    text, head = signed_head(folder, key=key)
    tree = TileTree(folder / "log", size=head.size)
    path = inclusion_proof(seq, head.size, tree.range_root)
    old = consistency_proof(old_size, head.size, tree.range_root) if old_size else []
    proof = Proof(
        seq=seq,
        size=head.size,
        root=head.root.hex(),
        leaf_hash=tree.leaf(seq).hex(),
        record=_record(folder, seq),
        inclusion=tuple(step.hex() for step in path),
        checkpoint=text,
        old_size=old_size,
        old_root=_old_root(tree, old_size).hex() if old_size else "",
        consistency=tuple(step.hex() for step in old),
    )
    _check(proof, head)
    return proof


def signed_head(folder: Path, *, key: VerifierKey | None = None) -> tuple[str, TreeHead]:
    """The last checkpoint and what it says; raises ``IntegrityError`` when there is none that ``key`` signed."""
    try:
        text = (folder / CHECKPOINT).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise IntegrityError("audit log: wanted a checkpoint, got none; start the ledger once") from None
    return text, verify_checkpoint(text, key=key or read_vkey(folder / "log" / "vkey"), verify=verify_ed25519)


def check_proof(proof: Proof, *, key: VerifierKey) -> TreeHead:
    """The head under which everything that ``proof`` says holds; raises ``IntegrityError`` for anything that does not.

    Needs no log: ``key`` must come from elsewhere than the proof.
    """
    head = verify_checkpoint(proof.checkpoint, key=key, verify=verify_ed25519)
    _check(proof, head)
    return head


def parse_proof(data: bytes) -> Proof:
    """A proof as ``enclave audit prove`` wrote it; raises ``InvalidError``."""
    return from_json(Proof, parse_json(data))


def tlog_proof(proof: Proof) -> str:
    """The inclusion proof in the text form of C2SP tlog-proof, which tools of others read."""
    lines = [_TLOG_PROOF, f"index {proof.seq}"]
    lines.extend(base64.b64encode(bytes.fromhex(step)).decode() for step in proof.inclusion)
    return "\n".join(lines) + "\n\n" + proof.checkpoint


def _check(proof: Proof, head: TreeHead) -> None:
    try:
        leaf, root, old_root = (bytes.fromhex(t) for t in (proof.leaf_hash, proof.root, proof.old_root))
        inclusion = [bytes.fromhex(step) for step in proof.inclusion]
        consistency = [bytes.fromhex(step) for step in proof.consistency]
    except ValueError:
        raise InvalidError("proof: wanted hashes in hex, got something else") from None
    if (proof.size, root) != (head.size, head.root):
        raise _broken("size and root that the checkpoint says")
    if leaf_hash(proof.record.encode("utf-8", "surrogatepass")) != leaf:
        raise _broken("the record of this leaf hash")
    if not holds_inclusion(leaf, proof.seq, head.size, head.root, inclusion):
        raise _broken("a path from the record to the signed root")
    if proof.old_size and not holds_consistency(proof.old_size, old_root, head.size, head.root, consistency):
        raise _broken("a path from the older tree to the signed root")


def _broken(wanted: str) -> IntegrityError:
    return IntegrityError(f"proof: wanted {wanted}, got another; run `enclave audit verify`", code="proof_broken")


def _record(folder: Path, seq: int) -> str:
    found = SegmentReader(folder / "segments", next_seq=seq).read(upto=seq + 1, count=1)
    if not found or found[0].seq != seq:
        raise _broken(f"record {seq} in the segments")
    return found[0].payload.decode("utf-8", "replace")


def _old_root(tree: TileTree, size: int) -> bytes:
    """The root of an older tree; its own leaves make it, whatever the tree has become."""
    return tree.range_root(0, size)
