"""One key for each kind of pseudonym, all derived from the key file: HMAC-SHA-256 with a label of its own."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from enclave.core.secret import Secret
from enclave.deid.dates import offset_days
from enclave.deid.names import pseudonym
from enclave.deid.uids import map_uid
from enclave.keys.files import read_symmetric

_LABEL = b"enclave/deid/v1/"


@dataclass(frozen=True, slots=True, repr=False)
class Keyring:
    """Pseudonyms, UIDs and date offsets under one key. The same key gives the same results on any machine."""

    patient: bytes
    uid: bytes
    date: bytes
    number: bytes

    def patient_id(self, original: str) -> str:
        """The pseudonym of a patient, 17 characters: 75 bits, without a collision among millions."""
        return pseudonym(original, key=self.patient, prefix="P-", length=15)

    def number_id(self, original: str, *, kind: str) -> str:
        """The pseudonym of an accession, visit or other number of one ``kind``, 16 characters (SH)."""
        return pseudonym(f"{kind}\0{original}", key=self.number, prefix="N", length=15)

    def uid_of(self, original: str) -> str:
        """The new UID for ``original``."""
        return map_uid(original, key=self.uid)

    def offset_days(self, patient: str, *, max_shift_days: int) -> int:
        """The days by which all dates of ``patient`` move."""
        return offset_days(patient, key=self.date, max_shift_days=max_shift_days)


def open_keyring(path: Path, *, project: str = "") -> Keyring:
    """The keyring of a key file, or that of one project; raises as ``keys.files.read_symmetric`` does."""
    return derive_keyring(read_symmetric(path), project=project)


def derive_keyring(master: Secret, *, project: str = "") -> Keyring:
    """The keyring of a secret of 32 bytes; with ``project`` one from which no other project's can be reckoned."""
    secret = master.reveal()
    if project:
        secret = hmac.new(secret, _LABEL + b"project/" + project.encode(), hashlib.sha256).digest()
    kinds = {
        kind: hmac.new(secret, _LABEL + kind.encode(), hashlib.sha256).digest()
        for kind in ("patient", "uid", "date", "number")
    }
    return Keyring(**kinds)
