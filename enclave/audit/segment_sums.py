"""Whether whole segments are as they were signed, told in few bytes, so that several processes can look at once.

A segment's sum is SHA-256 over the leaf hashes of its records. Python reads and hashes a million small records on one
core only; ``python -m enclave.audit.segment_sums UPTO PATH...`` does a part of them on another and prints one line of
JSON per segment. It is given names of files and no key.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

from enclave.audit.segments import FILE_HEAD, MAGIC, MAX_RECORD_BYTES, RECORD_HEAD, segment_name
from enclave.audit.spare import written_in

WORTH_BYTES = 128 << 20  # below, another process would take longer to start than it saves
_SHARE = 0.6  # of the bytes that the other process takes: this one has tiles and checkpoints to read


@dataclass(frozen=True, slots=True)
class SegmentSum:
    """Records ``first`` … ``end`` - 1, whole and numbered on; ``digest`` is over the leaf hashes below ``upto``."""

    first: int
    end: int
    digest: str


def sum_segment(path: Path, *, upto: int, newest: bool = False) -> SegmentSum | None:
    """The sum of one segment; None when it is not whole, for whatever reason. The ``newest`` may have spare space."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    end, at = written_in(data) if newest else len(data), FILE_HEAD.size
    magic, first = FILE_HEAD.unpack_from(data) if end > at else (b"", 0)
    if magic != MAGIC or path.name != segment_name(first):
        return None
    unpack, head, sha256 = RECORD_HEAD.unpack_from, RECORD_HEAD.size, hashlib.sha256
    wanted, leaves = first, []
    while at < end:
        if at + head > end:
            return None
        length, crc, seq = unpack(data, at)
        start = at + head
        stop = start + length
        # The checksum covers the sequence number and the payload, which stand side by side.
        if stop > end or seq != wanted or not 0 < length <= MAX_RECORD_BYTES or crc32(data[at + 8 : stop]) != crc:
            return None
        if wanted < upto:
            leaves.append(sha256(b"\x00" + data[start:stop]).digest())
        wanted += 1
        at = stop
    return SegmentSum(first, wanted, sha256(b"".join(leaves)).hexdigest())


@contextmanager
def segment_sums(paths: Sequence[Path], *, upto: int) -> Iterator[Iterator[SegmentSum | None]]:
    """The sums of all segments in their order; the other process works from here on, this one when it is asked."""
    given = _part_of(paths)
    command = [sys.executable, "-P", "-m", __name__, str(upto), *map(str, paths[:given])]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) if given else None
    try:
        yield _sums(paths, given, upto, child)
    finally:
        if child is not None:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _sums(
    paths: Sequence[Path], given: int, upto: int, child: subprocess.Popen[bytes] | None
) -> Iterator[SegmentSum | None]:
    # The other process never has the last one.
    own = [sum_segment(path, upto=upto, newest=path == paths[-1]) for path in paths[given:]]
    for path in paths[:given]:
        line = child.stdout.readline() if child is not None and child.stdout is not None else b""
        # Who ended the other process, or whatever did, has only made this one do the work.
        yield _read(line) if line.endswith(b"\n") else sum_segment(path, upto=upto)
    yield from own


def _read(line: bytes) -> SegmentSum | None:
    value = json.loads(line)
    return SegmentSum(**value) if value is not None else None


def _part_of(paths: Sequence[Path]) -> int:
    """How many of the first segments go to the other process."""
    sizes = [path.stat().st_size for path in paths]
    if sum(sizes) < WORTH_BYTES or len(os.sched_getaffinity(0)) == 1:
        return 0
    share, taken = sum(sizes) * _SHARE, 0
    for number, size in enumerate(sizes):
        taken += size
        if taken > share:
            return number
    return len(paths) - 1


def main() -> None:
    """``UPTO PATH...``."""
    upto, *names = sys.argv[1:]
    for name in names:
        found = sum_segment(Path(name), upto=int(upto))
        sys.stdout.write(json.dumps(asdict(found) if found is not None else None) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
