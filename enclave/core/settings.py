"""Settings: one TOML document, one frozen dataclass per process, nothing unknown.

Pure: text in, dataclass out. A secret is never in the document: a field that ends in ``_file`` or
``_uri`` names where it is.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from typing import Any, TypeVar

from enclave.core.errors import InvalidError

T = TypeVar("T")


def parse_settings(text: str, cls: type[T], *, section: str) -> T:
    """The table ``[section]`` of ``text`` as ``cls``; other tables are left to their own processes.

    Raises ``InvalidError`` naming the unknown key and the nearest known one.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"settings: wanted TOML, got a syntax error: {error}") from None
    table = document.get(section, {})
    if not isinstance(table, dict):
        raise InvalidError(f"settings: wanted a table [{section}], got a single value")
    return build(cls, table, where=section)


def check_sections(text: str, known: typing.Iterable[str]) -> None:
    """Raises ``InvalidError`` when the document has a table that no process reads."""
    names = sorted(known)
    for name in tomllib.loads(text):
        if name not in names:
            raise InvalidError(f"settings: wanted one of the known tables, got [{name}]{_nearest(name, names)}")


def build(cls: type[T], table: dict[str, Any], *, where: str) -> T:
    """``table`` as the frozen dataclass ``cls``, every key and type checked."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # T is always a dataclass here
    for key in table:
        if key not in fields:
            raise InvalidError(f"settings: wanted a known key in [{where}], got {key!r}{_nearest(key, list(fields))}")
    hints = typing.get_type_hints(cls)
    values = {key: _convert(value, hints[key], f"{where}.{key}") for key, value in table.items()}
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InvalidError(f"settings: wanted {', '.join(missing)} in [{where}], got nothing; add them")
    return cls(**values)


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert(value, next(a for a in typing.get_args(hint) if a is not type(None)), where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return build(hint, value, where=where)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, typing.get_args(hint)[0], where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _convert(item, typing.get_args(hint)[1], where) for key, item in value.items()}
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise InvalidError(f"settings: wanted a number for {where}, got one beyond all limits") from None
    plain = origin or hint
    if type(value) is not plain:
        raise InvalidError(
            f"settings: wanted {getattr(plain, '__name__', plain)} for {where}, got {type(value).__name__}"
        )
    return value


def _nearest(key: str, known: list[str]) -> str:
    match = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
