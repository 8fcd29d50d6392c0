"""Which reports run, on what, how often: entries are data in ``HOME/reports/schedule.toml``. Pure.

An entry::

    [entry.demo-validation]
    notebook = "dataset_validation.ipynb"   # a file of the notebooks folder
    project = "demo"
    dataset = "demo-ct"
    every = "24h"                            # minutes, hours or days: 30m, 24h, 7d; "never": on request only
    parameters = { k = "11" }                # optional: what else the notebook's parameter cell names

``sandbox_selftest.ipynb`` tries to get out of its kernel; the dataset is one whose lent memory it tries to change.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.ids import check_name
from enclave.core.settings import build

DEFAULT_SCHEDULE = """\
[entry.demo-validation]
notebook = "dataset_validation.ipynb"
project = "demo"
dataset = "demo-ct"
every = "24h"

[entry.sandbox-selftest]
notebook = "sandbox_selftest.ipynb"
project = "demo"
dataset = "demo-ct"
every = "24h"
"""
_EVERY = re.compile(r"([1-9][0-9]{0,3})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NOTEBOOK = re.compile(r"[a-z][a-z0-9_-]{0,62}\.ipynb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the schedule; ``every`` None: it runs only when somebody asks."""

    name: str
    notebook: str
    project: str
    dataset: str
    every: timedelta | None
    parameters: Mapping[str, str]

    def is_due(self, *, since: datetime, at: datetime) -> bool:
        """Whether a run is due at ``at`` when the last one was queued, or the entry first seen, at ``since``."""
        return self.every is not None and at - since >= self.every


@dataclass(frozen=True, slots=True)
class _EntryTable:
    notebook: str
    project: str
    dataset: str
    every: str = "24h"
    parameters: dict[str, str] = field(default_factory=dict)


def parse_schedule(text: str) -> dict[str, Entry]:
    """All entries of a schedule document by name; raises ``InvalidError`` naming the entry and the key."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"schedule: wanted TOML, got a syntax error: {error}") from None
    table = document.pop("entry", {})
    if document or not isinstance(table, dict):
        raise InvalidError("schedule: wanted tables [entry.NAME] only, got something else beside them")
    return {name: _entry(name, value) for name, value in table.items()}


def parse_every(text: str) -> timedelta | None:
    """``30m``, ``24h``, ``7d`` or ``never``; raises ``InvalidError``."""
    if text == "never":
        return None
    found = _EVERY.fullmatch(text)
    if found is None:
        raise InvalidError("schedule: wanted every = 30m, 24h, 7d or never, got another form")
    return int(found[1]) * _UNITS[found[2]]


def find_entry(entries: dict[str, Entry], name: str) -> Entry:
    """The entry ``name``; raises ``NotFoundError``."""
    if name not in entries:
        raise NotFoundError(
            "report: wanted an entry of the schedule, got another name; `enclave report list` names them"
        )
    return entries[name]


def _entry(name: str, value: Any) -> Entry:
    check_name(name, what="schedule entry")
    if not isinstance(value, dict):
        raise InvalidError(f"schedule: wanted a table [entry.{name}], got a single value")
    table = build(_EntryTable, value, where=f"entry.{name}")
    if not _NOTEBOOK.fullmatch(table.notebook):
        raise InvalidError(f"schedule: wanted a notebook's file name for entry.{name}.notebook, got another form")
    if not all(_PARAMETER.fullmatch(key) for key in table.parameters) or "dataset" in table.parameters:
        raise InvalidError(f"schedule: wanted names of the notebook's parameters in entry.{name}, got another form")
    return Entry(
        name=name,
        notebook=table.notebook,
        project=check_name(table.project, what="project"),
        dataset=check_name(table.dataset, what="dataset"),
        every=parse_every(table.every),
        parameters=MappingProxyType(table.parameters),
    )
