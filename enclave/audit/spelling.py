"""How an event of a kind is spelled, as one pattern: it parses, checks and proves the canonical spelling at once.

Built from the kind's declaration. What a pattern takes is an event that ``check_kind`` takes, spelled as
``canonical_bytes`` spells it; what it does not take may still be one (a quotation mark or a letter beyond ASCII in a
text, a number with a fraction, a list in the detail) and goes the long way, which decides.
"""

from __future__ import annotations

import functools
import re

from enclave.audit.vocabulary import Kind, known_kinds

_WITHIN = rb"[ !#-\[\]-\x7f]*"  # ASCII that JSON writes as it is
_TEXT = rb'"%b"' % _WITHIN
_INTEGER = rb"(?:0|-?[1-9][0-9]{0,17})"
_OF_TYPE = {"string": _TEXT, "integer": _INTEGER, "number": _INTEGER, "boolean": rb"(?:true|false)"}
_OBJECTS = rb"\[(?:%b(?:,%b)*)?\]" % (_TEXT, _TEXT)
_KIND = b',"kind":"'
_LONGEST_NAME = 80
# Between members stands a comma, before the first one none.
_COMMA = rb"(?:(?<=\{)|(?<!\{),)"


def spelled(event: bytes) -> re.Match[bytes] | None:
    """The match with the groups ``actor``, ``id``, ``kind``, ``outcome`` and ``reason``; None leaves it open why."""
    start = event.rfind(_KIND) + len(_KIND)
    end = event.find(b'"', start, start + _LONGEST_NAME)
    pattern = _pattern(event[start:end]) if end > 0 else None
    return pattern.fullmatch(event) if pattern is not None else None


@functools.lru_cache(maxsize=1024)  # who sends names that are none fills no memory
def _pattern(name: bytes) -> re.Pattern[bytes] | None:
    kind = known_kinds().get(name.decode("ascii", "replace"))
    return re.compile(_event(kind)) if kind is not None else None


def _event(kind: Kind) -> bytes:
    """The members in the order of their names, as canonical JSON has them; ``actor`` is the first and always there."""
    needed = {
        "actor": rb'"(?P<actor>%b)"' % _WITHIN,
        "detail": _detail(kind),
        "id": rb'"(?P<id>[0-9a-f]{32})"',
        "kind": rb'"(?P<kind>%b)"' % re.escape(kind.name.encode()),
        "outcome": rb'"(?P<outcome>intent|ok|refused|failed)"',
        "time": _TEXT,
    }
    texts = ("cell", "dataset", "kernel", "project", "role", "session", "source", "ticket", "trace")
    others = dict.fromkeys(texts, _TEXT)
    others |= {"objects": _OBJECTS, "reason": rb'"(?P<reason>%b)"' % _WITHIN, "version": _INTEGER}
    parts = []
    for name, form in sorted((needed | others).items()):
        member = rb'%b"%b":%b' % (b"" if name == "actor" else b",", name.encode(), form)
        parts.append(member if name in needed else rb"(?:%b)?" % member)
    return rb"\{%b\}" % b"".join(parts)


def _detail(kind: Kind) -> bytes:
    parts = [
        rb'(?:%b"%b":%b)?' % (_COMMA, re.escape(name.encode()), _OF_TYPE[kind.detail[name]])
        for name in sorted(kind.detail)
        if kind.detail[name] in _OF_TYPE
    ]
    return rb"\{%b\}" % b"".join(parts)
