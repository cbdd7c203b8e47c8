"""A graph of ONNX operations under construction: what layers are made of, one method each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sersl.core.errors import UserError
from sersl.models.layers import EPSILON

OPSET = 17  # the first with LayerNormalization; onnxruntime 1.12 and later run it
_MOST_IN_ONE_FILE = 1 << 30  # bytes; a protobuf ends at 2 GiB
NEVER = -1e30  # of a score that must not count


class Graph:
    """Nodes and constants; a value is the name that a method gave back."""

    def __init__(self):
        """Makes an empty graph.

        Raises:
          UserError: the package onnx is not installed.
        """
        try:
            import onnx
        except ImportError as error:
            raise UserError(
                "ONNX export needs the package onnx: pip install 'sersl[onnx]'"
            ) from error
        self._onnx = onnx
        self._nodes, self._constants, self._inputs, self._outputs = [], {}, [], []

    def input(self, name: str, dtype: type, shape: Sequence[str | int]) -> str:
        """Declares an input.

        Args:
          name: of the input.
          dtype: of numpy.
          shape: lengths; strings are dimensions that vary.

        Returns:
          The name.
        """
        self._inputs.append(self._declare(name, dtype, shape))
        return name

    def output(self, name: str, value: str, shape: Sequence[str | int]) -> None:
        """Gives a float32 value to the outside.

        Args:
          name: of the output.
          value: name of the value.
          shape: lengths; strings are dimensions that vary.
        """
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._declare(name, np.float32, shape))

    def op(self, kind: str, *values, **attributes) -> str:
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
        self._nodes.append(self._onnx.helper.make_node(kind, names, [name], **attributes))
        return name

    def constant(self, value) -> str:
        """Stores an array; Python floats become float32, ints int64; equal ones are stored once."""
        array = np.asarray(value)
        return self._store(array.astype(np.float32) if array.dtype == np.float64 else array)

    def linear(self, x: str, params: Mapping) -> str:
        """x W + b over the last dimension.

        Args:
          x: [..., I].
          params: kernel [I, O] and, where there is one, bias [O].

        Returns:
          [..., O].
        """
        product = self.op("MatMul", x, params["kernel"])
        return self.op("Add", product, params["bias"]) if "bias" in params else product

    def convolution(self, x: str, params: Mapping, **attributes) -> str:
        """A convolution over time.

        Args:
          x: [B, I, T].
          params: kernel [taps, I, O] and, where there is one, bias [O].
          **attributes: of ONNX's Conv: strides, pads, group.

        Returns:
          [B, O, T'].
        """
        kernel = np.ascontiguousarray(params["kernel"].transpose(2, 1, 0))
        bias = [params["bias"]] if "bias" in params else []
        return self.op("Conv", x, kernel, *bias, **attributes)

    def layer_norm(self, x: str, params: Mapping) -> str:
        """LayerNorm of the last dimension.

        Args:
          x: [..., D].
          params: scale [D] and bias [D].

        Returns:
          [..., D].
        """
        return self.op(
            "LayerNormalization", x, params["scale"], params["bias"], axis=-1, epsilon=EPSILON
        )

    def standardize(self, x: str, width: int) -> str:
        """Zero mean and unit variance of the last dimension.

        Args:
          x: [..., D].
          width: D.

        Returns:
          [..., D].
        """
        one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.layer_norm(x, {"scale": one, "bias": zero})

    def gelu(self, x: str) -> str:
        """The exact GELU."""
        erf = self.op("Erf", self.op("Mul", x, float(np.sqrt(0.5))))
        return self.op("Mul", self.op("Mul", x, 0.5), self.op("Add", erf, 1.0))

    def size(self, x: str, axis: int) -> str:
        """The length of a dimension.

        Args:
          x: any shape.
          axis: which.

        Returns:
          Int64 [1].
        """
        return self.op("Gather", self.op("Shape", x), [axis], axis=0)

    def reshape(self, x: str, *dimensions) -> str:
        """Reshapes.

        Args:
          x: any shape.
          *dimensions: 0 keeps one, -1 takes the rest, a name is a length, int64 [1].

        Returns:
          The same numbers in that shape.
        """
        parts = [d if isinstance(d, str) else self.constant([d]) for d in dimensions]
        return self.op("Reshape", x, self.op("Concat", *parts, axis=0))

    def transpose(self, x: str, *order: int) -> str:
        """Brings dimensions into another order.

        Args:
          x: any shape.
          *order: of the dimensions.

        Returns:
          The same numbers in that order.
        """
        return self.op("Transpose", x, perm=list(order))

    def expand(self, x: str, *axes: int) -> str:
        """Puts in dimensions of 1.

        Args:
          x: any shape.
          *axes: their places in the result.

        Returns:
          The same numbers.
        """
        return self.op("Unsqueeze", x, list(axes))

    def squeeze(self, x: str, *axes: int) -> str:
        """Takes dimensions of 1 away.

        Args:
          x: any shape.
          *axes: their places.

        Returns:
          The same numbers.
        """
        return self.op("Squeeze", x, list(axes))

    def cut(self, x: str, start, end, axis: int) -> str:
        """Takes a part of a dimension.

        Args:
          x: any shape.
          start: first place; a name is an int64 [1].
          end: place after the last; a name is an int64 [1].
          axis: of the dimension.

        Returns:
          That part.
        """
        ends = [e if isinstance(e, str) else [e] for e in (start, end)]
        return self.op("Slice", x, *ends, [axis])

    def sum(self, x: str, *axes: int, keep: bool = False) -> str:
        """Sums over dimensions.

        Args:
          x: any shape.
          *axes: which.
          keep: them, with a length of 1.

        Returns:
          The sums.
        """
        return self.op("ReduceSum", x, list(axes), keepdims=int(keep))

    def zero_unless(self, seen: str, x: str) -> str:
        """Zeroes what a condition does not hold for.

        Args:
          seen: bool, of a shape that fits x.
          x: any shape.

        Returns:
          Like x.
        """
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
        """Marks the first places of rows.

        Args:
          count: int64 [B], how many.
          length: int64 [1], of a row.

        Returns:
          Bool [B, length].
        """
        numbers = self.op("Range", 0, self.squeeze(length, 0), 1)
        return self.op("Less", self.expand(numbers, 0), self.expand(count, 1))

    def save(self, path: Path, *, name: str) -> None:
        """Checks the graph and writes it; weights beyond 1 GiB go into a file beside it.

        Args:
          path: of the file to write.
          name: of the graph.
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
            ir_version=8,  # of opset 17; a newer one would shut out older runtimes for nothing
        )
        if size > _MOST_IN_ONE_FILE:
            onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data")
        else:
            onnx.save_model(model, path)
        onnx.checker.check_model(str(path), full_check=True)

    def _store(self, array: np.ndarray) -> str:
        if array.ndim:  # a scalar would come back as a vector
            array = np.ascontiguousarray(array)
        small = array.size < 64
        key = (array.dtype.str, array.shape, array.tobytes() if small else len(self._constants))
        if key not in self._constants:
            self._constants[key] = (f"constant_{len(self._constants)}", array)
        return self._constants[key][0]

    def _declare(self, name, dtype, shape):
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))
