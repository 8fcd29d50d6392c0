"""Reading segments from any place on, however large they are."""

from __future__ import annotations

import pytest

from enclave.audit.segments import SegmentReader, SegmentWriter, frame, segment_files
from enclave.audit.spare import written_in

COUNT = 24_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Segments of some 9 MB altogether, the first larger than what is read at once."""
    path = tmp_path_factory.mktemp("segments")
    writer = SegmentWriter(path, rotate_bytes=6 << 20)
    for first in range(0, COUNT, 1000):
        data = b"".join(frame(seq, b"%d " % seq * 60) for seq in range(first, first + 1000))
        writer.write(data, first_seq=first)
    writer.close()
    assert len(segment_files(path)) == 2
    assert segment_files(path)[0].stat().st_size > 5 << 20
    return path


@pytest.mark.parametrize("start", [0, 1, 999, 9_000, 15_000, 17_500, 20_000, COUNT - 1])
def test_a_reader_begins_anywhere_and_leaves_nothing_out(folder, start):
    reader = SegmentReader(folder, next_seq=start)
    found = []
    while part := reader.read(upto=COUNT, count=700):
        found.extend(record.seq for record in part)
    assert found == list(range(start, COUNT))


def test_a_reader_takes_one_record_from_the_middle(folder):
    (found,) = SegmentReader(folder, next_seq=15_000).read(upto=15_001, count=1)
    assert found.payload.startswith(b"15000 ")


def test_after_rotate_the_next_write_begins_a_new_segment(tmp_path):
    writer = SegmentWriter(tmp_path)
    writer.write(frame(0, b"a"), first_seq=0)
    kept = segment_files(tmp_path)[0].read_bytes()
    kept = kept[: written_in(kept)]
    writer.rotate()
    writer.write(frame(1, b"b"), first_seq=1)
    writer.write(frame(2, b"c"), first_seq=2)
    writer.close()
    assert [path.name for path in segment_files(tmp_path)] == ["000000000000.seg", "000000000001.seg"]
    assert segment_files(tmp_path)[0].read_bytes() == kept
    assert [record.seq for record in SegmentReader(tmp_path).read(upto=3, count=9)] == [0, 1, 2]
