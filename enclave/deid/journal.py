"""Remembers what is done and seen, so that a killed job goes on where it was: nothing lost, nothing done twice."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from enclave.core.canonical import digest_hex
from enclave.core.errors import ConflictError, UnavailableError
from enclave.deid.provenance import tool_versions
from enclave.deid.recipe import Recipe
from enclave.deid.source import sha256_of
from enclave.deid.table import table_edition
from enclave.deid.templates import Layout
from enclave.deid.worker import Outcome, pixels_of
from enclave.detectors.pixel_text.network import check_models, model_folder

NAME = ".journal.jsonl"


def job_digest(recipe: Recipe, *, key_check: str, inputs: str) -> str:
    """What must be the same for a job to go on: recipe, key, and all that the first pass read."""
    return digest_hex({"recipe": repr(recipe), "key": key_check, "inputs": inputs})


def software_digest(recipe: Recipe) -> str:
    """What decides and must be the same for a job to go on: the enclave and libraries by their versions, the models
    that ``recipe`` asks for and the filter of the decoders by their bytes, the editions of the rules."""
    tools = {**tool_versions(long_text=recipe.long_text), "table": table_edition()}
    if "clean_pixel_data" in recipe.options:
        tools["text network sha256"] = _text_network()
    return digest_hex(tools)


def _text_network() -> str:
    """'none' where it is not installed: no image can be looked at there, and once it is, others are decided by it."""
    try:
        return check_models(model_folder())
    except UnavailableError:
        return "none"


class Journal:
    """One line per finished file, and per image that was looked at before; a torn last line is left out.

    Held by one job at a time.

    Raises ``ConflictError`` when another process works in the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._done: dict[int, Outcome] = {}
        self._looked: dict[int, Layout] = {}
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ConflictError("deid: wanted an output folder for one job, got one where another works now") from None

    def begin(self, digest: str, *, software: str) -> None:
        """Loads what a job of the same ``digest`` did before; raises ``ConflictError`` when that was another job, or
        when other ``software`` did it: what that decided, this one might decide otherwise."""
        self._file.seek(0)
        data = self._file.read()
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            os.ftruncate(self._file.fileno(), len(data) - len(torn))
        lines = whole.splitlines()
        if not lines:
            self._line({"job": digest, "software": software})
            return
        began = json.loads(lines[0])
        if began.get("software") != software:
            raise ConflictError(
                "deid --resume: wanted the software that this job began with, got another (the enclave, a library or a"
                " model was changed since), which may decide otherwise; run the whole job into a new folder",
                code="software_changed",
            )
        if began.get("job") != digest:
            raise ConflictError(
                "deid --resume: wanted the same input, recipe and key as before, got others; use a new folder"
            )
        for line in lines[1:]:
            fields = json.loads(line)
            if "looked" in fields:
                layout = Layout.from_json(fields["looked"])
                self._looked[layout.index] = layout
                continue
            fields["redactions"] = [tuple(pair) for pair in fields["redactions"]]
            outcome = Outcome(**fields)
            self._done[outcome.index] = outcome

    def done(self, index: int, fingerprint: str, *, path: Path) -> Outcome | None:
        """The outcome of the file at ``path`` that was finished before; None when it was not, or failed, or when the
        bytes of it or of what was made of it are others since."""
        outcome = self._done.get(index)
        if outcome is None or outcome.fingerprint != fingerprint or outcome.reason == "failed":
            return None
        if not outcome.input_sha256 or sha256_of(path) != outcome.input_sha256:
            return None
        made = sha256_of(self._path.parent / outcome.path) if outcome.path else outcome.output_sha256
        return outcome if made == outcome.output_sha256 else None

    def looked(self, index: int, fingerprint: str, *, path: Path) -> Layout | None:
        """What was seen in the image at ``path`` before; None when it was not looked at, or when its pixels or anything
        else in it are others since."""
        layout = self._looked.get(index)
        if layout is None or layout.fingerprint != fingerprint:
            return None
        return layout if layout.pixels and layout.pixels == pixels_of(path) else None

    def add(self, outcome: Outcome) -> None:
        """Remembers a finished file."""
        self._line(outcome.to_json())

    def add_look(self, layout: Layout) -> None:
        """Remembers what was seen in an image."""
        self._line({"looked": layout.to_json()})

    def close(self) -> None:
        """Ends writing; the journal stays, so that a finished job can be asked again."""
        self._file.close()

    def _line(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value, sort_keys=True).encode() + b"\n")
        self._file.flush()
