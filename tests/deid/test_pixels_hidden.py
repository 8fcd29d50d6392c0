"""The benchmark's verdict on burned-in text goes by the pixels: blank or held back is right, anything left is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from benchmarks.deid.burned import KINDS, make_images, measure
from benchmarks.deid.score import is_hidden


@pytest.mark.parametrize("kind", ["ultrasound", "CT that says nothing"])
def test_only_a_blank_box_hides_what_was_drawn(tmp_path: Path, kind: str) -> None:
    truth, kinds = make_images(tmp_path, seed=1, each=1)
    file = next(file for file in truth.files if kinds[file.path] == kind)
    original = tmp_path / file.path
    for box in file.burned:
        x0, y0, x1, y1 = box
        middle = (x0 + x1) // 2
        for end, hidden in ((x0, False), (middle, False), (x1, True)):
            changed = pydicom.dcmread(original)
            pixels = np.array(changed.pixel_array)
            pixels[y0:y1, x0:end] = 0
            changed.PixelData = pixels.tobytes()
            assert is_hidden(changed, original, box=box) is hidden
        dimmed = pydicom.dcmread(original)
        dimmed.PixelData = (np.array(dimmed.pixel_array) // 2).tobytes()
        assert not is_hidden(dimmed, original, box=box)


@pytest.mark.slow
def test_drawn_text_is_hidden_whatever_the_header_says_and_clean_images_come_out_as_they_were(tmp_path: Path) -> None:
    found = measure(tmp_path, seed=2, each=3, size=192)
    assert json.loads(json.dumps(found)) == found
    for name, actions in found["kinds"].items():
        drawn = KINDS[name][5]
        right, total = actions["pixels_hidden" if drawn else "pixels_retained"]
        assert total
        assert right >= (total if drawn else total - 1), name
