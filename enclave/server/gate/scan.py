"""What a text that is brought into the code folder holds that should not be there. Pure.

Three things are looked for: keys and secrets (they would lie in clear for every kernel of the person), identifiers of
patients in the forms that are written by hand, and files packed into text (programs, archives, data). A scan finds
mistakes; who wants to hide something from it can. Of what is found only rule and line are told, never the text.
Sources of the forms: RFC 7468 (PEM), the issuers' documentation of their tokens, SSA (numbers that are never given
out), NHS Data Dictionary (check digit), DICOM PS3.5 6.2 (PN), the file formats' own signatures.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_FINDINGS: Final = 20
MAX_BLOB: Final = 48 << 10  # characters of base64 or hex in one piece; an icon passes, a file does not
_FIRST_BYTES: Final = 400

WORDS: Final = {
    "private_key": "a private key",
    "secret": "a password, token or access key",
    "identifier": "what looks like an identifier of a patient",
    "embedded_file": "a file packed into text",
    "large_blob": "a long run of base64 or hex",
}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """``rule`` is a key of ``WORDS``; ``line`` counts from 1, ``cell`` too (0: not a notebook)."""

    cell: int
    line: int
    rule: str


_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[0-9]|AGE-SECRET-KEY-1[A-Z0-9]{20}"
)
_TOKENS: Final = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[opsur]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{40}|\bglpat-[A-Za-z0-9_-]{20}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{20}|\bAIza[A-Za-z0-9_-]{35}|\bsk_live_[A-Za-z0-9]{16}|\bsk-[A-Za-z0-9_-]{40}"
    r"|\bpypi-AgE[A-Za-z0-9_-]{40}|\bnpm_[A-Za-z0-9]{36}|\bhf_[A-Za-z0-9]{34}|\bAccountKey=[A-Za-z0-9+/]{60}"
    r"|\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10}"
)
_ASSIGNED: Final = re.compile(
    r"(?i)(?:passwor[dt]|passwd|passphrase|secret|api_?key|access_?key|auth_?token|access_?token)"
    r"[\"']?\s{0,4}[:=]\s{0,4}[rbu]?([\"'])(?P<value>[^\"'\s]{8,200})\1"
)
_PLACEHOLDER: Final = re.compile(
    r"(?i)[<>{}$%*]|\.\.\.|xxx|your|change|example|placeholder|dummy|secret|password|token|none"
)
_IN_URL: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>{}$]{1,100}:(?P<value>[^\s/:@\"'<>{}$]{3,100})@[\w.-]"
)
_SSN: Final = re.compile(r"(?<![\w.-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w.-])")
_NHS: Final = re.compile(r"(?<![\w.-])(\d{3})[ -](\d{3})[ -](\d{4})(?![\w.-])")
_LABELLED: Final = re.compile(
    r"(?i)\b(?:mrn|medical record (?:no|number|num)|patient[ _]?(?:id|no|number)|accession[ _]?(?:no|number)"
    r"|nhs (?:no|number)|ssn)\b[\"'.]?\s{0,3}[:#=]{1,2}\s{0,3}[\"']?(?=[A-Z-]{0,4}\d{3})[A-Z0-9-]{5,20}\b"
)
_BORN: Final = re.compile(
    r"(?i)\b(?:dob|date of birth|birth ?date|geb(?:oren)?\.?(?: am)?)\b[\"']?\s{0,3}[:=]?\s{0,3}[\"']?"
    r"(?:(?:19|20)\d\d[-/.]?[01]\d[-/.]?[0-3]\d|[0-3]?\d[-/.][0-3]?\d[-/.](?:19|20)?\d\d)\b"
)
_PERSON_NAME: Final = re.compile(r"(?<![\w^\\$])[A-Z][A-Z'-]{2,30}\^[A-Z][A-Z'-]{2,30}(?:\^[A-Z]{0,20}){0,3}(?![\w^{])")
_LINE_OF_RUN: Final = r"[A-Za-z0-9+/_-]{60,}+"
_BREAK: Final = r"(?:\\n|[ \t\"']{0,4}\r?\n[ \t\"']{0,16})"  # an encoder's lines, or the lines of a literal
_RUN: Final = re.compile(rf"(?<![A-Za-z0-9+/_-]){_LINE_OF_RUN}(?:{_BREAK}{_LINE_OF_RUN})*+")
_LEAST_RUN: Final = 200
_ESCAPED: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2}){256,}")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
# Programs, archives, pickles, databases, arrays and pictures of medicine; what may be shown (PNG, JPEG) is not here.
_SIGNATURES: Final = (
    b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm", b"#!/",
    b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"Rar!",
    b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95", b"SQLite format 3\0", b"\x89HDF\r\n", b"PAR1",
    b"ARROW1", b"\x93NUMPY", b"%PDF-", b"\xd0\xcf\x11\xe0", b"RIFF",
)  # fmt: skip


def scan_text(text: str) -> tuple[Finding, ...]:
    """What stands in one text, by line; at most ``MAX_FINDINGS``."""
    return _sorted(_findings(text, cell=0))


def scan_notebook(notebook: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What stands in a notebook's sources and metadata.

    Outputs are left out: those of this enclave passed its display policy, and those of an upload are not asked for
    what they show but for what is packed into them, which ``scan_text`` finds in the file as a whole.
    """
    found: list[Finding] = []
    cells = notebook.get("cells")
    for number, cell in enumerate(cells if isinstance(cells, list) else (), start=1):
        if isinstance(cell, dict):
            found += _findings(joined(cell.get("source")), cell=number)
    return _sorted(iter(found))


def scan_upload(text: str, notebook: Mapping[str, Any] | None) -> tuple[Finding, ...]:
    """What stands in a file that comes from outside; a notebook's sources as text, the rest for packed files."""
    if notebook is None:
        return scan_text(text)
    packed = [Finding(0, line, rule) for rule, line in _blobs(text, images=True)]
    return _sorted(iter((*scan_notebook(notebook), *packed)))


def describe(findings: tuple[Finding, ...]) -> str:
    """For people: ``a private key (line 3), a file packed into text (cell 2, line 1)``."""
    words = []
    for one in findings[:5]:
        where = f"cell {one.cell}, line {one.line}" if one.cell else f"line {one.line}"
        words.append(f"{WORDS[one.rule]} ({where})")
    more = len(findings) - len(words)
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def joined(source: Any) -> str:
    """A cell's source as one text (nbformat: a string or a list of lines)."""
    if isinstance(source, str):
        return source
    return "".join(part for part in source if isinstance(part, str)) if isinstance(source, list) else ""


def _findings(text: str, *, cell: int) -> Iterator[Finding]:
    for rule, place in (*_secrets(text), *_identifiers(text)):
        yield Finding(cell, _line(text, place), rule)
    for rule, line in _blobs(text):
        yield Finding(cell, line, rule)


def _secrets(text: str) -> Iterator[tuple[str, int]]:
    for match in _PRIVATE_KEY.finditer(text):
        yield "private_key", match.start()
    for match in _TOKENS.finditer(text):
        yield "secret", match.start()
    for pattern in (_ASSIGNED, _IN_URL):
        for match in pattern.finditer(text):
            if not _PLACEHOLDER.search(match["value"]):
                yield "secret", match.start()


def _identifiers(text: str) -> Iterator[tuple[str, int]]:
    for pattern in (_SSN, _LABELLED, _BORN, _PERSON_NAME):
        for match in pattern.finditer(text):
            yield "identifier", match.start()
    for match in _NHS.finditer(text):
        if nhs_number(match[1] + match[2] + match[3]):
            yield "identifier", match.start()


def nhs_number(digits: str) -> bool:
    """Whether the tenth digit is the check digit of the nine before it (weights 10 to 2, modulus 11)."""
    rest = 11 - sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True)) % 11
    return rest != 10 and rest % 11 == int(digits[9])


def _blobs(text: str, *, images: bool = False) -> Iterator[tuple[str, int]]:
    """Runs of base64, hex and escapes; with ``images`` the pictures of a notebook's outputs may be long."""
    for match in _RUN.finditer(text):
        run = re.sub(_BREAK, "", match[0])
        if len(run) < _LEAST_RUN:
            continue
        first = _decoded(run)
        if first.startswith(_SIGNATURES) or first[128:132] == b"DICM":
            yield "embedded_file", _line(text, match.start())
        elif len(run) > MAX_BLOB and not (images and first.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))):
            yield "large_blob", _line(text, match.start())
    for match in _ESCAPED.finditer(text):
        yield "large_blob", _line(text, match.start())


def _decoded(run: str) -> bytes:
    """The first bytes of a run, read as hex when it is hex, else as base64 of either alphabet; empty when neither."""
    head = run[:_FIRST_BYTES]
    if _HEX.fullmatch(head):
        return bytes.fromhex(head[: len(head) // 2 * 2])
    try:
        return base64.b64decode(head[: len(head) // 4 * 4].translate(str.maketrans("-_", "+/")))
    except binascii.Error:
        return b""


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _sorted(findings: Iterator[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(set(findings)))[:MAX_FINDINGS]
