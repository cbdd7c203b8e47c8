"""Builds a graph of ONNX operations; one method for each operation that layers are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.models.layers import EPSILON

if TYPE_CHECKING:
    import onnx

OPSET = 17  # the first with LayerNormalization; onnxruntime 1.12 and later run it
_MOST_IN_ONE_FILE = 1 << 30  # bytes; a protobuf ends at 2 GiB
NEVER = -1e30  # the score of a frame that must have no weight
T = TypeVar("T")
Constant = np.ndarray | float | Sequence[int]
Value = str | Constant
# Arrays of a layer by name; layers of a list by number.
Params = Mapping[Any, Any]


def implemented(setting: str, kind: str, known: Mapping[str, T]) -> T:
    """Chooses the graph of a kind by name.

    Args:
      setting: that names the kind, e.g. "pooling.kind".
      kind: its value.
      known: {kind: graph} of all that can be exported.

    Returns:
      The graph.

    Raises:
      UserError: the kind cannot be exported.
    """
    if kind not in known:
        raise UserError(
            f"{setting}={kind} cannot be exported to ONNX, only {', '.join(known)}: export without "
            "--onnx"
        )
    return known[kind]


def onnx_package() -> ModuleType:
    """Imports onnx; raises UserError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise UserError(f"ONNX export needs the package onnx: {install_hint('onnx')}") from error
    return onnx


class Graph:
    """Nodes and constants; a value is the name that a method returned."""

    def __init__(self) -> None:
        """Makes an empty graph; raises UserError where the package onnx is not installed."""
        self._onnx = onnx_package()
        self.part = ""  # of the model, before the names of its nodes
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes | int], tuple[str, np.ndarray]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[str | int]) -> str:
        """Declares an input; a string in the shape is a dimension that varies."""
        self._inputs.append(self._declare(name, dtype, shape))
        return name

    def output(self, name: str, value: str, shape: Sequence[str | int]) -> None:
        """Declares a float32 output; a string in the shape is a dimension that varies."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._declare(name, np.float32, shape))

    def op(self, kind: str, *values: Value, **attributes: Any) -> str:
        """Applies an operation with one output.

        Args:
          kind: of ONNX.
          *values: names, or arrays and numbers, which become constants.
          **attributes: of the operation.

        Returns:
          The name of the output.
        """
        names = [value if isinstance(value, str) else self.constant(value) for value in values]
        name = f"{kind}_{len(self._nodes)}"
        node = self._onnx.helper.make_node(
            kind, names, [name], name=f"{self.part}/{name}", **attributes
        )
        self._nodes.append(node)
        return name

    def constant(self, value: Constant) -> str:
        """Stores an array; Python floats become float32, ints int64; equal ones are stored once."""
        array = np.asarray(value)
        return self._store(array.astype(np.float32) if array.dtype == np.float64 else array)

    def linear(self, x: str, params: Params) -> str:
        """x W + b over the last dimension: [..., I] to [..., O] with kernel [I, O] and bias [O]."""
        product = self.op("MatMul", x, params["kernel"])
        return self.op("Add", product, params["bias"]) if "bias" in params else product

    def convolution(self, x: str, params: Params, **attributes: Any) -> str:
        """A convolution over time.

        Args:
          x: [B, I, T].
          params: kernel [taps, I, O] and optionally bias [O].
          **attributes: of ONNX's Conv: strides, pads, group.

        Returns:
          [B, O, T'].
        """
        kernel = np.ascontiguousarray(params["kernel"].transpose(2, 1, 0))
        bias = [params["bias"]] if "bias" in params else []
        return self.op("Conv", x, kernel, *bias, **attributes)

    def layer_norm(self, x: str, params: Params) -> str:
        """LayerNorm of the last dimension, with scale [D] and bias [D]."""
        return self.op(
            "LayerNormalization", x, params["scale"], params["bias"], axis=-1, epsilon=EPSILON
        )

    def standardize(self, x: str, width: int) -> str:
        """Zero mean and unit variance of the last dimension, which has a length of `width`."""
        one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.layer_norm(x, {"scale": one, "bias": zero})

    def gelu(self, x: str) -> str:
        """The exact GELU."""
        erf = self.op("Erf", self.op("Mul", x, float(np.sqrt(0.5))))
        return self.op("Mul", self.op("Mul", x, 0.5), self.op("Add", erf, 1.0))

    def size(self, x: str, axis: int) -> str:
        """The length of a dimension: int64 [1]."""
        return self.op("Gather", self.op("Shape", x), [axis], axis=0)

    def reshape(self, x: str, *dimensions: str | int) -> str:
        """Reshapes: 0 keeps a dimension, -1 takes the rest, a name is a length, int64 [1]."""
        parts = [d if isinstance(d, str) else self.constant([d]) for d in dimensions]
        return self.op("Reshape", x, self.op("Concat", *parts, axis=0))

    def transpose(self, x: str, *order: int) -> str:
        """Permutes dimensions."""
        return self.op("Transpose", x, perm=list(order))

    def expand(self, x: str, *axes: int) -> str:
        """Inserts dimensions of length 1 at these places of the result."""
        return self.op("Unsqueeze", x, list(axes))

    def squeeze(self, x: str, *axes: int) -> str:
        """Removes dimensions of length 1."""
        return self.op("Squeeze", x, list(axes))

    def cut(self, x: Value, start: str | int, end: str | int, axis: int) -> str:
        """Slices a dimension from `start` to before `end`; a name is an int64 [1]."""
        ends: list[Value] = [e if isinstance(e, str) else [e] for e in (start, end)]
        return self.op("Slice", x, *ends, [axis])

    def sum(self, x: str, *axes: int, keep: bool = False) -> str:
        """Sums over dimensions; `keep` keeps them, with a length of 1."""
        return self.op("ReduceSum", x, list(axes), keepdims=int(keep))

    def zero_unless(self, seen: str, x: str) -> str:
        """Sets x to zero where `seen`, bool of a shape that broadcasts to that of x, is false."""
        return self.op("Where", seen, x, 0.0)

    def as_float(self, x: str) -> str:
        """Casts to float32."""
        return self.op("Cast", x, to=self._onnx.TensorProto.FLOAT)

    def as_double(self, x: str) -> str:
        """Casts to float64."""
        return self.op("Cast", x, to=self._onnx.TensorProto.DOUBLE)

    def double(self, array: np.ndarray) -> str:
        """Stores an array of any shape in float64."""
        return self._store(np.asarray(array, np.float64))

    def first(self, count: str, length: str) -> str:
        """Marks the first `count` (int64 [B]) places of rows of `length`: bool [B, length]."""
        numbers = self.op("Range", 0, self.squeeze(length, 0), 1)
        return self.op("Less", self.expand(numbers, 0), self.expand(count, 1))

    def save(self, path: Path, *, name: str, metadata: Mapping[str, str]) -> None:
        """Checks the graph and writes it; weights beyond 1 GiB go into a file beside it.

        Args:
          path: of the file to write.
          name: of the graph.
          metadata: texts by name, which runtimes give with the graph.
        """
        onnx = self._onnx
        size = sum(array.nbytes for _, array in self._constants.values())
        graph = onnx.helper.make_graph(
            self._nodes,
            name,
            self._inputs,
            self._outputs,
            [onnx.numpy_helper.from_array(a, n) for n, a in self._constants.values()],
        )
        model = onnx.helper.make_model(
            graph,
            producer_name="sersl",
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=8,  # of opset 17; older runtimes refuse a newer one
        )
        onnx.helper.set_model_props(model, dict(metadata))
        if size > _MOST_IN_ONE_FILE:
            onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data")
        else:
            onnx.save_model(model, path)
        onnx.checker.check_model(str(path), full_check=True)

    def _store(self, array: np.ndarray) -> str:
        if array.ndim:  # a scalar would come back as a vector
            array = np.ascontiguousarray(array)
        content = array.tobytes() if array.size < 64 else len(self._constants)
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            self._constants[key] = (f"constant_{len(self._constants)}", array)
        return self._constants[key][0]

    def _declare(
        self, name: str, dtype: type[np.generic], shape: Sequence[str | int]
    ) -> "onnx.ValueInfoProto":
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))
