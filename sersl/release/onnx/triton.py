"""A model repository for NVIDIA Triton: the ONNX graph and its config.pbtxt.

triton/<name>/config.pbtxt
triton/<name>/1/model.onnx

`tritonserver --model-repository=triton` serves it with the backend onnxruntime. `max_batch_size` is
0, so the dimensions in the config are those of the graph, batch included.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from sersl.release.onnx.exporting import FILE
from sersl.release.onnx.quantizing import runtime

CONFIG_FILE = "config.pbtxt"
_VERSION = "1"
_TYPES = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}


def write_triton(graph: Path, folder: Path, *, name: str) -> Path:
    """Writes a model repository with one model.

    Args:
      graph: ONNX file; weights in another file beside it are copied too.
      folder: of the repository.
      name: of the model; characters that Triton does not take become "_".

    Returns:
      The folder of the model.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "_", name) or "model"
    model = folder / name
    (model / _VERSION).mkdir(parents=True)
    for file in graph.parent.glob(f"{FILE}*"):
        shutil.copyfile(file, model / _VERSION / file.name)
    # The shapes that the runtime of the server finds, with which it compares the config.
    session = runtime().InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    def entry(value: Any) -> str:
        sizes = ", ".join(str(size) if isinstance(size, int) else "-1" for size in value.shape)
        return (
            f'  {{\n    name: "{value.name}"\n    data_type: {_TYPES[value.type]}\n'
            f"    dims: [ {sizes} ]\n  }}"
        )

    inputs = ",\n".join(entry(value) for value in session.get_inputs())
    outputs = ",\n".join(entry(value) for value in session.get_outputs())
    (model / CONFIG_FILE).write_text(
        f'name: "{name}"\n'
        'backend: "onnxruntime"\n'
        f'default_model_filename: "{FILE}"\n'
        "max_batch_size: 0\n"
        f"input [\n{inputs}\n]\n"
        f"output [\n{outputs}\n]\n",
        encoding="utf-8",
    )
    return model
