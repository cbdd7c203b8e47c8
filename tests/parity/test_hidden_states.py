import jax
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

from sersl.core.lengths import num_frames
from sersl.models.positions import sinusoids
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


@pytest.mark.parametrize("name", ["wav2vec2 layer pre", "wavlm group post", "data2vec-audio"])
def test_encoder_when_cut_after_one_layer_then_hidden_states_of_transformers(tmp_path, name):
    assert cut_difference(tmp_path, name) < MOST


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["wav2vec2 group post", "hubert layer pre", "wavlm layer pre", "whisper"]
)
def test_encoder_of_other_families_when_cut_then_hidden_states_of_transformers(tmp_path, name):
    assert cut_difference(tmp_path, name) < MOST


def cut_difference(tmp_path, name):
    """Cuts a model after one layer of two; largest difference of hidden states 0 and 1."""
    model = peers.make(name)
    if "whisper" in name:  # the positions of published ones are sinusoids
        table = model.encoder.embed_positions.weight
        table.data = torch.from_numpy(sinusoids(*table.shape))
    peers.save(model, tmp_path / "source")
    cut = import_folder(tmp_path / "source", tmp_path / "model", layers=1, exact_window=True)
    post = cut.architecture.encoder.norm == "post"
    released = read_model(tmp_path / "model")
    assert (released.about["layout"] is None) != post
    assert ("whisper" in name) == (released.architecture.encoder.positions == "sinusoidal")
    speech = peers.waveforms(1.0)[0]
    states, _ = peers.hidden_states(model, peers.extractor(model), speech)
    found = run(released, [speech])[:, 0]
    assert len(found) == 2 and states[1].std() > 0.3
    if post:  # transformers loads it too
        again = transformers.AutoModel.from_pretrained(tmp_path / "model")
        own, _ = peers.hidden_states(again, peers.extractor(model), speech)
        np.testing.assert_allclose(own, states[:2], atol=MOST)
    frames = num_frames(len(speech))
    return np.abs(found[:, :frames] - states[:2, :frames]).max()


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
