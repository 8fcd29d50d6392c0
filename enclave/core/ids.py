"""The shapes of the names that people and daemons use for things."""

from __future__ import annotations

import re
from dataclasses import dataclass

from enclave.core.errors import InvalidError

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PRINCIPAL = re.compile(r"[a-z][a-z0-9._@-]{0,127}")
_SERVICE = re.compile(r"service:[a-z][a-z0-9-]{0,62}")
_TICKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._#-]{0,63}")
_TOKEN = re.compile(r"[0-9a-f]{32}")


def check_name(name: str, *, what: str) -> str:
    """A dataset, project or recipe name: lower case letters, digits and dashes, ≤ 63."""
    if not _NAME.fullmatch(name):
        raise InvalidError(f"{what}: wanted lower case letters, digits and dashes (at most 63), got another form")
    return name


def check_principal(name: str) -> str:
    """A person's or a service's id; it becomes no path without this check."""
    if not (_PRINCIPAL.fullmatch(name) or _SERVICE.fullmatch(name)) or ".." in name:
        raise InvalidError("principal: wanted letters, digits and . _ @ - (at most 128), got another form")
    return name


def check_token_id(value: str, *, what: str) -> str:
    """A 128-bit random id in hex, as kernels, servers, requests and events carry."""
    if not _TOKEN.fullmatch(value):
        raise InvalidError(f"{what}: wanted 32 hex digits, got another form")
    return value


def check_ticket(ticket: str) -> str:
    """The id of a ticket in another system; raises ``InvalidError``."""
    if not _TICKET.fullmatch(ticket):
        raise InvalidError("ticket: wanted an id such as IRB-2026-17, got another form", code="ticket")
    return ticket


@dataclass(frozen=True, slots=True, order=True)
class VersionName:
    """``NAME@3``: one immutable version of a dataset."""

    dataset: str
    version: int

    def __str__(self) -> str:
        return f"{self.dataset}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> VersionName:
        """Reads ``NAME@3``; raises ``InvalidError``."""
        dataset, sep, number = text.partition("@")
        if not sep or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
            raise InvalidError("dataset version: wanted NAME@NUMBER such as demo-ct@1, got another form")
        return cls(check_name(dataset, what="dataset"), int(number))
