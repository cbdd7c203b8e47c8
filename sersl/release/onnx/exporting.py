"""A released model as an ONNX graph: waveform in; probabilities, dimensions and embedding out.

The graph contains everything, from the normalization of the waveform on. Inputs: `waveform`
[batch, samples] at 16 kHz, and `num_samples` [batch], the real ones of each row (at least 400),
so that rows of different lengths can be padded into one batch without changing an answer. Outputs:
`category` [batch, C], probabilities in the order of `categories` in sersl.json; `dimensions`
[batch, D] in the order of `dimensions`; `embedding` [batch, E]; with some losses also `vacuity` or
`open_set` [batch], `aleatoric` and `epistemic` [batch, D]. An encoder alone gives the mean of its
last layer as embedding, and nothing else. The metadata of the file has `categories`, `dimensions`
and `labels` of sersl.json as JSON.
"""

import json
from pathlib import Path

import numpy as np

from sersl.core.errors import UserError
from sersl.core.files import whole_folder
from sersl.release.folder import ReleasedModel
from sersl.release.onnx.encoder_graph import hidden_states_of
from sersl.release.onnx.frontend_graphs import frames_of
from sersl.release.onnx.graph import Graph
from sersl.release.onnx.head_graphs import add_categories, add_dimensions
from sersl.release.onnx.pooling_graphs import all_frames, mean_of_valid, pooled

FILE = "model.onnx"
ENCODER = "encoder"  # before the names of its nodes


def write_onnx(released: ReleasedModel, folder: str | Path) -> Path:
    """Writes a model as ONNX.

    Args:
      released: from `read_model`.
      folder: to write; an older one stays until the graph is complete.

    Returns:
      The file; weights of more than 1 GiB are in another beside it.

    Raises:
      UserError: the package onnx is missing, or a part of the model cannot be exported.
    """
    architecture, params = released.architecture, released.params
    if architecture.conversation is not None:
        raise UserError(
            f"a model with conversation.kind={architecture.conversation.kind} "
            "reads dialogues, and an ONNX graph takes single recordings: leave --onnx out"
        )
    if architecture.adaptation is not None:
        raise UserError(
            "an encoder with adaptation.method="
            f"{architecture.adaptation.method} cannot be written as ONNX: leave --onnx out, or "
            "train with adaptation.method=lora, which is merged into the weights"
        )
    if architecture.fusion is not None:
        raise UserError(
            f"a model with fusion.kind={architecture.fusion.kind} and further "
            "views cannot be written as ONNX: leave --onnx out"
        )
    graph = Graph()
    waveform = graph.input("waveform", np.float32, ("batch", "samples"))
    num_samples = graph.input("num_samples", np.int64, ("batch",))
    encoder = params["encoder"]
    graph.part = "frontend"
    frames = frames_of(graph, waveform, num_samples, architecture.frontend, encoder["frontend"])
    graph.part = ENCODER
    states = hidden_states_of(
        graph,
        frames,
        None if architecture.pools_window else waveform,
        architecture.encoder,
        encoder,
    )
    graph.part = "heads"
    heads, pooling = architecture.heads, architecture.pooling
    if heads is None or pooling is None:
        embedding = mean_of_valid(graph, states[-1], frames.valid)
        graph.output("embedding", embedding, ("batch", "width"))
    else:
        # The mean of the last layer has no parameters.
        pool_params = params.get("pooling", {})
        width = architecture.encoder.width
        valid = frames.valid
        if architecture.pools_window:
            valid = all_frames(graph, states[-1])
        embedding = pooled(graph, states, valid, pooling, pool_params, width)
        if architecture.categories:
            num = len(architecture.categories)
            add_categories(
                graph,
                embedding,
                heads,
                params["category"],
                num,
                multi=architecture.multi,
                temperature=released.labels.temperature,
            )
        if architecture.dimensions:
            num = len(architecture.dimensions)
            add_dimensions(graph, embedding, heads, params["dimensions"], num)
        graph.output("embedding", embedding, ("batch", "width"))
    folder = Path(folder)
    foreign = [path.name for path in folder.glob("*") if not path.name.startswith(FILE)]
    if foreign:
        raise UserError(f"{folder} also holds {foreign[0]!r}: give another folder for the graph")
    with whole_folder(folder) as partial:
        graph.save(
            partial / FILE,
            name=released.about["name"] or "sersl",
            metadata={
                "categories": json.dumps(architecture.categories),
                "dimensions": json.dumps(architecture.dimensions),
                "labels": json.dumps(released.labels.to_json()),
            },
        )
    return folder / FILE
