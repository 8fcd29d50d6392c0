"""The tree against the definitions of RFC 6962, written down a second time in their plainest form."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit.merkle import (
    TILE_WIDTH,
    Tree,
    consistency_proof,
    holds_consistency,
    holds_inclusion,
    inclusion_proof,
    leaf_hash,
)
from enclave.audit.tiles import open_tiles_of, root_of, tile_path


def plain_root(records):
    """MTH of RFC 6962, section 2.1, word for word."""
    if not records:
        return hashlib.sha256(b"").digest()
    if len(records) == 1:
        return hashlib.sha256(b"\x00" + records[0]).digest()
    k = 1
    while k * 2 < len(records):
        k *= 2
    return hashlib.sha256(b"\x01" + plain_root(records[:k]) + plain_root(records[k:])).digest()


def made(count):
    return [b"record %d" % number for number in range(count)]


def range_root(leaves):
    return lambda start, end: root_of(leaves[start:end])


# The eight inputs and the roots that certificate-transparency implementations have shared since 2013.
KNOWN_INPUTS = [bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")] + [
    bytes.fromhex("606162636465666768696a6b6c6d6e6f")
]
KNOWN_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def test_the_shared_vectors_give_the_shared_roots():
    for size, root in KNOWN_ROOTS.items():
        assert root_of([leaf_hash(r) for r in KNOWN_INPUTS[:size]]).hex() == root


def test_the_growing_tree_has_the_defined_root_at_every_size():
    tree, records = Tree(), made(600)
    for size, record in enumerate(records, start=1):
        tree.add(leaf_hash(record))
        if size in (1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 600):
            assert tree.root() == plain_root(records[:size])
            assert open_tiles_of([leaf_hash(r) for r in records[:size]])[0] == tree.open_tiles[0]


def test_full_tiles_come_out_once_each_with_the_right_place():
    tree = Tree()
    full = tree.add_all(leaf_hash(r) for r in made(TILE_WIDTH * 3 + 5))
    assert [(t.level, t.index) for t in full] == [(0, 0), (0, 1), (0, 2)]
    assert tree.open_tiles[1] == [plain_root(made(TILE_WIDTH * 3)[i * 256 : i * 256 + 256]) for i in range(3)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.data())
def test_every_inclusion_proof_holds_and_no_other_leaf_fits_it(size, data):
    leaves = [leaf_hash(r) for r in made(size)]
    seq = data.draw(st.integers(0, size - 1))
    root = root_of(leaves)
    path = inclusion_proof(seq, size, range_root(leaves))
    assert holds_inclusion(leaves[seq], seq, size, root, path)
    assert not holds_inclusion(leaf_hash(b"other"), seq, size, root, path)
    if size > 1:
        assert not holds_inclusion(leaves[seq], (seq + 1) % size, size, root, path)
        assert not holds_inclusion(leaves[seq], seq, size, root, [*path, bytes(32)])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.data())
def test_every_consistency_proof_holds_and_a_changed_past_fits_none(size, data):
    leaves = [leaf_hash(r) for r in made(size)]
    old = data.draw(st.integers(1, size))
    path = consistency_proof(old, size, range_root(leaves))
    assert holds_consistency(old, root_of(leaves[:old]), size, root_of(leaves), path)
    changed = [leaf_hash(b"changed"), *leaves[1:]]
    assert not holds_consistency(old, root_of(changed[:old]), size, root_of(leaves), path)


def test_tile_paths_are_those_of_tlog_tiles():
    assert tile_path(0, 5) == "tile/0/005"
    assert tile_path(1, 1234067) == "tile/1/x001/x234/067"
    assert tile_path(0, 273, width=112) == "tile/0/273.p/112"
