"""One root, six families: whatever leaves a service or a command is one of these.

A message says *subject: what was wanted, what was got; what to do*. It holds ids and counts,
never a value from the data.
"""

from __future__ import annotations

from typing import ClassVar


class EnclaveError(Exception):
    """Root of every error that leaves the product.

    ``code`` is stable and machine-readable (``lease.certificate_expired``); ``message`` is for people.
    ``recorded``: the ledger has an event of it already.
    """

    family: ClassVar[str] = "unexpected"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.family
        self.recorded = False


class DeniedError(EnclaveError):
    """A rule says no. Asking again changes nothing until a fact changes."""

    family = "denied"
    exit_code = 10


class NotFoundError(EnclaveError):
    """The thing named does not exist, or the asker may not know that it does."""

    family = "not_found"
    exit_code = 11


class InvalidError(EnclaveError):
    """The input is not what was asked for."""

    family = "invalid"
    exit_code = 12


class ConflictError(EnclaveError):
    """The act does not fit the present state (exists already, used already, wrong state)."""

    family = "conflict"
    exit_code = 13


class UnavailableError(EnclaveError):
    """A part that is needed does not answer. Asking again later may work."""

    family = "unavailable"
    exit_code = 14


class IntegrityError(EnclaveError):
    """Bytes are not the bytes that were promised."""

    family = "integrity"
    exit_code = 15


FAMILIES: dict[str, type[EnclaveError]] = {
    cls.family: cls
    for cls in (DeniedError, NotFoundError, InvalidError, ConflictError, UnavailableError, IntegrityError)
}


def error_from_wire(family: str, code: str, message: str) -> EnclaveError:
    """The error a peer reported, as the class it was raised with there."""
    return FAMILIES.get(family, EnclaveError)(message, code=code)
