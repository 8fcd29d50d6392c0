"""Writes the streams beside it, which no package of the lock can encode.

``PYTHONPATH=tests/support python tests/deid/streams/make.py`` in an environment with imagecodecs 2026.3, pydicom and
Pillow. The picture is that of ``text_images``, whose people do not exist; its noise has a fixed seed.
"""

from pathlib import Path

import imagecodecs
from text_images import deep

STREAMS = {
    "jpeg_extended_12_bits": ("jpeg8", {"level": 90, "bitspersample": 12}),
    "jpeg_lossless": ("jpeg8", {"lossless": True, "bitspersample": 12, "predictor": 6}),
    "jpeg_lossless_sv1": ("jpeg8", {"lossless": True, "bitspersample": 12, "predictor": 1}),
    "htj2k_lossless": ("htj2k", {"reversible": True}),  # its progression is RPCL
    "htj2k": ("htj2k", {"level": 0.0005, "reversible": False}),
}

for name, (codec, how) in STREAMS.items():
    stream = bytes(getattr(imagecodecs, f"{codec}_encode")(deep(), **how))
    Path(__file__).with_name(f"{name}.bin").write_bytes(stream)
