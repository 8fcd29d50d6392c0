"""Settings of the process while a job runs, given back after it."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import config as pydicom_config

_NEW_OBJECTS = 100_000  # before cycles are looked for among them; Python's own number is 700


@contextmanager
def quiet_parsing() -> Iterator[None]:
    """Keeps pydicom from checking values and from writing them into warnings and logs."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def rare_collection() -> Iterator[None]:
    """Looks for garbage in cycles less often: a job makes many objects that stay, and no cycles.

    What was there before, the dictionaries of pydicom above all, is not looked at again.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
