"""What was done with one instance, as its provenance says it: actions and redactions, never a value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from enclave.deid.actions import Action

REVIEW = "review"  # a redaction's reason: running text by detectors, a human must look at it


@dataclass(slots=True)
class Trace:
    """The letter of each action, and each redaction as tag and reason."""

    letters: list[str] = field(default_factory=list)
    redactions: list[tuple[str, str]] = field(default_factory=list)

    @property
    def actions(self) -> Counter[str]:
        """How often each action was done."""
        return Counter("".join(self.letters))

    def count(self, action: Action) -> None:
        """One more element that met ``action``."""
        self.letters.append(action)

    def redact(self, tag: int, why: str) -> None:
        """A value was changed, or is gone, for another reason than its action."""
        self.redactions.append((f"{tag:08x}", why))
