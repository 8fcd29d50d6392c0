"""``python -m benchmarks.pixels``: burned-in text, drawn and looked for; prints one JSON object.

The product runs as in a job: a file is read, decoded, looked at by both methods. presidio-image-redactor with Tesseract
runs over the same images when its environment is there (``make bench-pixels``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pixels import mammogram
from benchmarks.pixels.instance import compressed, look_at_pixels
from benchmarks.pixels.measure import Finder, measure

_NAMES = ["DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "STIXGeneral.ttf", "cmtt10.ttf"]
_OTHER = Path(".venv-bench-pixels/bin/python")
_FOLDERS = ("/usr/share/fonts", ".venv-kernel/lib")
SEED = 20261123  # of no image that rules were tuned on


def fonts() -> list[Path | None]:
    """Six fonts: five from this machine where they are there, and the one of Pillow."""
    found: list[Path | None] = [None]
    for name in _NAMES:
        paths = (path for folder in _FOLDERS if Path(folder).is_dir() for path in sorted(Path(folder).rglob(name)))
        first = next(paths, None)
        if first is not None:
            found.append(first)
    return found


class Contender:
    """Another tool, in its own environment and process; ``cpu_s`` is what it has taken."""

    def __init__(self, name: str) -> None:
        command = [str(_OTHER), str(Path(__file__).with_name("contender.py")), name]
        environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._spent = 0.0

    def cpu_s(self) -> float:
        """Processor seconds over all pictures."""
        return self._spent

    def __call__(self, pixels: np.ndarray[Any, Any]) -> Sequence[tuple[int, int, int, int]]:
        """The boxes that it would blank."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file, pixels)
            file.flush()
            self._process.stdin.write(f"{file.name}\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        self._spent += answer["cpu_s"]
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in answer["boxes"]]


def contender(name: str) -> Finder | None:
    """The other tool, None where it or Tesseract is not installed."""
    if not _OTHER.exists():
        return None
    found = Contender(name)
    try:
        found(np.zeros((64, 64), np.uint8))
    except (ValueError, OSError):
        return None
    return found


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--large", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--lossy", type=int, metavar="QUALITY", help="only the product, images after JPEG")
    parser.add_argument("--mammogram", type=int, metavar="SIDE", help="only one mammogram of so many rows and columns")
    options = parser.parse_args()
    if options.mammogram:
        print(json.dumps(mammogram.run(options.mammogram), indent=2))
        return
    chosen = fonts()
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "seed": options.seed,
        "fonts": [font.stem if font else "Aileron" for font in chosen],
    }
    finders: dict[str, Finder | None] = (
        {f"enclave, after JPEG at {options.lossy}": lambda pixels: look_at_pixels(compressed(pixels, options.lossy))}
        if options.lossy
        else {
            "enclave": look_at_pixels,
            "presidio-image-redactor": contender("presidio"),
            "tesseract, all words": contender("tesseract"),
        }
    )
    for name, finder in finders.items():
        if finder is None:
            report[name] = "not installed"
            continue
        report[name] = {
            size: measure(finder, count=count, size=size, seed=options.seed, fonts=chosen).to_json()
            for size, count in ((512, options.count), (2048, options.large))
            if count
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
