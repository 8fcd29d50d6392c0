"""The one error that this package raises, shown as a sentence instead of a page of traceback."""

from __future__ import annotations

_WORDS = {
    "denied": "Refused",
    "not_found": "Not found",
    "invalid": "Not possible",
    "conflict": "Not possible now",
    "unavailable": "Not available",
    "integrity": "Damaged",
}


class EnclaveError(Exception):
    """Says what was wanted, what was got and what to do.

    ``family`` is denied, not_found, invalid, conflict, unavailable or integrity; ``code`` is stable and made for
    programs (``certificate_expired``).
    """

    def __init__(self, message: str, *, family: str = "invalid", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.family = family
        self.code = code or family

    def __str__(self) -> str:
        return f"{_WORDS.get(self.family, 'Failed')}: {self.message} [{self.code}]"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of the traceback: the researcher's own line is in the cell above it."""
        return [str(self)]
