"""The text network: models of the locked rapidocr wheel, checked by hash, given by path so that nothing is fetched.

Detection is that of PP-OCRv6 (Apache-2.0), run by OpenVINO, which takes a fourth of the time; reading a line is its
recogniser, run by rapidocr. Both use one thread and numbers of 32 bits: where a processor could be faster with fewer
bits, boxes would depend on the machine.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from enclave.core.errors import UnavailableError
from enclave.detectors.pixel_text.boxes import Box
from enclave.detectors.reviewed import check_reviewed

Array = np.ndarray[Any, Any]
PACKAGE = "rapidocr"
_DETECTOR, _READER, _TURNER = (
    "PP-OCRv6_det_small.onnx",
    "PP-OCRv6_rec_small.onnx",
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
)
_STRIDE = 32  # pixels of the picture to one cell of the network's deepest layer
_PIXEL_SCORE, _BOX_SCORE = 0.2, 0.3
_UNCLIP = 0.6  # the network marks the core of a line; more than this covers anatomy
_SHADES = np.float32(2 / 255) * np.arange(256, dtype=np.float32) - np.float32(1)  # of the pictures it learned from
_ONE_THREAD = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,  # workers of one job would share a processor and leave another idle
    "INFERENCE_PRECISION_HINT": "f32",
}


class Candidate(NamedTuple):
    """Where the network sees text, and how sure it is (0 to 1)."""

    box: Box
    score: float


class TextNetwork(Protocol):
    """Finds lines of text in pictures of eight bits, and reads them."""

    def find(self, picture: Array) -> list[Candidate]:
        """Lines of text in one picture."""
        ...

    def read(self, crops: Sequence[Array]) -> list[tuple[str, float]]:
        """The text of each crop with how sure the reader is."""
        ...

    def warm(self) -> None:
        """Loads at once what is loaded at the first use otherwise."""
        ...


def model_folder() -> Path:
    """Where the models stand; raises ``UnavailableError`` when the package is not installed. Runs none of its code."""
    found = importlib.util.find_spec(PACKAGE)
    folder = Path(found.origin).parent / "models" if found is not None and found.origin else None
    if folder is None or not folder.is_dir():
        raise UnavailableError(
            "text network: wanted the package rapidocr 3.10, got none; install the locked requirements",
            code="model_missing",
        )
    return folder


def check_models(folder: Path) -> str:
    """The digest of the models; raises ``IntegrityError`` unless each is the byte sequence that was reviewed."""
    return check_reviewed(folder, files("enclave.detectors.pixel_text").joinpath("models.sha256"), name="text network")


@functools.cache
def open_network() -> TextNetwork:
    """The checked network of this process, loaded at the first call (about a second, 250 MB); it uses one thread."""
    folder = model_folder()
    check_models(folder)
    return _PpOcr(folder)


class _PpOcr:
    def __init__(self, folder: Path) -> None:
        import cv2
        from rapidocr.ch_ppocr_det.utils import DBPostProcess

        cv2.setNumThreads(1)
        self._folder = folder
        self._after = DBPostProcess(thresh=_PIXEL_SCORE, box_thresh=_BOX_SCORE, unclip_ratio=_UNCLIP, use_dilation=True)

    @functools.cached_property
    def _detect(self) -> Callable[[Array], Array]:
        """Compiled at the first picture: that starts threads, which a process forked later would lack."""
        check_models(self._folder)
        return _detector(self._folder / _DETECTOR)

    @functools.cached_property
    def _reader(self) -> Any:
        """Opened at the first line that is read: many jobs find none short enough."""
        check_models(self._folder)
        return _reader(self._folder)

    def warm(self) -> None:
        """Loads at once, of what is loaded at the first use otherwise, all that starts no thread."""
        import openvino  # noqa: F401 - a quarter of a second

        _ = self._reader

    def find(self, picture: Array) -> list[Candidate]:
        """Lines of text in one picture."""
        height, width = picture.shape
        padded = np.pad(picture, ((0, -height % _STRIDE), (0, -width % _STRIDE)), mode="edge")
        marks = self._detect(np.repeat(_SHADES[padded][None, None], 3, axis=1))
        corners, scores = self._after(marks, padded.shape)
        return [
            Candidate(_hull(four).within(width=width, height=height), float(score))
            for four, score in zip(corners, scores, strict=True)
        ]

    def read(self, crops: Sequence[Array]) -> list[tuple[str, float]]:
        """The text of each crop with how sure the reader is."""
        from rapidocr.ch_ppocr_rec import TextRecInput

        if not crops:
            return []
        found = self._reader(TextRecInput(img=[np.repeat(crop[..., None], 3, axis=2) for crop in crops]))
        return [(str(text), float(score)) for text, score in zip(found.txts, found.scores, strict=True)]


def _detector(model: Path) -> Callable[[Array], Array]:
    """The compiled detector: pictures of numbers, 1 by 3 by rows by columns, to marks from 0 to 1."""
    import openvino

    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", _ONE_THREAD).create_infer_request()

    def detect(pictures: Array) -> Array:
        request.infer([pictures])
        marks: Array = request.get_output_tensor().data
        return marks

    return detect


def _reader(folder: Path) -> Any:
    from rapidocr import RapidOCR
    from rapidocr.ch_ppocr_rec import TextRecognizer

    engine = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.model_root_dir": str(folder),
            "Det.model_path": str(folder / _DETECTOR),
            "Rec.model_path": str(folder / _READER),
            "Cls.model_path": str(folder / _TURNER),
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
    settings = engine.cfg.Rec
    settings.engine_cfg = engine.cfg.EngineConfig[settings.engine_type.value]
    settings.model_root_dir = str(folder)
    settings.font_path = None
    return TextRecognizer(settings)


def _hull(corners: Array) -> Box:
    x, y = corners[:, 0], corners[:, 1]
    return Box(int(np.floor(x.min())), int(np.floor(y.min())), int(np.ceil(x.max())), int(np.ceil(y.max())))
