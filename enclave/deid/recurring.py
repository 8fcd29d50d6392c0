"""What was made of an element once is known again by its bytes: most elements recur in every file of a series."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from enclave.deid.tree import Field, Items

T = TypeVar("T")
Key = tuple[int, Field]
KNOWN_BY_BYTES = (bytes, Items)  # the values that can recur; one that pydicom has decoded cannot be compared
_ENTRY_BYTES = 300  # what an entry takes besides the bytes that it is known by
_MAX_VALUE_BYTES = 8 << 10  # what is larger is rarely the same in two files


class Recurring(Generic[T]):
    """Results by tag and field, for each context apart; forgets all of them when they take more than ``max_bytes``.

    A context is all that the result depends on besides the field.
    """

    __slots__ = ("_bytes", "_contexts", "_max_bytes")

    def __init__(self, *, max_bytes: int) -> None:
        self._contexts: dict[Hashable, dict[Key, T]] = {}
        self._max_bytes = max_bytes
        self._bytes = 0

    def within(self, context: Hashable) -> dict[Key, T]:
        """What is known in one context; to be read only."""
        found = self._contexts.get(context)
        if found is None:
            self._take(_ENTRY_BYTES)
            found = self._contexts[context] = {}
        return found

    def add(self, known: dict[Key, T], key: Key, result: T) -> None:
        """Remembers ``result`` in the context whose ``known`` this is, unless the value is large."""
        value = key[1][1]
        size = len(value) if value.__class__ is bytes else len(value.data)
        if size <= _MAX_VALUE_BYTES:
            self._bytes += size + _ENTRY_BYTES
            if self._bytes > self._max_bytes:
                self.clear()
                self._bytes = size + _ENTRY_BYTES
            known[key] = result

    def clear(self) -> None:
        """Forgets everything."""
        for known in self._contexts.values():
            known.clear()  # somebody may be reading it
        self._contexts.clear()
        self._bytes = 0

    def _take(self, size: int) -> None:
        if self._bytes + size > self._max_bytes:
            self.clear()
        self._bytes += size
