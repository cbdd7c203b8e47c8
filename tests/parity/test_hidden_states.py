import jax
import numpy as np
import pytest
from flax import nnx

from sersl.core.lengths import num_frames
from sersl.release.folder import read_model
from sersl.release.huggingface.importing import import_folder
from sersl.release.predict.padding import padded_batch
from tests.parity import peers

# The promise to users; float32 of both sides over all layers.
MOST = 1e-4
BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": (512,) * 7,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}


def run(released, waveforms, *, length=None):
    """Runs an imported encoder on a padded batch: hidden states [L + 1, B, T, D]."""
    length = length or max(map(len, waveforms))
    batch = padded_batch(waveforms, rows=len(waveforms), length=length)
    graph = nnx.graphdef(released.architecture.build())

    def call(params, waveform, valid):
        model = nnx.merge(graph, nnx.State(params))
        encoder = model if released.architecture.heads is None else model.encoder
        return encoder(waveform, valid).hidden_states

    params = released.params
    if released.architecture.heads is None:
        params = params["encoder"]
    return np.asarray(jax.jit(call)(params, *batch))


@pytest.mark.parametrize(
    ("name", "do_normalize"),
    [(name, True) for name in peers.MODELS if "whisper" not in name]
    + [(name, False) for name in ("wav2vec2 group post", "whisper")]
    + [("whisper 128 mels", False)],
)
def test_hidden_states_when_imported_then_equal_to_transformers(tmp_path, name, do_normalize):
    worst = difference(tmp_path, peers.make(name), do_normalize=do_normalize)
    print(f"{name}, do_normalize={do_normalize}: {worst:.1e}")
    assert worst < MOST


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wav2vec2 group post", "wavlm layer pre"])
def test_hidden_states_when_of_base_size_then_equal_to_transformers(tmp_path, name):
    worst = difference(tmp_path, peers.make(name, **BASE), do_normalize=True)
    print(f"{name}, base size: {worst:.1e}")
    assert worst < MOST


def difference(tmp_path, model, *, do_normalize):
    """Imports a model; largest difference of any hidden state, alone and in a padded batch."""
    peers.save(model, tmp_path / "source", do_normalize=do_normalize)
    import_folder(tmp_path / "source", tmp_path / "model", exact_window=True)
    released = read_model(tmp_path / "model")
    speech = peers.waveforms(1.0, 0.63, 1.41)
    together = run(released, speech, length=24_080)
    preprocess = peers.extractor(model, do_normalize=do_normalize)
    worst = 0.0
    for row, waveform in enumerate(speech):
        frames = num_frames(len(waveform))
        states, last = peers.hidden_states(model, preprocess, waveform)
        answers = [together[:, row]]
        if row == 0:  # every length alone is a program to compile
            answers.append(run(released, [waveform])[:, 0])
        for found in (answer[:, :frames] for answer in answers):
            worst = max(
                worst,
                np.abs(found[:-1] - states[:-1, :frames]).max(),
                np.abs(found[-1] - last[:frames]).max(),
            )
        assert states[:, :frames].std() > 0.3  # something to compare
    return worst
