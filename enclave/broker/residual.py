"""How many of the given byte strings still stand in a sealed version's plaintext. Counts only, never which or where.

For the demo's check: planted identifiers against everything that a researcher could get to see.
"""

from __future__ import annotations

from collections.abc import Iterable

import ahocorasick

from enclave.core.canonical import canonical_bytes
from enclave.core.errors import InvalidError
from enclave.core.ids import VersionName
from enclave.keys.uri import file_uri
from enclave.runtime.home import Home
from enclave.sealed.reader import open_unwrapper, open_version
from enclave.sealed.store import SealedStore


def count_survivors(home: Home, dataset: str, version: int, patterns: Iterable[bytes]) -> int:
    """How many different ``patterns`` occur in names, headers or plaintext bytes of any object of the version.

    Bytes are compared as they are; the caller lists every spelling that it wants looked for. Raises ``InvalidError``
    without patterns, and what ``open_version`` raises.
    """
    machine = _automaton(patterns)
    name = VersionName(dataset, version)
    unwrapper = open_unwrapper(file_uri(home.key_file("kek")))
    opened = open_version(SealedStore(home.state("sealed")), name, unwrapper=unwrapper)
    found: set[int] = set()
    _search(machine, canonical_bytes([str(name)]), found)
    for entry in opened.manifest.entries:
        _search(machine, canonical_bytes(entry.to_json()), found)
        sweep = _Sweep(machine, found)
        opened.pieces(entry.name, sweep.feed)
    return len(found)


class _Sweep:
    """Searches a stream piece by piece, with an overlap so that nothing hides across a seam."""

    def __init__(self, machine: ahocorasick.Automaton, found: set[int]) -> None:
        self._machine = machine
        self._found = found
        self._tail = b""
        self._overlap = max(len(key) for key in machine) - 1

    def feed(self, piece: memoryview) -> None:
        data = self._tail + bytes(piece)
        _search(self._machine, data, self._found)
        self._tail = data[-self._overlap :] if self._overlap else b""


def _automaton(patterns: Iterable[bytes]) -> ahocorasick.Automaton:
    machine = ahocorasick.Automaton()
    for pattern in {bytes(one) for one in patterns if one}:
        machine.add_word(_as_text(pattern), len(machine))
    if not len(machine):
        raise InvalidError("residual search: wanted at least one pattern, got none")
    machine.make_automaton()
    return machine


def _search(machine: ahocorasick.Automaton, data: bytes, found: set[int]) -> None:
    found.update(number for _, number in machine.iter(_as_text(data)))


def _as_text(data: bytes) -> str:
    return data.decode("latin-1")  # the library searches text; Latin-1 is one character per byte
