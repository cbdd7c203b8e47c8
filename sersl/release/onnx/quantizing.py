"""The ONNX graph with int8 weights, and how far its answers are from those in float32."""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.core.files import write_json
from sersl.corpora.synthetic.speech import utterances
from sersl.release.onnx.exporting import ENCODER, FILE
from sersl.release.onnx.graph import onnx_package

INT8_FILE, INT8_REPORT = "model_int8.onnx", "int8.json"
_SPEAKERS, _UTTERANCES = 4, 4  # of the synthetic speech that is compared


def runtime() -> ModuleType:
    """Imports onnxruntime and its quantization; raises UserError where it is not installed."""
    try:
        import onnxruntime
        import onnxruntime.quantization
    except ImportError as error:
        raise UserError(
            "--int8 and --triton need the package onnxruntime, which is missing: "
            f"{install_hint('onnx')}"
        ) from error
    return onnxruntime


def write_int8(folder: Path) -> dict[str, Any]:
    """Writes the graph with int8 products in the linear layers of the encoder.

    Kernels have one scale per output, and inputs one for each call. Features and heads stay in
    float32: 8 bits of a power spectrum leave nothing of its quiet bands.

    Args:
      folder: that holds the graph in float32.

    Returns:
      What differs, also in `int8.json`: `utterances` compared, `category_unchanged` of them (None
      without categories), `largest_difference` of each output, and `bytes` and `float32_bytes`.

    Raises:
      UserError: the encoder has no linear layers.
    """
    quantization = runtime().quantization
    graph = onnx_package().load(folder / FILE, load_external_data=False).graph
    layers = [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and node.name.startswith(f"{ENCODER}/")
    ]
    if not layers:
        raise UserError(
            "--int8 is for the linear layers of an encoder, and this one has none: leave it out"
        )
    logging.disable(logging.WARNING)  # it advises a preparation that changes nothing here
    try:
        quantization.quantize_dynamic(
            folder / FILE,
            folder / INT8_FILE,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=layers,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            use_external_data_format=(folder / f"{FILE}.data").is_file(),
        )
    finally:
        logging.disable(logging.NOTSET)
    report = _compare(folder)
    for key, name in (("bytes", INT8_FILE), ("float32_bytes", FILE)):
        report[key] = sum(path.stat().st_size for path in folder.glob(f"{name}*"))
    write_json(folder / INT8_REPORT, report)
    return report


def _compare(folder: Path) -> dict[str, Any]:
    sessions = [
        runtime().InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        for name in (FILE, INT8_FILE)
    ]
    names = [output.name for output in sessions[0].get_outputs()]
    differences = dict.fromkeys(names, 0.0)
    number, unchanged = 0, 0
    for one in utterances(num_speakers=_SPEAKERS, utterances_per_speaker=_UTTERANCES):
        waveform = np.asarray(one.waveform, np.float32)[None]
        feed = {"waveform": waveform, "num_samples": np.array([waveform.shape[1]])}
        exact, rounded = (dict(zip(names, s.run(None, feed), strict=True)) for s in sessions)
        for name in names:
            largest = float(np.abs(exact[name] - rounded[name]).max())
            differences[name] = max(differences[name], largest)
        number += 1
        if "category" in names:
            unchanged += int(exact["category"].argmax() == rounded["category"].argmax())
    return {
        "utterances": number,
        "category_unchanged": unchanged if "category" in names else None,
        "largest_difference": differences,
    }
