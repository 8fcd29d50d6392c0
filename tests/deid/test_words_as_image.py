"""Words that stand as image data: blank where no decoder looks, and where one would look the file is held back."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from code_streams import (
    HEADERS,
    KINDS,
    STRANGER,
    baseline,
    compressed,
    holding,
    in_runs,
    native,
    only,
    picture,
    run,
    segment,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.native import _encode_segment
from pydicom.uid import MPEG2MPML, UID, RLELossless

from enclave.deid.check import check_output
from enclave.deid.codestreams import Blank, Family, StreamError, holds_words, words_in
from enclave.deid.comments import WRITTEN_OVER
from enclave.deid.jpeg_tables import DHT, DQT, MAPPING, TableError, Tables, parse_tables
from enclave.deid.keyring import Keyring
from enclave.deid.run_lengths import words_in_runs

SEED = 20261201
TEXT = STRANGER + b" on 1961-02-03 with Dr Marvik; "
HELD = {"code_stream": 1}
JPEGS, UNCOMPRESSED = KINDS[:2], UID("1.2.840.10008.1.2.1.98")
Kind = Callable[[], tuple[UID, bytes]]


def family_of(kind: Kind) -> Family:
    return {"jpeg_ls": Family.JPEG_LS, "jpeg_2000": Family.JPEG_2000}.get(kind.__name__, Family.JPEG)


def quantisation(number: int, text: bytes = TEXT) -> bytes:
    return segment(DQT, bytes([number]) + (text * 3)[:64])


def codes(number: int, text: bytes = TEXT) -> bytes:
    counts = [0] * 15 + [len(text)]
    return segment(DHT, bytes([number, *counts]) + text)


# ── tables ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "tables",
    [
        quantisation(3) + codes(0x03) + codes(0x13),
        quantisation(0) + codes(0x00) + codes(0x10),  # those of the image take their places
        segment(DQT, quantisation(2)[4:] + quantisation(3)[4:]),
    ],
    ids=["others", "replaced", "two in one"],
)
@pytest.mark.parametrize("kind", JPEGS, ids=lambda kind: kind.__name__)
def test_words_in_a_table_that_no_scan_uses_leave_blank(
    kind: Kind, tables: bytes, keyring: Keyring, tmp_path: Path
) -> None:
    syntax, stream = kind()
    original = np.asarray(holding(syntax, encapsulate([stream])).pixel_array)
    job = run(tmp_path, holding(syntax, encapsulate([stream[:2] + tables + stream[2:]])), keyring)
    assert job.report["reasons"] == {}
    assert job.report["redactions"][WRITTEN_OVER] == 1
    clean = only(tmp_path)
    assert b"Brekkeby" not in clean.PixelData
    assert np.array_equal(clean.pixel_array, original)
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


def test_words_in_a_table_behind_the_last_scan_leave_blank(keyring: Keyring, tmp_path: Path) -> None:
    syntax, stream = baseline()
    end = stream.rindex(b"\xff\xd9")
    original = np.asarray(holding(syntax, encapsulate([stream])).pixel_array)
    run(tmp_path, holding(syntax, encapsulate([stream[:end] + quantisation(0) + stream[end:]])), keyring)
    clean = only(tmp_path)
    assert b"Brekkeby" not in clean.PixelData
    assert np.array_equal(clean.pixel_array, original)


def test_words_in_a_table_that_the_image_needs_hold_it_back(keyring: Keyring, tmp_path: Path) -> None:
    syntax, stream = baseline()
    at = stream.index(b"\xff\xdb") + 5
    changed = stream[:at] + (TEXT * 3)[:64] + stream[at + 64 :]
    assert holding(syntax, encapsulate([changed])).pixel_array.shape == picture().shape
    assert run(tmp_path, holding(syntax, encapsulate([changed])), keyring).report["reasons"] == HELD


@given(st.binary(max_size=30) | st.lists(st.integers(0, 17), max_size=20).map(bytes), st.sampled_from([0x00, 0x10]))
def test_codes_that_a_scan_uses_differ_and_are_numbers_of_bits(values: bytes, number: int) -> None:
    right = len(set(values)) == len(values) and (number == 0x10 or all(value <= 16 for value in values))
    assert is_used(values, DHT, number) is right


@given(st.sampled_from([DHT, DQT]), st.binary(max_size=400))
def test_any_bytes_are_tables_to_their_end_or_refused(marker: int, body: bytes) -> None:
    try:
        tables = parse_tables(marker, body, at=7)
    except TableError:
        return
    heads = sum(17 if marker == DHT else 1 for _ in tables)
    assert heads + sum(one.end - one.start for one in tables) == len(body)
    assert all(one.numbers == body[one.start - 7 : one.end - 7] for one in tables)


def is_used(numbers: bytes, marker: int, number: int) -> bool:
    """Whether a scan may use such a table."""
    tables = Tables()
    body = bytes([number, *[0] * 14, len(numbers) // 2, len(numbers) - len(numbers) // 2]) + numbers
    for table in parse_tables(marker, bytes([number]) + numbers if marker == DQT else body, at=0):
        tables.define(table)
    try:
        tables.use((marker, number))
    except TableError:
        return False
    return tables.unused() == []


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 2}], ids=str)
def test_no_table_that_encoders_write_is_taken_for_words(how: dict[str, bool]) -> None:
    random = np.random.default_rng(SEED)
    noise = random.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    smooth = np.stack([picture()[:48, :48]] * 3, axis=-1)
    for quality in range(1, 101):
        for colours in (noise, smooth):
            buffer = io.BytesIO()
            Image.fromarray(colours).save(buffer, "jpeg", quality=quality, **how)
            stream = buffer.getvalue()
            assert words_in(stream, family=Family.JPEG) == ()


@pytest.mark.parametrize(("used", "blank"), [(b"\0", True), (b"\1", False)])
def test_a_mapping_table_of_jpeg_ls_stays_when_a_scan_uses_it(used: bytes, blank: bool) -> None:
    numbers = bytes(range(100, 130))
    stream = compressed(UID("1.2.840.10008.1.2.4.80"))[1]
    made = stream[:2] + segment(MAPPING, b"\2\1\1" + numbers) + segment(MAPPING, b"\3\1\1" + numbers) + stream[2:]
    at = made.index(b"\xff\xda") + 6
    made = made[:at] + used + made[at + 1 :]
    assert bool(words_in(made, family=Family.JPEG_LS)) is blank


def test_a_mapping_table_of_words_that_a_scan_uses_is_no_image() -> None:
    stream = compressed(UID("1.2.840.10008.1.2.4.80"))[1]
    made = stream[:2] + segment(MAPPING, b"\2\1\1" + TEXT) + stream[2:]
    at = made.index(b"\xff\xda") + 6
    with pytest.raises(StreamError):
        words_in(made[:at] + b"\1" + made[at + 1 :], family=Family.JPEG_LS)


# ── coded samples ───────────────────────────────────────────────────────────


def behind_the_samples(stream: bytes) -> bytes:
    end = stream.rindex(b"\xff\xd9")
    made = bytearray(stream[:end] + TEXT + stream[end:])
    if stream.startswith(b"\xff\x4f"):
        at = stream.index(b"\xff\x90\x00\x0a") + 6
        if length := int.from_bytes(made[at : at + 4], "big"):
            made[at : at + 4] = struct.pack(">L", length + len(TEXT))
    return bytes(made)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_words_between_the_last_sample_and_the_end_hold_the_image_back(
    kind: Kind, keyring: Keyring, tmp_path: Path
) -> None:
    syntax, stream = kind()
    assert run(tmp_path, holding(syntax, encapsulate([behind_the_samples(stream)])), keyring).report["reasons"] == HELD


@pytest.mark.parametrize("name", ["htj2k", "htj2k_lossless", "jpeg_extended_12_bits", "jpeg_lossless"])
def test_streams_of_other_encoders_hold_no_words(name: str) -> None:
    stream = Path(__file__).with_name("streams").joinpath(f"{name}.bin").read_bytes()
    family = Family.JPEG_2000 if name.startswith("ht") else Family.JPEG
    assert all(one.start < 400 for one in words_in(stream, family=family))  # an encoder's name for itself


def test_in_coded_samples_no_words_are_seen() -> None:
    random = np.random.default_rng(SEED)
    assert not holds_words(random.bytes(1 << 23))
    for size in range(1, 9):  # what does not change repeats itself
        assert not any(holds_words(bytes(random.integers(0x41, 0x7B, size).astype(np.uint8)) * 99) for _ in range(50))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_text_among_coded_samples_is_seen_wherever_it_stands(before: bytes, after: bytes) -> None:
    assert holds_words(before + TEXT + after)


# ── run lengths ─────────────────────────────────────────────────────────────


def rows_in_runs() -> bytes:
    return bytes(_encode_segment(picture().tobytes(), 64))


@pytest.mark.parametrize(
    "stream",
    [in_runs(rows_in_runs() + TEXT), in_runs(rows_in_runs(), unused=TEXT[:52]), in_runs(rows_in_runs() + b"Ida^Zana")],
    ids=["behind the runs", "in the header", "short"],
)
def test_words_beside_run_lengths_leave_blank(stream: bytes, keyring: Keyring, tmp_path: Path) -> None:
    stream += b"\0" * (len(stream) % 2)
    assert run(tmp_path, holding(RLELossless, encapsulate([stream])), keyring).report["reasons"] == {}
    clean = only(tmp_path)
    assert not any(word in clean.PixelData for word in (b"Brekkeby", b"Ida^Zana"))
    assert np.array_equal(clean.pixel_array, picture())
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


def test_words_behind_each_plane_and_frame_leave_blank(keyring: Keyring, tmp_path: Path) -> None:
    deep = picture().astype(np.uint16) * 200
    planes = [bytes(_encode_segment((deep >> by & 255).astype(np.uint8).tobytes(), 64)) for by in (8, 0)]
    stream = in_runs(*(plane + TEXT + b" " * (len(TEXT + plane) % 2) for plane in planes))
    ds = holding(RLELossless, encapsulate([stream, stream]), frames=2)
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    assert run(tmp_path, ds, keyring).report["reasons"] == {}
    clean = only(tmp_path)
    assert b"Brekkeby" not in clean.PixelData
    assert np.array_equal(clean.pixel_array, np.stack([deep, deep]))


@pytest.mark.parametrize(
    "stream",
    [
        in_runs(rows_in_runs(), TEXT),
        in_runs(rows_in_runs(), count=0),
        in_runs(rows_in_runs()[:-2]),
        in_runs(bytes([len(TEXT) - 1]) + TEXT + rows_in_runs()[2:]),  # one run goes on behind the image
        TEXT * 3,
    ],
    ids=["a plane more", "no plane", "too few", "too many", "no header"],
)
def test_run_lengths_that_give_another_image_than_declared_hold_it_back(
    stream: bytes, keyring: Keyring, tmp_path: Path
) -> None:
    value = encapsulate([stream + b"\0" * (len(stream) % 2)])
    assert run(tmp_path, holding(RLELossless, value), keyring).report["reasons"] == HELD


@given(st.binary(min_size=1, max_size=400), st.binary(max_size=60))
def test_exactly_what_stands_behind_the_runs_is_found(samples: bytes, slack: bytes) -> None:
    coded = bytes(_encode_segment(samples, len(samples))).rstrip(b"\0") or b"\0"
    while words_or_none(in_runs(coded), len(samples)) is None:
        coded += b"\0"  # a last sample of zero
    found = words_in_runs(in_runs(coded + slack), segments=1, samples=len(samples))
    telling = bool(slack.strip(b"\0")) and bool(slack.strip(b"\x80"))
    assert found == ((Blank(64 + len(coded), 64 + len(coded + slack), 0x80),) if telling else ())


def words_or_none(stream: bytes, samples: int) -> tuple[Blank, ...] | None:
    try:
        return words_in_runs(stream, segments=1, samples=samples)
    except StreamError:
        return None


@given(st.binary(max_size=200), st.integers(0, 16), st.integers(0, 300), st.booleans())
def test_any_bytes_are_run_lengths_or_refused(data: bytes, segments: int, samples: int, begun: bool) -> None:
    stream = in_runs(data) if begun else data
    try:
        found = words_in_runs(stream, segments=segments, samples=samples)
    except StreamError:
        return
    assert all(0 < one.start < one.end <= len(stream) for one in found)


# ── what is not looked into ─────────────────────────────────────────────────


def video(words: bytes = b"") -> bytes:
    made = b"\0\0\1\xb3" + np.random.default_rng(SEED).bytes(4_000) + words
    return made + b"\0" * (len(made) % 2)


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (encapsulate([video()], has_bot=False), {}),
        (encapsulate([video()]), {}),
        (encapsulate([video(TEXT)], has_bot=False), HELD),
        (encapsulate([video()[:64], video()[64:80] + TEXT + b" ", video()[80:]], has_bot=False), HELD),
        (struct.pack("<HHL", 0xFFFE, 0xE000, 24) + TEXT[:24] + encapsulate([video()], has_bot=False)[8:], HELD),
    ],
    ids=["empty table", "table of one", "words in it", "words in a fragment", "words in the table"],
)
def test_a_video_leaves_when_no_words_are_seen_in_it(
    value: bytes, reasons: dict[str, int], keyring: Keyring, tmp_path: Path
) -> None:
    ds = holding(MPEG2MPML, value, frames=10)
    assert run(tmp_path, ds, keyring).report["reasons"] == reasons


# ── native images ───────────────────────────────────────────────────────────


def longer(more: bytes) -> Dataset:
    ds = native()
    ds.PixelData = picture().tobytes() + more
    return ds


@pytest.mark.parametrize("frames", [0.5, 1, 2])
def test_words_as_long_as_frames_that_nobody_declared_hold_the_image_back(
    frames: float, keyring: Keyring, tmp_path: Path
) -> None:
    size = int(64 * 64 * frames)
    job = run(tmp_path, longer((TEXT + bytes(997)).ljust(size, b"\0")[:size]), keyring)
    assert job.report["reasons"] == {"pixels_irregular": 1}


@pytest.mark.parametrize(("tag", "vr", "size"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)])
@pytest.mark.parametrize("frames", [0, 1])
def test_so_it_is_with_numbers_that_have_a_fraction_and_a_shorter_text_goes(
    tag: int, vr: str, size: int, frames: int, keyring: Keyring, tmp_path: Path
) -> None:
    ds = native()
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = size * 8
    image = picture().astype(f"<f{size}").tobytes()
    text = (TEXT * 2)[:64] if not frames else (TEXT + bytes(997)).ljust(len(image), b"\0")[: len(image)]
    ds.add_new(tag, vr, image + text)
    reasons = run(tmp_path, ds, keyring).report["reasons"]
    assert reasons == ({"pixels_irregular": 1} if frames else {})
    if not frames:
        assert only(tmp_path)[tag].value == image
        assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


def test_a_frame_that_nobody_declared_leaves_when_no_words_are_in_it(keyring: Keyring, tmp_path: Path) -> None:
    ds = longer(np.random.default_rng(SEED).bytes(64 * 64))
    assert run(tmp_path, ds, keyring).report["reasons"] == {}
    assert only(tmp_path).PixelData == ds.PixelData
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    assert not json.loads(row["redactions"])  # nothing was left out


def test_colours_that_are_not_subsampled_though_the_header_says_so_are_the_image(
    keyring: Keyring, tmp_path: Path
) -> None:
    ds = native()
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PlanarConfiguration = "YBR_FULL_422", 3, 0
    ds.PixelData = (TEXT * 999)[: 64 * 64 * 3]  # samples may be anything
    assert run(tmp_path, ds, keyring).report["reasons"] == {}
    assert only(tmp_path).PixelData == ds.PixelData
