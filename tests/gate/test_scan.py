"""What the scan of uploads finds, what it leaves alone, and that it never says what it found."""

from __future__ import annotations

import base64
import json
import pickle
import textwrap
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

import enclave
from enclave.server.gate.scan import WORDS, describe, nhs_number, scan_notebook, scan_text, scan_upload

pytestmark = pytest.mark.row("S4.5")
PEM = "-----BEGIN {}PRIVATE KEY-----"


def rules(text: str) -> set[str]:
    return {one.rule for one in scan_text(text)}


@pytest.mark.parametrize(
    "text",
    [
        *(PEM.format(kind) for kind in ("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "DSA ")),
        "-----BEGIN PGP PRIVATE KEY BLOCK-----",
        "PuTTY-User-Key-File-3: ssh-ed25519",
    ],
)
def test_private_keys_are_found(text: str) -> None:
    assert rules(f"x = 1\n{text}\n") == {"private_key"}
    assert scan_text(f"x = 1\n{text}\n")[0].line == 2


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "gh" + "p_" + "a1B2" * 9,
        "glpat" + "-" + "a1B2" * 5,
        "xox" + "b-" + "1234567890-abcdefghijk",
        "AI" + "za" + "a1B2c" * 7,
        "eyJ" + "a" * 20 + ".eyJ" + "b" * 30 + "." + "c" * 20,
        'password = "hunter2hunter2"',
        "API_KEY: 'a8f5f167f44f4964'",
        '{"client_secret": "a8f5f167f44f4964"}',
        'db_password="correct-horse-9"',
        "postgres://rosa:correct-horse-9@db/x",
    ],
)
def test_secrets_are_found(text: str) -> None:
    assert rules(text) == {"secret"}


@pytest.mark.parametrize(
    "text",
    [
        "123-45-6789",
        "MRN: 00412345",
        "patient_id = 'AB-1234567'",
        'ds.PatientID = "1234567"',
        "Accession number: 20231177",
        "943 476 5919",
        "DOB: 12/03/1961",
        '"date of birth": "1961-03-12"',
        "geb. am 12.03.1961",
        "MUELLER^ERIKA",
        "O'BRIEN^MARY^ANN",
    ],
)
def test_identifiers_as_they_are_written_by_hand_are_found(text: str) -> None:
    assert rules(f"# {text}\n") == {"identifier"}


@pytest.mark.parametrize(
    "text",
    [
        'password = os.environ["DB_PASSWORD"]',
        'password = "<your password here>"',
        'token = "{token}"',
        'api_key = ""',
        "https://example.org:8080/path",
        "http://user:${PASSWORD}@host/",
        "ds.PatientID",
        "patient_id = frame['patient_id']",
        "patient_id: str",
        "mrn = None",
        "943 476 5918",
        "000-12-3456 666-12-3456 900-12-3456",
        "2026-11-22 12:00",
        "version 123-456-789",
        r"$X^Y$ and A^B and XYZ^{2}",
        "UPPER_CASE ^ OTHER",
        "sha256:" + "ab" * 32,
        "a" * 60 + "/" + "b" * 60,
    ],
)
def test_ordinary_code_is_left_alone(text: str) -> None:
    assert scan_text(text) == ()


def zipped() -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("a", bytes(range(256)))
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "elf": lambda: b"\x7fELF" + bytes(range(256)),
    "exe": lambda: b"MZ" + bytes(range(256)),
    "zip": zipped,
    "gzip": lambda: b"\x1f\x8b\x08\0" + zlib.compress(bytes(range(256)) * 4),
    "pickle": lambda: pickle.dumps(list(range(1000)), protocol=5),
    "dicom": lambda: bytes(128) + b"DICM" + bytes(range(256)),
    "hdf5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(range(256)),
    "parquet": lambda: b"PAR1" + bytes(range(256)),
    "npy": lambda: b"\x93NUMPY\x01\0" + bytes(range(256)),
    "pdf": lambda: b"%PDF-1.7" + bytes(range(256)),
}
SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda data: base64.b64encode(data).decode(),
    "base64 for URLs": lambda data: base64.urlsafe_b64encode(data).decode(),
    "base64 in lines": lambda data: base64.encodebytes(data).decode(),
    "base64 in a literal": lambda data: (
        '(\n    "' + '"\n    "'.join(textwrap.wrap(base64.b64encode(data).decode(), 100)) + '"\n)'
    ),
    "base64 in JSON": lambda data: json.dumps(base64.encodebytes(data).decode()),
    "hex": lambda data: data.hex(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", FILES)
def test_a_file_packed_into_text_is_found_however_it_is_spelled(kind: str, spelling: str) -> None:
    text = SPELLINGS[spelling](FILES[kind]())
    assert "embedded_file" in rules(f"payload = {text}\n"), text[:80]


def test_a_long_run_of_anything_is_found_and_an_icon_is_not() -> None:
    assert rules("x = '" + base64.b64encode(bytes(60_000)).decode() + "'") == {"large_blob"}
    assert rules(r"x = b'" + r"\x90" * 300 + "'") == {"large_blob"}
    icon = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(2_000)).decode()
    assert scan_text(f"icon = '{icon}'") == ()


def notebook(*sources: Any, outputs: Any = ()) -> dict[str, Any]:
    cells = [{"cell_type": "code", "source": source, "outputs": list(outputs)} for source in sources]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_a_notebook_is_read_by_its_cells() -> None:
    found = scan_notebook(notebook("x = 1", ["a = 2\n", 'password = "hunter2hunter2"\n']))
    assert [(one.cell, one.line, one.rule) for one in found] == [(2, 2, "secret")]
    assert describe(found) == "a password, token or access key (cell 2, line 2)"


def test_pictures_in_the_outputs_of_an_uploaded_notebook_pass_and_packed_files_do_not() -> None:
    def uploaded(data: bytes) -> tuple[Any, ...]:
        output = {"output_type": "display_data", "data": {"image/png": base64.b64encode(data).decode()}}
        document = notebook("x = 1", outputs=[output])
        return scan_upload(json.dumps(document), document)

    assert uploaded(b"\x89PNG\r\n\x1a\n" + bytes(90_000)) == ()
    assert {one.rule for one in uploaded(zipped() * 3)} == {"embedded_file"}
    assert {one.rule for one in uploaded(bytes(90_000))} == {"large_blob"}


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["cells", "source", "outputs", "metadata"]), inner), max_leaves=8))  # fmt: skip
def test_whatever_is_called_a_notebook_can_be_scanned(value: Any) -> None:
    if isinstance(value, dict):
        assert isinstance(scan_upload(json.dumps(value), value), tuple)


@given(st.text(max_size=300), st.sampled_from(["MRN: 00412345", 'password = "hunter2hunter2"', PEM.format("")]))
def test_what_is_found_is_never_told(before: str, secret: str) -> None:
    found = scan_text(f"{before}\n{secret}\n")
    assert found
    assert all(one.rule in WORDS for one in found)
    assert not {"00412345", "hunter2"} & set(describe(found).split())


@given(st.integers(min_value=0, max_value=10**9 - 1))
def test_a_number_has_at_most_one_check_digit(number: int) -> None:
    assert sum(nhs_number(f"{number:09}{digit}") for digit in range(10)) <= 1


def test_our_own_sources_pass() -> None:
    """Some 400 files of code; what the rules say of it is what people would meet."""
    sources = [path for path in Path(next(iter(enclave.__path__))).rglob("*.py") if "__pycache__" not in path.parts]
    found = [path.name for path in sources[::6] if scan_text(path.read_text("utf-8"))]
    assert found == []
