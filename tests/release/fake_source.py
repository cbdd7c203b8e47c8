"""A Hugging Face folder with random numbers, made without torch."""

import json

import numpy as np
from safetensors.numpy import save_file

from sersl.release.architecture import Architecture
from sersl.release.huggingface.settings import complete, settings
from sersl.release.huggingface.tensor_names import Layout, places, stored_shapes

CONFIG = {
    "model_type": "wav2vec2",
    "architectures": ["Wav2Vec2ForPreTraining"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [24] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
PREPROCESSOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "do_normalize": True,
    "feature_size": 1,
    "sampling_rate": 16000,
    "return_attention_mask": False,
}
LEFT_OVER = {
    "quantizer.codevectors": (1, 8, 4),
    "project_q.weight": (4, 8),
    "project_hid.bias": (4,),
}


def make_tensors(config=CONFIG, *, weight_norm="pair", prefix="wav2vec2.", seed=0):
    """Random tensors of the model of a config, by name; about the size of trained ones."""
    known = complete(config, where="config.json")
    frontend, encoder = settings(known, PREPROCESSOR, where="config.json")
    layout = Layout(model_type=config["model_type"], prefix=prefix, weight_norm=weight_norm)
    shapes = Architecture(frontend=frontend, encoder=encoder).shapes()
    where = places(shapes, layout, frontend, encoder)
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        for stored, size in stored_shapes(where[name], shape).items():
            scale = 0.3 if len(size) < 2 else np.prod(size[1:], dtype=float) ** -0.5
            tensors[stored] = (scale * rng.standard_normal(size, np.float32)).astype(np.float32)
            if stored.endswith(("weight_g", "original0")):
                tensors[stored] = np.abs(tensors[stored]) + 0.1
    return tensors


def write_source(folder, tensors=None, *, config=CONFIG, preprocessor=PREPROCESSOR):
    """Writes the folder; tensors are random by default, with what pretraining leaves behind."""
    folder.mkdir(parents=True, exist_ok=True)
    if tensors is None:
        tensors = make_tensors(config)
        tensors |= {name: np.ones(shape, np.float32) for name, shape in LEFT_OVER.items()}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
