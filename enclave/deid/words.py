"""Short text by vocabulary: what is not known to be harmless goes. Deny wins over every other rule. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Container
from dataclasses import dataclass, field

from enclave.deid.compounds import is_code, is_compound, is_version
from enclave.deid.names import fold

_TOKEN = re.compile(r"[^\W_]+(?:[.,/+\-*][^\W_]+)*%?")
_SPELLED = re.compile(r"(?<![^\W_])[^\W\d_](?:[\W_]+[^\W\d_]){4,}(?![^\W_])")  # a name letter by letter
_PARTS = re.compile(r"[.,/+\-*]")
# Technique numbers: 5.0, 2.5mm, 120kv, 3t, l5, t12, s1, 3v, 64x0.6, b1000, the kernel Br40d. At most three digits in a
# row, so that no date, year, telephone or record number fits; isotopes (Ga-68); ages ("93y") have no unit here.
_NUMBER = re.compile(
    r"[tlscpxr]?\d{1,3}(?:[.,]\d{1,3})?"
    r"(?:mm|cm|cc|ml|mg|mgi|kg|hu|kv|kvp|kev|mv|mev|ma|mas|ms|min|sec|s|hr|h|t|x|d|v|vw|ch|gy|cgy|mbq|msv|mgy|hz|mhz|%)?"
    r"|\d{1,3}x\d{1,3}(?:[.,]\d{1,2})?(?:mm)?|b(?:0|50|[1-9]\d?00)t?|[bhijqtu][rlvfsu]?\d{2}[fsmd]?|[1-4](?:st|nd|rd|th)"
    r"|\d-\d|\d{1,2}scan"
    r"|(?:ac|at|bi|br|c|co|cr|cu|f|fe|ga|ho|i|in|ir|kr|lu|n|na|o|p|pb|ra|rb|re|se|sm|sr|tc|th|tl|xe|y|zr)-\d{1,3}m?"
)
# A sequence as scanners write it: swi3d1r, fl2d1, tse2d1_11.
_SEQUENCE = re.compile(
    r"(?:ciss|dess|ep|fi|fl|gre|h|hsx|me|pc|q|se|spc|spcir|spcr|swi|te|tfi|tfl|tir|tof|tse|tseir|ute)[23]d\d?[a-z]{0,4}"
    r"|\d{1,3}dirs?"
)
_LATIN = re.compile(r"([0-9a-z]+)")
_PLAIN = re.compile(r"\d+(?:[.,]\d+)*")
_DECIMAL = re.compile(r"\d{1,3}[.,]\d{1,3}")
# Written as one, though its parts are no words or are names: w/o, p.a., Hill-Sachs.
_PHRASES = frozenset(
    {"w o", "r o", "s p", "p a", "a p", "i v", "z n", "x ray", "h o", "f u", "c o", "budd chiari", "hill sachs"}
    | {
        "osgood schlatter",
        "guillain barre",
        "swan ganz",
        "ground glass",
        "legg calve perthes",
        "creutzfeldt jakob",
        "ehlers danlos",
    }
)
# A word that is a common name, too, before the one that tells that it is none.
_DISEASE = frozenset({"disease", "syndrome", "fracture", "procedure", "operation", "sign", "tumor", "tumour"})
_VIEW = frozenset({"view", "views", "projection"})
_PAIRS = {
    "baker": frozenset({"cyst", "cysts"}),
    "cross": frozenset({"table", "section", "sectional"}),
    "field": frozenset({"map", "mapping", "maps"}),
    "lewy": frozenset({"body", "bodies"}),
    "hashimoto": frozenset({"thyroiditis", "disease"}),
    "takayasu": frozenset({"arteritis"}),
    "wegener": frozenset({"granulomatosis"}),
    "sjogren": frozenset({"disease", "syndrome"}),
    "zenker": frozenset({"diverticulum"}),
    "hickman": frozenset({"line", "catheter"}),
    **dict.fromkeys(("addison", "behcet", "castleman", "cushing", "huntington", "kawasaki", "kikuchi"), _DISEASE),
    **dict.fromkeys(("bennett", "boxer", "galeazzi", "hartmann", "jefferson", "kasai", "krabbe"), _DISEASE),
    **dict.fromkeys(("leigh", "mallory", "morton", "nissen", "rasmussen", "turner", "whipple"), _DISEASE),
    **dict.fromkeys(("caldwell", "harris", "stryker", "towne", "waters", "rosenberg"), _VIEW),
    "short": frozenset({"axis"}),
    "long": frozenset({"axis", "leg", "legs", "bone", "bones"}),
    "white": frozenset({"matter", "blood"}),
    "gray": frozenset({"matter"}),
    "grey": frozenset({"matter"}),
    "black": frozenset({"blood"}),
    "bright": frozenset({"blood"}),
    "wall": frozenset({"motion"}),
}
_MAX_CHARS = 4096
_MAX_KNOWN = 10_000  # words of a patient
# A name follows, whatever else the word may mean: "Dr. Long", never the modality in "DR LONG LEG".
_TITLE_WORDS = "dr dra drs prof mr mrs ms miss mme mlle herr herrn frau sra dott dottssa sig"
_TITLES = frozenset(_TITLE_WORDS.split())
_TITLED = re.compile(rf"(?:{'|'.join(_TITLE_WORDS.split())})\..+", re.IGNORECASE)
_AGE_NAMES = (
    "age aged alter alt y yo yr yrs year years old jahr jahre jahren j jahrig jahrige jahriger an ans ano anos anni "
    "edad idade jaar let lat ar лет год года возраст ετων ετους ετη"
)
_AGE_WORDS = frozenset(_AGE_NAMES.split())
_PLACE_NAMES = "ward room bed zimmer zi station stn bett chambre lit cama sala stanza letto"
_PLACE_WORDS = frozenset(_PLACE_NAMES.split())
# Most texts have none of these, and are not looked at word by word.
_MAY_NAME = re.compile(rf"(?<![^\W_])(?:{'|'.join(_TITLE_WORDS.split())})(?![^\W_])")
_DIGIT = re.compile(r"\d")
_MAY_BE_AGE = re.compile(r"(?<!\d)(?:9\d|1[0-3]\d)(?!\d)")
_MAY_BE_PLACE = re.compile(rf"(?:{'|'.join(_PLACE_NAMES.split())})[\W_]*\d")
_LEAST_HIDDEN_AGE, _MOST_AGE = 90, 130


@dataclass(frozen=True, slots=True)
class Either(Container[str]):
    """The words of two sets. One of all the cohort is large: it is not copied for each patient."""

    one: frozenset[str]
    other: frozenset[str]

    def __contains__(self, word: object) -> bool:
        return word in self.one or word in self.other


@dataclass(frozen=True, slots=True)
class Words:
    """What may stay: the vocabulary, words and whole values with evidence, minus what is denied (all folded)."""

    vocabulary: Collection[str]
    evident: Collection[str] = frozenset()
    denied: Container[str] = frozenset()
    stems: frozenset[str] = frozenset()  # a word made of these alone may stay
    codes: bool = False  # short codes and version numbers may stay, too: for technical attributes
    _known: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def keep(self, text: str) -> str:
        """``text`` itself when all its words may stay, else those that may with one space between them.

        Text beyond 4,096 characters is cut off first.
        """
        text = _SPELLED.sub(" ", text[:_MAX_CHARS])
        tokens = list(_TOKEN.finditer(text))
        small = text.lower() if text.isascii() else ""
        named = () if small and not _MAY_NAME.search(small) else _named(text, tokens)
        telling = () if small and not _may_tell(small) else _telling(tokens)
        kept: list[str] = []
        plain_before = False
        for at, found in enumerate(tokens):
            token = found.group()
            plain = token[0].isdigit() and _PLAIN.fullmatch(token) is not None
            beside = plain and bool(kept) and _PLAIN.fullmatch(kept[-1]) is not None
            if at in named:
                plain_before = False
            elif at in telling:
                plain_before = plain
                kept.extend(part for part in _PARTS.split(token) if not part.isdecimal() and self.may_stay(part))
            elif plain and (plain_before or beside) and not (self.codes and is_version(token)):
                if beside and not _DECIMAL.fullmatch(kept[-1]):
                    kept.pop()  # two plain numbers side by side may be halves of one identifier
                plain_before = True
            else:
                plain_before = plain
                kept.extend(self._allowed(token) or self._paired(token, tokens[at + 1 : at + 2]))
        whole = kept == [found.group() for found in tokens]
        return text.strip() if kept and whole else " ".join(kept)

    def may_stay(self, word: str) -> bool:
        """Whether one word may stay."""
        folded = fold(word)
        if folded in self.denied:
            return False
        if folded in self.vocabulary or folded in self.evident:
            return True
        if is_technique_number(word.lower()):
            return True
        if folded in _PHRASES or is_compound(folded, self.stems) or _SEQUENCE.fullmatch(word.lower()):
            return True
        if not folded.isascii() and _LATIN.search(folded):  # 胸部CT
            return all(map(self.may_stay, filter(None, _LATIN.split(folded))))
        return self.codes and is_code(folded, known=self.vocabulary, denied=self.denied)

    def _paired(self, token: str, after: list[re.Match[str]]) -> list[str]:
        word = token.lower()
        others = _PAIRS.get(word)
        if not others or not after or word in self.denied:
            return []
        return [token] if after[0].group().lower() in others else []

    def _allowed(self, token: str) -> list[str]:
        """What of a token may stay by itself, remembered: texts of one patient are made of the same words."""
        found = self._known.get(token)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[token] = self._parts_of(token)
        return found

    def _parts_of(self, token: str) -> list[str]:
        if self.may_stay(token) or (self.codes and is_version(token)):
            return [token]
        parts = [token] if token.isalnum() else _PARTS.split(token.rstrip("%"))
        if len(parts) == 1:
            return []
        if all(map(self.may_stay, parts)) and sum(map(bool, map(_PLAIN.fullmatch, parts))) <= 1:
            return [token]
        return [part for part in parts if self.may_stay(part) and not _PLAIN.fullmatch(part)]


def is_technique_number(word: str) -> bool:
    """Whether a word in lower case is a number as technique has them, such as ``3mm``, ``l5`` or ``b1000``."""
    return not word.isalpha() and _NUMBER.fullmatch(word) is not None


def _named(text: str, tokens: list[re.Match[str]]) -> frozenset[int]:
    """Which tokens are a title or the name behind it."""
    named = set()
    after_title = False
    for at, found in enumerate(tokens):
        word = found.group()
        if after_title or _TITLED.fullmatch(word):
            named.add(at)
            after_title = after_title and len(word) < 3  # an initial: the name comes after it
        elif _is_title(word, text[found.end() : found.end() + 1]):
            named.add(at)
            after_title = True
    return frozenset(named)


def _telling(tokens: list[re.Match[str]]) -> frozenset[int]:
    """Which tokens hold the number of an age over 89, a bed or a room."""
    parts = [(at, part) for at, found in enumerate(tokens) for part in fold(found.group()).split()]
    alone = [part for _, part in parts]
    before, after = ["", *alone[:-1]][: len(alone)], [*alone[1:], ""][: len(alone)]
    return frozenset(
        at
        for (at, part), left, right in zip(parts, before, after, strict=True)
        if part.isdecimal()
        and (left in _PLACE_WORDS or (_is_hidden_age(part) and not _AGE_WORDS.isdisjoint((left, right))))
    )


def _may_tell(text: str) -> bool:
    """Whether a text in small letters can hold what ``_telling`` looks for."""
    return _DIGIT.search(text) is not None and (
        _MAY_BE_AGE.search(text) is not None or _MAY_BE_PLACE.search(text) is not None
    )


def _is_hidden_age(part: str) -> bool:
    return len(part) <= 3 and _LEAST_HIDDEN_AGE <= int(part) <= _MOST_AGE


def _is_title(word: str, after: str) -> bool:
    return word.lower() in _TITLES and (after == "." or (word[0].isupper() and word[1:].islower()))
