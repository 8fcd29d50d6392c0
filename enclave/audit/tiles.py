"""Tree tiles as files (C2SP tlog-tiles): ``log/tile/LEVEL/INDEX``, and ``….p/WIDTH`` for one that is not full."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from enclave.audit.merkle import HASH_BYTES, TILE_WIDTH, FullTile, fold_root, tree_root


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


def split_hashes(data: bytes) -> list[bytes]:
    """Joined hashes as a list."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def open_tiles_of(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The open tile of each level of the tree over ``leaves``, computed afresh."""
    levels: list[list[bytes]] = []
    row: Sequence[bytes] = leaves
    while row:
        whole = len(row) // TILE_WIDTH * TILE_WIDTH
        levels.append(list(row[whole:]))
        row = [tree_root(row[i : i + TILE_WIDTH]) for i in range(0, whole, TILE_WIDTH)]
    return levels or [[]]


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over ``leaves``."""
    return fold_root(open_tiles_of(leaves))


def write_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Writes ``data`` under ``path``, all or nothing.

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
