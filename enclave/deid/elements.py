"""Walks a pydicom dataset to any depth and hands out values as text, whatever their representation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from enclave.deid.reasons import Quarantined
from enclave.deid.tree import MAX_DEPTH


def element_at(dataset: Dataset, *, tag: int) -> DataElement | None:
    """The element with its value decoded; None when the bytes do not fit its representation."""
    try:
        found = dataset[tag]
        _ = found.value
    except RecursionError:
        raise Quarantined("nesting") from None
    except Exception:  # noqa: BLE001 - hostile values raise anything; the caller removes the element
        return None
    return found if isinstance(found, DataElement) else None


def values_of(element: DataElement) -> list[Any]:
    """The values of an element, one or many, without empty ones."""
    value = element.value
    many = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [item for item in many if item is not None and item != ""]


def texts_of(element: DataElement) -> list[str]:
    """The values as text. Of DS and IS the spelling in the file, which may hold more than the number."""
    return [str(getattr(item, "original_string", item)) for item in values_of(element)]


def walk(dataset: Dataset, *, depth: int = 0) -> Iterator[tuple[Dataset, DataElement]]:
    """All elements that decode, private ones too, each with the dataset or item it stands in."""
    if depth > MAX_DEPTH:
        raise Quarantined("nesting")
    for tag in list(dataset.keys()):
        element = element_at(dataset, tag=tag)
        if element is None:
            continue
        yield dataset, element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from walk(item, depth=depth + 1)
