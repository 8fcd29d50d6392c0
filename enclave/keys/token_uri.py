"""Where a key on a token is: RFC 7512 (``pkcs11:``) URIs, read strictly. Pure.

Only what picks one key of one token is taken: a misspelt or unknown attribute would silently widen the choice, so it
is an error. A PIN in the URI itself is refused: it would stand in settings and in the shell's history.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from enclave.core.errors import InvalidError

SCHEME: Final = "pkcs11:"
_PATH: Final = ("token", "serial", "manufacturer", "model", "object", "id", "type")
_QUERY: Final = ("module-path", "pin-source")
# RFC 7512 §2.3: pk11-pchar and pk11-qchar; percent signs only before two hexadecimal digits.
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*")
_EXAMPLE: Final = "pkcs11:token=NAME;object=KEY?module-path=/PATH/OF/MODULE.so&pin-source=file:/PATH/OF/PIN"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key on one token; what is ``None`` is not asked for.

    ``module`` is the token's PKCS#11 library, ``pin_file`` holds the PIN; without one a PIN is asked for or, on a token
    with a pad of its own, typed there.
    """

    module: Path
    token: str | None = None
    serial: bytes | None = None
    manufacturer: str | None = None
    model: str | None = None
    object: str | None = None
    id: bytes | None = None
    pin_file: Path | None = None


def parse_token_uri(uri: str) -> TokenKey:
    """The key that ``uri`` names.

    Raises ``InvalidError`` for anything else than a ``pkcs11:`` URI that names a token, a key and a module; no message
    repeats the URI, which may hold a PIN.
    """
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    if not uri.startswith(SCHEME):
        raise _wrong("another scheme")
    if re.search(r"[;&?]pin-value=", uri):
        raise _wrong(
            "a PIN in it; put the PIN into a file that you alone can read, and take this one as known to others"
        )
    found = _attributes(path, ";", _PATH) | _attributes(query, "&", _QUERY)
    if found.get("type", b"private") != b"private":
        raise _wrong("one for another kind of object than a private key")
    if not (found.keys() & {"token", "serial"} and found.keys() & {"object", "id"}):
        raise _wrong("one without a token (token or serial) or without a key (object or id)")
    return TokenKey(
        module=_file(found, "module-path", needed=True),
        token=_text(found, "token"),
        serial=found.get("serial"),
        manufacturer=_text(found, "manufacturer"),
        model=_text(found, "model"),
        object=_text(found, "object"),
        id=found.get("id"),
        pin_file=_file(found, "pin-source", needed=False) if "pin-source" in found else None,
    )


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if not equals or name not in known:
            raise _wrong(f"one with something else; known here are {', '.join(known)}")
        if name in found or not value or not _VALUE.fullmatch(value):
            raise _wrong(f"one whose {name} is empty, there twice or not written by RFC 7512")
        found[name] = unquote_to_bytes(value)
    return found


def _text(found: dict[str, bytes], name: str) -> str | None:
    try:
        return found[name].decode("utf-8") if name in found else None
    except UnicodeDecodeError:
        raise _wrong(f"one whose {name} is not UTF-8") from None


def _file(found: dict[str, bytes], name: str, *, needed: bool) -> Path:
    value = _text(found, name) or ""
    path = Path(value.removeprefix("file:") if name == "pin-source" else value)
    if (needed and not value) or not path.is_absolute() or "\0" in value:
        raise _wrong(f"one whose {name} is not an absolute path")
    return path


def _wrong(got: str) -> InvalidError:
    return InvalidError(f"key URI: wanted {_EXAMPLE}, got {got}", code="key_uri_malformed")
