"""Warm objects: sealed memory that is shared between kernels, up to a budget of bytes."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from enclave.sealed.memory import fresh_readonly


class ObjectKey(NamedTuple):
    """Which plaintext: the content root and the name; no other object can have both."""

    content_root: str
    name: str


class WarmCache:
    """Keeps the objects used last. A descriptor that was handed out stays good when its object is dropped here.

    Thread-safe; an object that two kernels want at once is decrypted once.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._held: OrderedDict[ObjectKey, tuple[int, int]] = OrderedDict()  # -> descriptor, size
        self._bytes = 0
        self._guard = threading.Lock()
        self._loading: dict[ObjectKey, threading.Lock] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def warm(self, key: ObjectKey) -> bool:
        """Whether the object could be handed out without decrypting it."""
        with self._guard:
            return key in self._held

    def handle(self, key: ObjectKey, *, load: Callable[[], int]) -> int:
        """A fresh read-only descriptor, the caller's to close; ``load`` makes the sealed memory when it is not here.

        What ``load`` raises goes to the caller, and nothing is kept.
        """
        fresh = self._fresh(key)
        if fresh is not None:
            return fresh
        with self._guard:
            gate = self._loading.setdefault(key, threading.Lock())
        with gate:
            try:
                fresh = self._fresh(key)
                return self._admit(key, load()) if fresh is None else fresh
            finally:
                with self._guard:
                    self._loading.pop(key, None)

    def forget(self, content_root: str) -> None:
        """Drops every object of one version."""
        with self._guard:
            for key in [key for key in self._held if key.content_root == content_root]:
                fd, size = self._held.pop(key)
                os.close(fd)
                self._bytes -= size

    def close(self) -> None:
        """Gives all of it back."""
        with self._guard:
            for fd, _ in self._held.values():
                os.close(fd)
            self._held.clear()
            self._bytes = 0

    def _fresh(self, key: ObjectKey) -> int | None:
        with self._guard:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return fresh_readonly(found[0])

    def _admit(self, key: ObjectKey, fd: int) -> int:
        try:
            fresh = fresh_readonly(fd)
            size = os.fstat(fd).st_size
        except OSError:
            os.close(fd)
            raise
        if size > self._budget:
            os.close(fd)
            return fresh
        with self._guard:
            if key in self._held:
                os.close(fd)
                return fresh
            self._held[key] = (fd, size)
            self._bytes += size
            while self._bytes > self._budget:
                _, (oldest, oldest_size) = self._held.popitem(last=False)
                os.close(oldest)
                self._bytes -= oldest_size
        return fresh
