"""Code triplets (PS3.3 8): codes of public schemes stay, with the meaning that the scheme gives them."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from typing import Any

from enclave.deid.names import fold
from enclave.deid.tree import Node, texts
from enclave.deid.words import Words

CODE_TAGS = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080119})
_VALUE, _SCHEME, _VERSION, _MEANING, _LONG = 0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080119
_PUBLIC_NAMES = (
    "DCM SRT SCT SNM3 SNM LN UCUM FMA NCIT RADLEX UMLS ICD10 I10 I9 I9C I10P ICDO ICDO3 CPT4 C4 NYUMCCG BARI MSH "
    "NEU UBERON MA RXNORM ACR CD8 FDATRDT ISO3166_1 IANA_RFC4646 RFC4646 ISO639_1 ISO639_2 PUBCHEM_CID"
)
_PUBLIC = frozenset(_PUBLIC_NAMES.split())
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-_/]{0,15}|[{\[(%a-zA-Z0-9./*\]})^\-]{1,16}")
_EDITION = re.compile(r"[0-9]{4,8}|[0-9]{1,2}(\.[0-9]{1,2}){0,2}|[0-9]{4}[a-e]|01")
REMOVED = "Removed"


def clean_code(node: Node, *, tag: int, words: Words, evident: Collection[str]) -> str | None:
    """What stays of one part of a code: by its scheme, by evidence in the cohort, else a dummy (they are type 1)."""
    text = _text(node, tag)
    scheme = _text(node, _SCHEME).upper()
    if not text:
        return None
    if fold(text) in evident:
        return text
    if tag == _SCHEME:
        return text if scheme in _PUBLIC else "99REMOVED"
    if tag == _VERSION:
        return text if scheme in _PUBLIC and _EDITION.fullmatch(text) else None
    if tag == _MEANING:
        return _known_meaning(scheme, _text(node, _VALUE)) or words.keep(text) or REMOVED
    return text if scheme in _PUBLIC and _CODE.fullmatch(text) and not _looks_like_name(text, words) else "REMOVED"


def _looks_like_name(code: str, words: Words) -> bool:
    """Letters only, longer than codes are, and no unit or clinical word."""
    return code.isalpha() and len(code) > 5 and not words.may_stay(code)


@functools.cache
def known_meanings() -> dict[tuple[str, str], str]:
    """The meaning of each code by scheme and code value (PS3.16); loading it takes a tenth of a second."""
    from pydicom.sr._concepts_dict import concepts

    schemes = {"SRT": "SRT", "SCT": "SCT", "DCM": "DCM", "UCUM": "UCUM", "LN": "LN", "FMA": "FMA", "NCIT": "NCIt"}
    tables: dict[str, Any] = dict(concepts)
    found: dict[tuple[str, str], str] = {}
    for scheme, name in schemes.items():
        for entries in tables.get(name, {}).values():
            for code, facts in entries.items():
                found[scheme, code] = str(facts[0])
    return found


def _known_meaning(scheme: str, code: str) -> str | None:
    meaning = known_meanings().get((scheme, code))
    return meaning[:64] if meaning else None


def _text(node: Node, tag: int) -> str:
    return "\\".join(texts(node[tag], node=node)) if tag in node else ""
