"""How a message is declared, checked and spelled: frozen dataclasses, nothing unknown, nothing missing.

A request class names its type and the class of its reply::

    @request("audit.append", reply=AppendReply)
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Append: ...

Fields may be ``str``, ``int``, ``float``, ``bool``, ``Json`` (any JSON value), ``X | None``,
``tuple[X, ...]``, ``dict[str, X]`` and other message dataclasses. Bytes travel as base64 in ``str``.

A ``str`` of a request becomes a path, an id, a name or an environment somewhere: it holds no control character. What
people write in lines is ``Text`` (line ends and tabs pass), what must be kept as it was typed is ``Verbatim``.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from enclave.core.errors import InvalidError

T = TypeVar("T")
Json = Any  # any JSON value
Text = Annotated[str, "lines"]
Verbatim = Annotated[str, "verbatim"]

# C0 and C1 controls, DEL, the two separators that many readers take for a line end, and halves of a character
# (Unicode: Cc, Zl, Zp, Cs).
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_IN_LINES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, slots=True)
class RequestType:
    """The name on the wire, the reply that goes with a request class, and whether descriptors come beside it."""

    name: str
    reply: type[Any]
    descriptors: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The reply of a request that has nothing to say but that it was done."""


_types: dict[type[Any], RequestType] = {}


def request(name: str, *, reply: type[Any], descriptors: bool = False) -> Callable[[type[T]], type[T]]:
    """Declares a dataclass as the request ``name``, answered by ``reply``; with any other, descriptors are refused."""

    def declare(cls: type[T]) -> type[T]:
        _types[cls] = RequestType(name, reply, descriptors)
        return cls

    return declare


def request_type(cls: type[Any]) -> RequestType:
    """The declaration of a request class."""
    return _types[cls]


def to_json(message: Any) -> dict[str, Any]:
    """A message as a JSON object; fields that are None are left out."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if value is not None:
            result[field.name] = _spell(value)
    return result


def from_json(cls: type[T], value: Any) -> T:
    """``value`` as the message ``cls``; raises ``InvalidError`` naming the field, never its value."""
    if not isinstance(value, dict):
        raise InvalidError(f"message {cls.__name__}: wanted an object, got {type(value).__name__}")
    fields, hints = _shape(cls)  # type: ignore[arg-type]  # a class is hashable
    for key in value:
        if key not in fields:
            raise InvalidError(f"message {cls.__name__}: wanted known fields only, got one that is not")
    refused = _CONTROL if cls in _types else None
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in value:
            values[name] = _read(value[name], hints[name], f"{cls.__name__}.{name}", refused=refused)
        elif _optional(hints[name]):
            values[name] = None if _no_default(field) else _default(field)
        elif _no_default(field):
            raise InvalidError(f"message {cls.__name__}: wanted the field {name}, got none")
    return cls(**values)


@functools.cache
def _shape(cls: type[Any]) -> tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]:
    return {f.name: f for f in dataclasses.fields(cls)}, typing.get_type_hints(cls, include_extras=True)


def _no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union) and type(None) in typing.get_args(hint)


def _spell(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, tuple | list):
        return [_spell(item) for item in value]
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    return value


def _read(value: Any, hint: Any, where: str, *, refused: re.Pattern[str] | None) -> Any:
    if hint is Any:
        return value
    origin = typing.get_origin(hint)
    if origin is Annotated:
        hint, kind = typing.get_args(hint)
        refused = _CONTROL_IN_LINES if refused and kind == "lines" else None
    if origin in (types.UnionType, typing.Union):
        inner = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        return None if value is None else _read(value, inner, where, refused=refused)
    if origin is tuple:
        _check(value, list, where)
        return tuple(_read(item, typing.get_args(hint)[0], where, refused=refused) for item in value)
    if origin is dict:
        _check(value, dict, where)
        inner = typing.get_args(hint)[1]
        return {
            _read(key, str, where, refused=refused): _read(item, inner, where, refused=refused)
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    _check(value, hint, where)
    if refused is not None and hint is str and refused.search(value):
        raise InvalidError(f"message {where}: wanted text without control characters, got some")
    return value


def _check(value: Any, wanted: type[Any], where: str) -> None:
    if type(value) is not wanted:
        raise InvalidError(f"message {where}: wanted {wanted.__name__}, got {type(value).__name__}")
