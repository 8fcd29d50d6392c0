"""The Merkle tree of RFC 6962, section 2.1, held as the tiles of C2SP tlog-tiles. Pure.

A tile of level L holds up to 256 hashes, each the root of a full subtree of 256**L records. The tree in memory is
only the rightmost, still open tile of each level, so it costs the same for a hundred records and for a billion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from enclave.core.errors import InvalidError

TILE_WIDTH = 256
HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


def leaf_hash(record: bytes) -> bytes:
    """The hash of one record (RFC 6962: a zero byte before it)."""
    return _sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962: a one byte before it)."""
    return _sha256(b"\x01" + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, in one pass."""
    return fold_root([leaves])


def fold_root(open_tiles: Sequence[Sequence[bytes]]) -> bytes:
    """The root of a tree from the open tile of each level, lowest first."""
    root: bytes | None = None
    for tile in open_tiles:
        for subtree in reversed(_perfect_subtrees(tile)):
            root = subtree if root is None else node_hash(subtree, root)
    return EMPTY_ROOT if root is None else root


def _perfect_subtrees(hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the largest full subtrees of ``hashes``, left to right (sizes are powers of two, falling)."""
    roots = []
    start = 0
    while start < len(hashes):
        size = 1 << ((len(hashes) - start).bit_length() - 1)
        roots.append(_full_root(hashes[start : start + size]))
        start += size
    return roots


def _full_root(hashes: Sequence[bytes]) -> bytes:
    row = list(hashes)
    while len(row) > 1:
        row = [_sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row), 2)]
    return row[0]


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that will never change again: its place and its 256 hashes joined."""

    level: int
    index: int
    data: bytes


@dataclass(slots=True)
class Tree:
    """A tree that grows. ``add`` returns the tiles that became full by it."""

    size: int = 0
    open_tiles: list[list[bytes]] = field(default_factory=lambda: [[]])

    def add(self, leaf: bytes) -> list[FullTile]:
        """Appends one leaf hash."""
        self.size += 1
        full: list[FullTile] = []
        level, value = 0, leaf
        while True:
            if level == len(self.open_tiles):
                self.open_tiles.append([])
            tile = self.open_tiles[level]
            tile.append(value)
            if len(tile) < TILE_WIDTH:
                return full
            index = self.size // TILE_WIDTH ** (level + 1) - 1
            full.append(FullTile(level, index, b"".join(tile)))
            value = _full_root(tile)
            self.open_tiles[level] = []
            level += 1

    def add_all(self, leaves: Iterable[bytes]) -> list[FullTile]:
        """Appends many leaf hashes."""
        full: list[FullTile] = []
        for leaf in leaves:
            full.extend(self.add(leaf))
        return full

    def root(self) -> bytes:
        """The root now."""
        return fold_root(self.open_tiles)


# --- proofs (RFC 6962, sections 2.1.1 and 2.1.2; checking as RFC 9162, sections 2.1.3.2 and 2.1.4.2) ---

RangeRoot = Callable[[int, int], bytes]  # (start, end) → root over the leaves start … end - 1


def inclusion_proof(seq: int, size: int, range_root: RangeRoot) -> list[bytes]:
    """The audit path of leaf ``seq`` in the tree of ``size`` leaves, lowest first."""
    if not 0 <= seq < size:
        raise InvalidError(f"inclusion proof: wanted a sequence number below {size}, got {seq}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if seq < middle:
            path.append(range_root(middle, end))
            end = middle
        else:
            path.append(range_root(start, middle))
            start = middle
    return path[::-1]


def consistency_proof(old: int, size: int, range_root: RangeRoot) -> list[bytes]:
    """What shows that the first ``old`` leaves of the tree of ``size`` leaves are the older tree."""
    if not 0 < old <= size:
        raise InvalidError(f"consistency proof: wanted an older size between 1 and {size}, got {old}")
    path: list[bytes] = []
    start, end, whole = 0, size, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_root(middle, end))
            end = middle
        else:
            path.append(range_root(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(range_root(start, end))
    return path[::-1]


def range_proof(start: int, end: int, size: int, range_root: RangeRoot) -> list[bytes]:
    """What shows that leaves ``start`` … ``end`` - 1 are those of the tree of ``size``: the subtrees beside them.

    Left to right as they stand in the tree; one leaf's is its audit path in another order.
    """
    if not 0 <= start < end <= size:
        raise InvalidError(f"range proof: wanted a range of records below {size}, got {start} to {end}")
    return [range_root(first, last) for first, last, inside in _cut(0, size, start, end) if not inside]


def root_with_range(leaves: Sequence[bytes], start: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root of the tree of ``size`` that has these leaves from ``start`` on; raises ``InvalidError``.

    Compare it with a signed root: then these leaves, all of them and in this order, are what was signed.
    """
    end = start + len(leaves)
    parts = _cut(0, size, start, end) if 0 <= start < end <= size else []
    if sum(not inside for _, _, inside in parts) != len(proof) or not parts:
        raise InvalidError("range proof: wanted the subtrees beside the range, got another number of them")
    beside = iter(proof)
    known = {
        (first, last): tree_root(leaves[first - start : last - start]) if inside else next(beside)
        for first, last, inside in parts
    }
    return _folded(0, size, known)


def _cut(low: int, high: int, start: int, end: int) -> list[tuple[int, int, bool]]:
    """The largest subtrees that lie wholly inside of or wholly beside a range, left to right."""
    if start <= low and high <= end:
        return [(low, high, True)]
    if high <= start or end <= low:
        return [(low, high, False)]
    middle = low + _split(high - low)
    return _cut(low, middle, start, end) + _cut(middle, high, start, end)


def _folded(low: int, high: int, known: Mapping[tuple[int, int], bytes]) -> bytes:
    if (low, high) in known:
        return known[low, high]
    middle = low + _split(high - low)
    return node_hash(_folded(low, middle, known), _folded(middle, high, known))


def holds_inclusion(leaf: bytes, seq: int, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` shows that ``leaf`` is at ``seq`` in the tree of that size and root."""
    if not 0 <= seq < size:
        return False
    number, last, value = seq, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            value = node_hash(step, value)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            value = node_hash(value, step)
        number, last = number >> 1, last >> 1
    return last == 0 and value == root


def holds_consistency(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` shows that the tree of ``size`` is the tree of ``old`` with leaves appended."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not path and old_root == root
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not steps:
        return False
    number, last = old - 1, size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, step)
        number, last = number >> 1, last >> 1
    return last == 0 and first == old_root and second == root


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)
