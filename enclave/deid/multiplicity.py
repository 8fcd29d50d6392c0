"""How many values an attribute may have (PS3.6, PS3.5 6.4): what stands behind them in a number is something else."""

from __future__ import annotations

import functools
import re

from pydicom._dicom_dict import DicomDictionary

from enclave.deid.tree import Field, repeater_of

NUMBER_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4}  # bytes of a value
_MULTIPLICITY = re.compile(r"(?P<least>\d+)(?:-(?P<most>\d*)(?P<open>n?))?")


@functools.lru_cache(maxsize=65_536)
def most_values(tag: int) -> int | None:
    """The largest number of values of a standard attribute, None without a limit; one of what no dictionary knows.

    The least number is not asked for: what lacks hides nothing.
    """
    entry = DicomDictionary.get(tag) or repeater_of(tag)
    return parse_multiplicity(str(entry[1])) if entry else 1


def parse_multiplicity(text: str) -> int | None:
    """The upper limit that ``1``, ``1-3``, ``1-n`` or ``2-2n`` states, None when it is open; 1 for any other text."""
    found = _MULTIPLICITY.fullmatch(text)
    if found is None:
        return 1
    return None if found["open"] else int(found["most"] or found["least"])


def has_too_many(tag: int, field: Field) -> bool:
    """Whether more binary numbers stand in a standard attribute than it may have; of a private one nobody can say."""
    size = NUMBER_SIZES.get(field[0])
    most = None if size is None or tag >> 16 & 1 else most_values(tag)
    return most is not None and size is not None and len(field[1]) > most * size
