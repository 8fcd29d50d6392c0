"""Where a key is, as a URI; its scheme picks the provider: ``file:``, for signatures ``pkcs11:`` too (``token_uri``).

Each of ``sign``, ``verify``, ``wrap``, ``unwrap`` and ``box`` has a table of schemes of its own, so that a provider
that cannot do one thing (a public half cannot unwrap) is simply not in that table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from enclave.core.errors import InvalidError

T = TypeVar("T")


def file_uri(path: Path) -> str:
    """``file:/abs/path`` of a key file."""
    return f"file:{path.absolute()}"


def open_by_scheme(uri: str, providers: Mapping[str, Callable[[str], T]], *, purpose: str) -> T:
    """Hands ``uri`` to the provider of its scheme; raises ``InvalidError`` naming the schemes that are known."""
    scheme, sep, _ = uri.partition(":")
    provider = providers.get(scheme) if sep else None
    if provider is None:
        known = ", ".join(f"{name}:" for name in sorted(providers))
        raise InvalidError(
            f"{purpose} key: wanted a URI of a known scheme ({known}), got another one; write it like file:/PATH",
            code="key_uri_unknown",
        )
    return provider(uri)


def path_of(uri: str) -> Path:
    """The path in a ``file:`` URI; raises ``InvalidError`` when it is not absolute."""
    path = Path(uri.removeprefix("file:"))
    if not path.is_absolute():
        raise InvalidError("key URI: wanted file: and an absolute path, got a relative one", code="key_uri_relative")
    return path
