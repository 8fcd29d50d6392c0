"""Canaries: synthetic patients go through each job beside the real ones, and are looked for in what comes out.

They never stand in the output. None of n found gives a 95 % upper bound of 3/n for the share that survives
(rule of three).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ahocorasick

from enclave.deid.harvest import Harvest
from enclave.deid.keyring import Keyring
from enclave.deid.reading import read_instance
from enclave.deid.source import open_source
from enclave.deid.synthetic.cohort import generate_cohort
from enclave.deid.tools import Tools
from enclave.deid.tree import texts
from enclave.deid.worker import Plan, Worker, harvest_file

_FIRST_FILES = 2  # of each canary patient: enough for every hiding place of the generator


@dataclass(slots=True)
class Canaries:
    """The canaries of one job: their files, their keys as patients, what was planted in them."""

    files: list[Path] = field(default_factory=list)
    patients: frozenset[str] = frozenset()
    planted: list[str] = field(default_factory=list)
    folder: Path = Path()


def plant(count: int, *, folder: Path, keyring: Keyring) -> Canaries:
    """Makes ``count`` synthetic patients in the new ``folder``, which is the caller's to remove.

    The same for the same key: a job that is run again is the same job.
    """
    if not count:
        return Canaries()
    made = generate_cohort(folder / "in", seed=_seed(keyring), patients=count)
    by_patient = sorted((folder / "in" / "dicom").iterdir())
    files = [path for patient in by_patient for path in sorted(patient.rglob("*.dcm"))[:_FIRST_FILES]]
    harvest = Harvest(frozenset())
    for path in files:
        harvest_file(harvest, path)
    return Canaries(files, frozenset(harvest.subjects), made.strings, folder)


def search(canaries: Canaries, *, tools: Tools) -> dict[str, Any]:
    """Cleans the canaries with the tools of the job and counts what survives: ``planted, found, bound95``."""
    if not canaries.files:
        return {"planted": 0, "found": 0, "bound95": None}
    output = canaries.folder / "out"
    output.mkdir(parents=True)
    worker = Worker(Plan(tools, output))
    wanted = _wanted(canaries, retained=tools.profile.retained)
    harvest = Harvest(frozenset())
    for index, path in enumerate(canaries.files):
        made = worker.run(index, path, harvest_file(harvest, path).fingerprint)
        if made.staged:
            named = output / made.path
            named.parent.mkdir(parents=True, exist_ok=True)
            (output / made.staged).replace(named)
    found = _survivors(output, wanted)
    return {"planted": len(wanted), "found": found, "bound95": round(3 / len(wanted), 6) if not found else None}


def _wanted(canaries: Canaries, *, retained: frozenset[int]) -> list[str]:
    """What was planted in these files and has to go: not what an option keeps, or a part of that."""
    inside = b"".join(path.read_bytes().lower() for path in canaries.files)
    planted = [text for text in dict.fromkeys(canaries.planted) if text.encode().lower() in inside]
    kept = {text.lower() for path in canaries.files for text in _texts_of(path, retained)} if retained else set()
    return [text for text in planted if not any(text.lower() in value for value in kept)]


def _texts_of(path: Path, tags: frozenset[int]) -> list[str]:
    with open_source(path) as source:
        tree = read_instance(source).tree
        return [text for tag in tags & tree.keys() for text in texts(tree[tag], node=tree)]


def _seed(keyring: Keyring) -> int:
    digest = hmac.new(keyring.number, b"canaries", hashlib.sha256).digest()
    return int.from_bytes(digest[:7], "big")


def _survivors(folder: Path, wanted: list[str]) -> int:
    automaton = ahocorasick.Automaton()
    for text in wanted:
        key = text.encode().decode("latin-1").lower()
        automaton.add_word(key, key)
    automaton.make_automaton()
    found: set[str] = set()
    for path in folder.rglob("*"):
        searched = path.name.lower().encode() + (path.read_bytes() if path.is_file() else b"")
        found.update(key for _, key in automaton.iter(searched.decode("latin-1").lower()))
    return len(found)
