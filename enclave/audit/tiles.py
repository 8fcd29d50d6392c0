"""Tree tiles as files (C2SP tlog-tiles): ``log/tile/LEVEL/INDEX``, and ``….p/WIDTH`` for one that is not full."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from enclave.audit.merkle import HASH_BYTES, TILE_WIDTH, FullTile, fold_root, node_hash, tree_root
from enclave.core.errors import IntegrityError
from enclave.runtime.durable import sync_folder

_TILE_HEIGHT = 8  # 256 hashes

Levels = Sequence[Sequence[bytes]]  # the hashes of each tile level of one tree, lowest first


def tile_path(level: int, index: int, *, width: int = TILE_WIDTH) -> str:
    """The relative path of a tile: the index in groups of three digits, all but the last marked ``x``."""
    text = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        text = f"x{index % 1000:03d}/{text}"
    return f"tile/{level}/{text}" + (f".p/{width}" if width < TILE_WIDTH else "")


class TileFolder:
    """The tiles below one ``log`` folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write_full(self, tiles: Sequence[FullTile]) -> None:
        """Writes tiles that never change again, and removes their partial forerunners."""
        for tile in tiles:
            path = self._folder / tile_path(tile.level, tile.index)
            write_file(path, tile.data)
            shutil.rmtree(path.with_name(path.name + ".p"), ignore_errors=True)

    def write_open(self, size: int, open_tiles: Sequence[Sequence[bytes]]) -> None:
        """Writes the open tile of each level as a partial tile."""
        for level, hashes in enumerate(open_tiles):
            if hashes:
                index = size // TILE_WIDTH ** (level + 1)
                path = self._folder / tile_path(level, index, width=len(hashes))
                if not path.exists():
                    write_file(path, b"".join(hashes))

    def read(self, level: int, index: int, *, width: int = TILE_WIDTH) -> bytes | None:
        """The first ``width`` hashes of a tile, or None when it is not there in full length."""
        full = self._folder / tile_path(level, index)
        candidates = [full]
        partial = full.with_name(full.name + ".p")
        if width < TILE_WIDTH and partial.is_dir():
            candidates += sorted(partial.iterdir(), key=lambda p: -int(p.name) if p.name.isdigit() else 0)
        for path in candidates:
            if path.is_file():
                data = path.read_bytes()
                if len(data) >= width * HASH_BYTES:
                    return data[: width * HASH_BYTES]
        return None

    def leaves(self, size: int) -> bytes | None:
        """All leaf hashes of the first ``size`` records joined, or None when a tile is missing."""
        parts: list[bytes] = []
        for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            tile = self.read(0, index, width=min(TILE_WIDTH, size - index * TILE_WIDTH))
            if tile is None:
                return None
            parts.append(tile)
        return b"".join(parts)


class TileTree:
    """The tree of ``size`` records as its tiles have it: any node for a few small reads, however large the log is.

    Tiles are taken at their word; who uses a node checks the proof made of it against a signed root.
    """

    def __init__(self, folder: Path, *, size: int) -> None:
        self._tiles = TileFolder(folder)
        self._size = size
        self._read: dict[tuple[int, int], bytes] = {}

    def leaf(self, seq: int) -> bytes:
        """The leaf hash of one record; errors as ``range_root``."""
        return self.range_root(seq, seq + 1)

    def range_root(self, start: int, end: int) -> bytes:
        """The root over the leaves ``start`` … ``end`` - 1, a subtree of RFC 6962; raises ``IntegrityError``."""
        count = end - start
        if count & (count - 1) == 0:
            return self._perfect(start, count.bit_length() - 1)
        middle = start + (1 << ((count - 1).bit_length() - 1))
        return node_hash(self.range_root(start, middle), self.range_root(middle, end))

    def _perfect(self, start: int, height: int) -> bytes:
        level, above = divmod(height, _TILE_HEIGHT)
        first = start >> (level * _TILE_HEIGHT)
        index, offset = divmod(first, TILE_WIDTH)
        hashes = split_hashes(self._tile(level, index))[offset : offset + (1 << above)]
        return tree_root(hashes)

    def _tile(self, level: int, index: int) -> bytes:
        found = self._read.get((level, index))
        if found is None:
            width = min(TILE_WIDTH, (self._size >> (level * _TILE_HEIGHT)) - index * TILE_WIDTH)
            found = self._tiles.read(level, index, width=width)
            if found is None:
                raise IntegrityError(
                    f"audit log: wanted tile {tile_path(level, index)}, got none; run `enclave audit verify`"
                )
            self._read[level, index] = found
        return found


def split_hashes(data: bytes) -> list[bytes]:
    """Joined hashes as a list."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def levels_of(leaves: Sequence[bytes]) -> Levels:
    """The hashes of each tile level over ``leaves``, full tiles folded upwards; lowest first."""
    levels: list[Sequence[bytes]] = [leaves]
    while len(levels[-1]) >= TILE_WIDTH:
        row = levels[-1]
        whole = len(row) // TILE_WIDTH * TILE_WIDTH
        levels.append([tree_root(row[i : i + TILE_WIDTH]) for i in range(0, whole, TILE_WIDTH)])
    return levels


def root_at(levels: Levels, size: int) -> bytes:
    """The root of the first ``size`` leaves, from the levels of a tree that has at least so many."""
    counts = [size >> (level * _TILE_HEIGHT) for level in range(len(levels))]
    return fold_root([row[n // TILE_WIDTH * TILE_WIDTH : n] for row, n in zip(levels, counts, strict=True)])


def open_tiles_of(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The open tile of each level of the tree over ``leaves``, computed afresh."""
    found = [list(row[len(row) // TILE_WIDTH * TILE_WIDTH :]) for row in levels_of(leaves)]
    return found[:-1] if len(found) > 1 and not found[-1] else found


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over ``leaves``."""
    return root_at(levels_of(leaves), len(leaves))


def write_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Writes ``data`` under ``path``, all or nothing; ``durable``: the bytes and the name, when it returns.

    Tiles need not be durable: they can be computed again, and one that a power cut left empty is found on opening.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)
