"""Hostile files: whatever the bytes are, the parser says what it saw and never fails."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from enclave.core.canonical import canonical_bytes, parse_canonical
from enclave.disclosure.findings import VERDICTS, judge
from enclave.disclosure.parse import parse_file
from enclave.wire.messages.schema import to_json

NAMES = ["a.png", "a.jpg", "a.svg", "a.csv", "a.tsv", "a.txt", "a.html", "a.ipynb", "a.pdf", "a.json", "a.xyz", "a"]
HEADS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"%PDF-1.7\n",
    b"<svg>",
    b"PK\x03\x04",
    b'{"cells": [',
    b"a,b\n",
]


def rules(judged: Any) -> set[str]:
    return {finding.rule for finding in judged.findings}


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def raw_png(width: int, height: int, stream: bytes, *extra: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


@given(st.sampled_from(NAMES), st.sampled_from(HEADS), st.binary(max_size=400))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_under_any_name_give_a_verdict_with_places(name: str, head: bytes, tail: bytes) -> None:
    judged = judge(parse_file(head + tail, name=name))
    assert judged.verdict in VERDICTS
    assert all(finding.where for finding in judged.findings)
    assert canonical_bytes(to_json(judged))


@given(st.sampled_from(NAMES), st.text(max_size=300))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_under_any_name_gives_a_verdict_that_holds_none_of_it(name: str, text: str) -> None:
    canary = "QZ77canary"
    judged = judge(parse_file((canary + text).encode("utf-8", "surrogatepass"), name=name))
    assert canary not in json.dumps(to_json(judged))


def test_a_plain_picture_passes(check: Any, png: Any) -> None:
    assert check(png(), "figure.png").verdict == "pass"


def test_a_matplotlib_style_software_tag_is_good_to_know_only(check: Any, png: Any) -> None:
    info = PngInfo()
    info.add_text("Software", "Matplotlib version3.10, https://matplotlib.org/")
    judged = check(png(pnginfo=info, dpi=(100, 100)), "figure.png")
    assert (judged.verdict, rules(judged)) == ("pass", {"image_software_tag"})


def test_metadata_is_found_in_each_of_its_forms(check: Any, png: Any) -> None:
    info = PngInfo()
    info.add_text("Comment", "x")
    long = PngInfo()
    long.add_text("Software", "x" * 200)
    exif = Image.Exif()
    exif[0x010E] = "x"
    out = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(out, "JPEG", exif=exif, comment=b"x")
    for data, name in (
        (png(pnginfo=info), "a.png"),
        (png(pnginfo=long), "a.png"),
        (png(exif=exif), "a.png"),
        (out.getvalue(), "a.jpg"),
    ):
        assert "image_metadata" in rules(check(data, name))


def test_bytes_after_the_end_of_a_picture_block(check: Any, png: Any) -> None:
    out = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(out, "JPEG")
    for data, name in ((png() + b"PK\x03\x04", "a.png"), (out.getvalue() + b"x", "a.jpg")):
        judged = check(data, name)
        assert "image_trailing_data" in rules(judged)
        assert judged.verdict == "block"


def test_bytes_hidden_behind_the_last_row_or_the_deflate_stream_block(check: Any) -> None:
    rows = (b"\0" + bytes(10)) * 10
    assert "image_trailing_data" in rules(check(raw_png(10, 10, zlib.compress(rows + b"secret" * 50)), "a.png"))
    assert "image_trailing_data" in rules(check(raw_png(10, 10, zlib.compress(rows) + b"secret"), "a.png"))
    assert "image_trailing_data" not in rules(check(raw_png(10, 10, zlib.compress(rows)), "a.png"))


def test_a_chunk_that_png_does_not_know_blocks(check: Any) -> None:
    data = raw_png(10, 10, zlib.compress((b"\0" + bytes(10)) * 10), chunk(b"prVt", b"data"))
    assert "image_extra_chunk" in rules(check(data, "a.png"))


def test_a_picture_bomb_is_refused_without_being_decoded(check: Any) -> None:
    judged = check(raw_png(60_000, 60_000, zlib.compress(bytes(1000))), "bomb.png")
    assert "image_too_large" in rules(judged)
    assert judged.verdict == "block"


def test_a_truncated_picture_is_unreadable(check: Any, png: Any) -> None:
    assert "image_unreadable" in rules(check(png()[:-30], "a.png"))


def test_a_grey_scan_is_shown_to_a_human(check: Any) -> None:
    noise = np.random.default_rng(7).normal(120, 40, (128, 128)).clip(0, 255).astype("u1")
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    assert "image_greyscale" in rules(check(out.getvalue(), "slice.png"))


def test_pixels_under_full_transparency_are_found(check: Any) -> None:
    pixels = np.zeros((32, 32, 4), "u1")
    pixels[..., :3] = np.random.default_rng(7).integers(0, 255, (32, 32, 3))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    assert "image_hidden_pixels" in rules(check(out.getvalue(), "a.png"))


def test_archives_and_data_containers_block_whatever_they_are_called(check: Any, png: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    dicom = bytes(128) + b"DICM" + bytes(50)
    for data, rule in (
        (packed.getvalue(), "archive"),
        (gzip.compress(b"x"), "archive"),
        (array.getvalue(), "data_container"),
        (dicom, "data_container"),
    ):
        for name in ("a.zip", "a.png", "a.csv", "a"):
            judged = check(data, name)
            assert rule in rules(judged)
            assert judged.verdict == "block"


def test_a_polyglot_is_blocked(check: Any, png: Any) -> None:
    assert "type_mismatch" in rules(check(png(), "a.html"))
    assert "type_mismatch" in rules(check("<script>alert(1)</script>", "a.png"))
    hidden = PngInfo()
    hidden.add_text("x", "<script>alert(1)</script>" * 100)
    assert check(png(pnginfo=hidden), "a.png").verdict != "pass"


def test_an_unknown_type_blocks(check: Any) -> None:
    for name in ("a.exe", "a.pkl", "noending", "a.csv.gz"):
        assert "type_unknown" in rules(check(b"\x01\x02\x03", name))


@pytest.mark.parametrize(
    "svg",
    [
        '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>',
        '<!DOCTYPE svg [<!ENTITY % p SYSTEM "http://evil.example/x.dtd"> %p;]><svg/>',
    ],
)
def test_an_entity_is_never_expanded_and_blocks(check: Any, svg: str) -> None:
    judged = check(svg, "a.svg")
    assert rules(judged) == {"entity_declaration"}
    assert judged.verdict == "block"


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("<script>1</script>", "script"),
        ("<rect onclick='x()'/>", "active_content"),
        ("<foreignObject/>", "active_content"),
        ("<a href='javascript:x()'>x</a>", "active_content"),
        ("<image href='data:image/png;base64,AAAA'/>", "embedded_data"),
        ("<image href='https://evil.example/x.png'/>", "external_reference"),
        ("<style>@import 'x.css';</style>", "external_reference"),
        ("<rect style='display:none'/>", "hidden_content"),
    ],
)
def test_what_a_drawing_can_hide_or_start_is_found(check: Any, body: str, rule: str) -> None:
    assert rule in rules(check(f"<svg xmlns='http://www.w3.org/2000/svg'>{body}</svg>", "a.svg"))
    assert rule in rules(check(f"<html><body>{body}</body></html>", "a.html"))


def test_a_plain_drawing_passes(check: Any) -> None:
    svg = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 10">
<defs><path id="p" d="M 0 0 L 9.123456 8.765432"/></defs><use xlink:href="#p" x="12.25"/></svg>"""
    assert check(svg, "a.svg").verdict == "pass"


def notebook(*outputs: Any, **cell: Any) -> str:
    code = {"cell_type": "code", "source": "1+1", "outputs": list(outputs), **cell}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [code]})


def test_a_notebook_is_judged_cell_by_cell(check: Any) -> None:
    assert check(notebook(), "a.ipynb").verdict == "pass"
    picture = {"output_type": "display_data", "data": {"image/png": "AAAA"}}
    script = {"output_type": "display_data", "data": {"text/html": ["<script>", "1</script>"]}}
    for output, rule in ((picture, "embedded_data"), (script, "script")):
        judged = check(notebook(output), "a.ipynb")
        found = [f for f in judged.findings if f.rule == rule]
        assert found
        assert found[0].where["cell"] == 1
        assert judged.verdict == "block"
    assert "embedded_data" in rules(check(notebook(attachments={"x": {}}), "a.ipynb"))
    assert "notebook_unreadable" in rules(check("[1]", "a.ipynb"))
    assert "notebook_unreadable" in rules(check("[" * 100_000, "a.ipynb"))


def test_a_pdf_blocks_and_says_what_is_in_it(check: Any) -> None:
    plain = b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj\n"
    assert rules(check(plain, "a.pdf")) == {"pdf_not_rendered"}
    packed = zlib.compress(b"<</OpenAction <</S /JavaScript>> >>")
    assert "pdf_active" in rules(check(plain + b"stream\n" + packed + b"\nendstream", "a.pdf"))
    assert "pdf_active" in rules(check(plain + b"<</J#61vaScript 1>>", "a.pdf"))
    assert "pdf_embedded" in rules(check(plain + b"<</EmbeddedFiles 1>>", "a.pdf"))


def test_the_program_answers_in_canonical_json_as_the_launcher_asks(tmp_path: Path, png: Any) -> None:
    file = tmp_path / "0"
    file.write_bytes(png())
    inner = {"act": "check", "names": ["figure.png"]}
    for request in (inner, {"names": ["figure.png"], "request": inner}):
        done = subprocess.run(
            [sys.executable, "-m", "enclave.disclosure.parse", str(file)],
            input=canonical_bytes(request),
            capture_output=True,
            check=True,
        )
        assert parse_canonical(done.stdout)["files"][0]["type"] == "png"
    bad = subprocess.run(
        [sys.executable, "-m", "enclave.disclosure.parse"], input=b"[]", capture_output=True, check=False
    )
    assert bad.returncode == 12
    assert b"Traceback" not in bad.stderr
