"""The pixels of a file as pydicom gives them; what is compressed is decoded in another process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from enclave.deid.frames import open_frames
from enclave.deid.pixel_form import Array
from enclave.deid.quiet import quiet_parsing
from enclave.deid.reading import read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.source import open_source


def pixel_array(path: Path) -> Array:
    """([frames,] rows, columns[, samples]); raises ``Quarantined``, or what pydicom raises, when nothing decodes it."""
    with open_source(path) as source:
        instance = read_instance(source)
        if not instance.syntax.is_encapsulated:
            with quiet_parsing():
                return np.asarray(pydicom.dcmread(path).pixel_array)
        if len(instance.pixels) != 1:
            raise Quarantined("pixels_irregular")
        frames = open_frames(source, instance.tree, instance.pixels[0], syntax=instance.syntax)
        found = np.stack(list(frames))
        form = frames.form
    if form.signed:
        found = found.view(found.dtype.str.replace("u", "i"))
    found = found if form.samples > 1 else found[..., 0]
    return found if form.frames > 1 else found[0]
