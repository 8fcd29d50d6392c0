"""Comments and application data of compressed pixels leave blank; samples, fragments and offsets are as they were."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from code_streams import (
    HEADERS,
    KINDS,
    SECRET,
    STRANGER,
    compressed,
    holding,
    jpeg_ls,
    only,
    picture,
    run,
    segment,
    with_words,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID, JPEGBaseline8Bit, RLELossless

from enclave.deid import source as source_module
from enclave.deid.check import check_output
from enclave.deid.codestreams import Blank, Family, StreamError, words_in, written_over
from enclave.deid.comments import WRITTEN_OVER
from enclave.deid.keyring import Keyring


@pytest.fixture(params=["whole", "in pieces"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of reading a file, on small ones."""
    if request.param == "in pieces":
        monkeypatch.setattr(source_module, "SMALL_BYTES", 64)
        monkeypatch.setattr(source_module, "PIECE_BYTES", 37)
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_words_in_a_code_stream_leave_blank_and_no_sample_changes(
    kind: Callable[[], tuple[UID, bytes]], way: str, keyring: Keyring, tmp_path: Path
) -> None:
    syntax, stream = kind()
    original = np.asarray(holding(syntax, encapsulate([stream])).pixel_array)
    job = run(tmp_path, holding(syntax, encapsulate([with_words(stream)])), keyring)
    assert job.report["reasons"] == {}
    assert job.report["redactions"][WRITTEN_OVER] == 1
    clean = only(tmp_path)
    data = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"Oswinthal" not in data
    assert b"Zanaryquist" not in data
    assert clean.file_meta.TransferSyntaxUID == syntax
    assert len(clean.PixelData) == len(encapsulate([with_words(stream)]))
    assert np.array_equal(clean.pixel_array, original)
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    assert {"tag": "7fe00010", "reason": WRITTEN_OVER} in json.loads(row["redactions"])
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


# With an extended table every frame is one fragment (PS3.3 C.7.6.3.1.8).
@pytest.mark.parametrize(
    ("table", "fragments"), [("basic", 1), ("basic", 3), ("extended", 1), ("none", 1), ("none", 3)]
)
def test_fragments_and_offset_tables_stay_valid(
    table: str, fragments: int, way: str, keyring: Keyring, tmp_path: Path
) -> None:
    syntax, stream = jpeg_ls()
    # Without a table pydicom looks for the end of a frame in the last bytes of a fragment.
    frames = [with_words(stream, bytes([65 + number]) * 301, behind=table != "none") for number in range(3)]
    value = encapsulate(frames, fragments_per_frame=fragments, has_bot=table == "basic")
    ds = holding(syntax, value, frames=3)
    if table == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    before = ds.PixelData
    assert run(tmp_path, ds, keyring).report["reasons"] == {}
    clean = only(tmp_path)
    for number in range(3):
        assert bytes([65 + number]) * 40 not in clean.PixelData
    assert len(clean.PixelData) == len(before)
    assert clean.get("ExtendedOffsetTable") in (
        None,
        ds.get("ExtendedOffsetTable"),
    )  # either is valid, a changed one not
    assert np.array_equal(clean.pixel_array, np.stack([picture()] * 3))
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


def test_a_comment_that_was_not_written_over_does_not_pass_the_check(keyring: Keyring, tmp_path: Path) -> None:
    syntax, stream = jpeg_ls()
    run(tmp_path, holding(syntax, encapsulate([with_words(stream, STRANGER)])), keyring)
    (path,) = (tmp_path / "out").rglob("*.dcm")
    clean = pydicom.dcmread(path)
    clean.PixelData = encapsulate([with_words(stream, STRANGER)])
    clean.save_as(path)
    checked = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)
    assert [one["id"] for one in checked["checks"] if not one["ok"]] == ["pixels"]


@pytest.mark.parametrize(
    "broken",
    [
        lambda stream: stream[:40],
        lambda stream: stream[2:],
        lambda stream: stream[:2] + segment(0xFE, SECRET)[:-20] + stream[2:],  # its length leads into the image
        lambda stream: stream[:2] + STRANGER + stream[2:],
        lambda stream: stream[:2] + segment(0xF0, STRANGER) + stream[2:],
        lambda stream: stream + stream,  # an image that nobody declared
    ],
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_code_stream_that_breaks_its_rules_is_held_back(
    kind: Callable[[], tuple[UID, bytes]], broken: Callable[[bytes], bytes], keyring: Keyring, tmp_path: Path
) -> None:
    syntax, stream = kind()
    ds = holding(syntax, encapsulate([broken(stream.rstrip(b"\0"))]))
    assert run(tmp_path, ds, keyring).report["reasons"] == {"code_stream": 1}
    assert not list((tmp_path / "out").rglob("*.dcm"))
    assert not list((tmp_path / "out").rglob("*.part"))


def test_frames_that_nothing_tells_apart_are_held_back(keyring: Keyring, tmp_path: Path) -> None:
    syntax, stream = jpeg_ls()
    value = encapsulate([stream] * 3, fragments_per_frame=2, has_bot=False)
    assert run(tmp_path, holding(syntax, value, frames=4), keyring).report["reasons"] == {"code_stream": 1}


def test_what_says_how_colours_are_meant_stays(keyring: Keyring, tmp_path: Path) -> None:
    colours = np.stack([picture(), picture().T, 255 - picture()], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "jpeg", comment=SECRET, exif=b"Exif\0\0" + STRANGER)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + STRANGER)
    stream = buffer.getvalue()[:2] + adobe + buffer.getvalue()[2:]
    ds = holding(JPEGBaseline8Bit, encapsulate([stream]))
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    original = np.asarray(ds.pixel_array)
    run(tmp_path, ds, keyring)
    clean = only(tmp_path)
    assert np.array_equal(clean.pixel_array, original)
    assert b"JFIF\0" in clean.PixelData
    assert b"Adobe\0\x64\0\0\0\0\1" in clean.PixelData
    assert b"Brekkeby" not in clean.PixelData


def test_boxes_around_a_jpeg_2000_image_leave_blank() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "jpeg2000", irreversible=False)
    file = buffer.getvalue()
    assert file.startswith(b"\0\0\0\x0cjP  ")
    more = b"".join(
        struct.pack(">L4s", 8 + len(STRANGER), kind) + STRANGER for kind in (b"xml ", b"uuid", b"asoc", b"????")
    )
    at = file.index(b"jp2c") - 4
    changed = file[:at] + more + file[at:]
    clean = filled(changed, words_in(changed, family=Family.JPEG_2000))
    assert b"Brekkeby" not in clean
    assert b"xml " in clean
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(clean))), picture())


# ── any bytes ───────────────────────────────────────────────────────────────


def filled(stream: bytes, blanks: tuple[Blank, ...]) -> bytes:
    return b"".join(bytes(piece) for piece in written_over([memoryview(stream)], start=0, blanks=blanks))


@given(st.binary(max_size=400), st.sampled_from(list(Family)), st.booleans())
def test_any_bytes_are_a_stream_or_refused(data: bytes, family: Family, begun: bool) -> None:
    start = b"\xff\x4f\xff\x51" if family is Family.JPEG_2000 else b"\xff\xd8\xff"
    stream = start + data if begun else data
    try:
        blanks = words_in(stream, family=family)
    except StreamError:
        return
    assert len(filled(stream, blanks)) == len(stream)


@given(
    st.sampled_from(KINDS).map(lambda kind: kind.__name__),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=6), st.integers(0, 9)), max_size=4),
)
def test_damage_to_a_stream_never_moves_a_byte_and_cleaning_twice_changes_nothing(
    name: str, damages: list[tuple[int, bytes, int]]
) -> None:
    family = {"jpeg_ls": Family.JPEG_LS, "jpeg_2000": Family.JPEG_2000}.get(name, Family.JPEG)
    stream = STREAMS[name]
    for place, new, gone in damages:
        at = place % len(stream)
        stream = stream[:at] + new + stream[at + gone :]
    try:
        blanks = words_in(stream, family=family)
    except StreamError:
        return
    clean = filled(stream, blanks)
    assert len(clean) == len(stream)
    kept = bytearray(b"\1" * len(stream))
    for blank in blanks:
        assert 0 <= blank.start < blank.end <= len(stream)
        kept[blank.start : blank.end] = bytes(blank.end - blank.start)
    assert all(clean[at] == stream[at] for at in range(len(stream)) if kept[at])
    assert words_in(clean, family=family) == ()


STREAMS = {kind.__name__: with_words(kind()[1], b"words " * 5) for kind in KINDS}


@given(
    st.lists(st.tuples(st.sampled_from([0xFE, *range(0xE1, 0xF0)]), st.binary(max_size=40)), max_size=5),
    st.binary(max_size=200),
    st.binary(max_size=20).filter(lambda behind: b"\xff\xd8\xff" not in behind),
)
def test_exactly_the_words_between_the_segments_are_found(
    words: list[tuple[int, bytes]], scan: bytes, behind: bytes
) -> None:
    """A stream put together here, whose image bytes are known."""
    stream = bytearray(b"\xff\xd8" + segment(0xC0, b"\x08\0\1\0\1\1\1\x11\0"))
    image = bytearray(b"\1" * len(stream))
    for marker, body in words:
        made = segment(marker, body)
        known = marker == 0xEE and body.startswith(b"Adobe")
        stream += made
        image += b"\1" * 4 + (b"\1" if known else b"\0") * len(body)
    tail = segment(0xDA, b"\1\1\0\0\x3f\0") + scan.replace(b"\xff", b"\xff\0") + b"\xff\xd9"
    stream += tail + behind
    image += b"\1" * len(tail) + bytes(len(behind))
    clean = filled(bytes(stream), words_in(bytes(stream), family=Family.JPEG))
    for at, is_image in enumerate(image):
        assert clean[at] == stream[at] if is_image else clean[at] in (0, 0x20)


@given(st.binary(max_size=120), st.lists(st.integers(0, 120), max_size=8), st.integers(1, 30))
def test_pieces_are_written_over_as_the_whole_is(data: bytes, edges: list[int], size: int) -> None:
    places = sorted({min(edge, len(data)) for edge in edges})
    blanks = tuple(Blank(7 + one, 7 + other, 0x20) for one, other in zip(places[::2], places[1::2], strict=False))
    pieces = [memoryview(data)[at : at + size] for at in range(0, len(data), size)]
    whole = bytearray(data)
    for blank in blanks:
        whole[blank.start - 7 : blank.end - 7] = b" " * (blank.end - blank.start)
    assert b"".join(bytes(piece) for piece in written_over(pieces, start=7, blanks=blanks)) == bytes(whole)


# ── places that are no comments ─────────────────────────────────────────────

WORDS = STRANGER + b" " * (-len(STRANGER) % 4)


def with_table(stream: bytes, table: bytes) -> bytes:
    """A value of one fragment, with any basic offset table."""
    stream += b"\0" * (len(stream) % 2)
    parts = (table, stream)
    return b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in parts)


@pytest.mark.parametrize("table", [WORDS, bytes(4) + WORDS, struct.pack("<L", 4), bytes(8), b"abc."])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_offset_table_that_is_none_of_these_frames_is_held_back(
    kind: Callable[[], tuple[UID, bytes]], table: bytes, keyring: Keyring, tmp_path: Path
) -> None:
    syntax, stream = kind()
    ds = holding(syntax, with_table(stream, table))
    assert run(tmp_path, ds, keyring).report["reasons"] == {"code_stream": 1}


@pytest.mark.parametrize(("table", "reasons"), [(b"", {}), (bytes(4), {}), (WORDS, {"code_stream": 1})])
def test_so_is_that_of_an_image_in_run_lengths(
    table: bytes, reasons: dict[str, int], keyring: Keyring, tmp_path: Path
) -> None:
    syntax, stream = compressed(RLELossless)
    assert run(tmp_path, holding(syntax, with_table(stream, table)), keyring).report["reasons"] == reasons


def in_main_header(marker: int, body: bytes) -> bytes:
    stream = STREAMS["jpeg_2000"]
    tile = stream.index(b"\xff\x90\x00\x0a")
    return stream[:tile] + segment(marker, body) + stream[tile:]


def in_tile_header(marker: int, body: bytes) -> bytes:
    stream = STREAMS["jpeg_2000"]
    tile, made = stream.index(b"\xff\x90\x00\x0a"), segment(marker, body)
    head = bytearray(stream[tile : tile + 12])
    if length := int.from_bytes(head[6:10], "big"):
        head[6:10] = struct.pack(">L", length + len(made))
    return stream[:tile] + bytes(head) + made + stream[tile + 12 :]


def tile_size(stream: bytes) -> int:
    tile = stream.index(b"\xff\x90\x00\x0a")
    size = int.from_bytes(stream[tile + 6 : tile + 10], "big")
    return size or stream.rindex(b"\xff\xd9") - tile


def seven_bits(number: int) -> bytes:
    return bytes([0x80 | number >> 14, 0x80 | number >> 7 & 0x7F, number & 0x7F])


def test_lengths_that_are_those_of_a_jpeg_2000_stream_stay() -> None:
    stream = STREAMS["jpeg_2000"]
    tile = stream.index(b"\xff\x90\x00\x0a")
    data = stream.index(b"\xff\x93", tile) + 2
    packets = seven_bits(tile + tile_size(stream) - data)
    for made in (
        in_main_header(0x55, b"\0\x40" + struct.pack(">L", tile_size(stream))),
        in_main_header(0x55, b"\0\x50\0" + struct.pack(">L", tile_size(stream))),
        in_tile_header(0x58, b"\0" + packets),
    ):
        assert len(filled(made, words_in(made, family=Family.JPEG_2000))) == len(made)


@pytest.mark.parametrize("marker", [0x55, 0x57, 0x58, *range(0x70, 0x7A)])
@pytest.mark.parametrize("place", [in_main_header, in_tile_header], ids=lambda place: place.__name__)
def test_words_in_place_of_lengths_and_in_extensions_are_no_stream(
    marker: int, place: Callable[[int, bytes], bytes]
) -> None:
    with pytest.raises(StreamError):
        words_in(place(marker, b"\0\x40" + WORDS), family=Family.JPEG_2000)


@pytest.mark.parametrize(
    ("body", "right"),
    [
        (b"\1" + bytes(10), True),
        (b"\1" + bytes(10) + STRANGER, False),
        (b"\2\1\2" + bytes(8), True),
        (b"\2\1\2" + bytes(7), False),
        (b"\2\1\2", False),
        (b"\4\2" + bytes(4), True),
        (b"\4\2" + STRANGER, False),
        (b"\5" + STRANGER, False),
        (b"\2", False),
        (b"", False),
    ],
)
def test_parameters_of_jpeg_ls_have_the_length_of_their_kind(body: bytes, right: bool) -> None:
    stream = STREAMS["jpeg_ls"]
    made = stream[:2] + segment(0xF8, body) + stream[2:]
    if right:
        assert len(filled(made, words_in(made, family=Family.JPEG_LS))) == len(made)
    else:
        with pytest.raises(StreamError):
            words_in(made, family=Family.JPEG_LS)


def test_brands_and_profiles_of_a_jpeg_2000_file_leave_blank() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "jpeg2000", irreversible=False)
    file = buffer.getvalue()
    at = file.index(b"ftyp") - 4
    size = int.from_bytes(file[at : at + 4], "big")
    file = file[:at] + struct.pack(">L", size + len(WORDS)) + file[at + 4 : at + size] + WORDS + file[at + size :]
    at, profile = file.index(b"jp2h") - 4, b"\2\0\0" + STRANGER
    size = int.from_bytes(file[at : at + 4], "big")
    more = struct.pack(">L4s", 8 + len(profile), b"colr") + profile
    file = file[:at] + struct.pack(">L", size + len(more)) + file[at + 4 : at + size] + more + file[at + size :]
    clean = filled(file, words_in(file, family=Family.JPEG_2000))
    assert b"Brekkeby" not in clean
    assert len(clean) == len(file)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(clean))), picture())
