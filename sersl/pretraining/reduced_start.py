"""Weights of a smaller encoder for a run to start from, fitted on audio of its corpora."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from sersl.config.schema import MeshConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import HOP, SAMPLE_RATE, num_frames, num_samples
from sersl.core.seeds import generator
from sersl.data.sources import CorpusSource, DamagedRecordError
from sersl.parallel.mesh import make_mesh
from sersl.pretraining.reduction import first_layers, reduce_encoder, reduced_encoder
from sersl.runs.initial_weights import InitialWeights


def with_reduced_sizes(config: PretrainConfig, weights: InitialWeights) -> InitialWeights:
    """Gives the settings of the smaller encoder to the weights, which stay those of the larger.

    Raises:
      UserError: see `reduced_encoder`.
    """
    return dataclasses.replace(weights, encoder=reduced_encoder(weights, config.encoder))


def reduced_start(
    config: PretrainConfig,
    weights: InitialWeights,
    sources: Sequence[CorpusSource],
    say: Callable[[str], None],
) -> InitialWeights:
    """Fits the smaller encoder; the same weights in every process.

    Args:
      config: of the run.
      weights: of the larger encoder.
      sources: corpora, without copies.
      say: called with lines for people.

    Raises:
      UserError: see `reduced_encoder`; or there is less audio than channels to fit.
    """
    encoder = reduced_encoder(weights, config.encoder)
    if (cut := first_layers(weights, encoder)) is not None:
        say(f"the first {encoder.num_layers} layers of {weights.source} are taken as they are")
        return cut
    seconds = config.reduction.seconds
    waveform, valid = _pieces(config, sources)
    found = int(num_frames(valid.sum(1)).sum())
    needed = 4 * encoder.width
    if found < needed:
        raise UserError(
            f"reduction.seconds={seconds:g} finds {found} frames of 20 ms in the corpora, and "
            f"encoder.width={encoder.width} needs {needed}: raise it, or add corpora"
        )
    say(f"reducing the encoder of {weights.source} on {valid.sum() / SAMPLE_RATE:.0f} s of audio")
    with jax.set_mesh(make_mesh(MeshConfig(), jax.local_devices()[:1])):
        return reduce_encoder(weights, encoder, waveform, valid, say)


def _pieces(
    config: PretrainConfig, sources: Sequence[CorpusSource]
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pieces of utterances until they have so many seconds: [B, N] waveform and valid."""
    most = num_samples(num_frames(round(config.reduction.crop_seconds * SAMPLE_RATE)))
    rng = generator(config.train.seed, "reduction")
    places = [(source, row) for source in sources for row in range(len(source))]
    lengths = np.concatenate([source.num_samples for source in sources])
    # An utterance of twice the length is drawn twice as often.
    order = np.argsort(rng.exponential(size=len(lengths)) / np.minimum(lengths, 10 * most))
    waveforms, total = [], 0
    for place in order.tolist():
        source, row = places[place]
        length = min(int(lengths[place]), most)
        start = HOP * int(rng.integers((int(lengths[place]) - length) // HOP + 1))
        try:
            waveforms.append(source.waveform(row, start=start, num_samples=length))
        except DamagedRecordError:
            continue  # training counts and lists them
        total += length
        if total >= config.reduction.seconds * SAMPLE_RATE:
            break
    waveform = np.zeros((len(waveforms), most), np.float32)
    valid = np.zeros(waveform.shape, bool)
    for number, own in enumerate(waveforms):
        waveform[number, : len(own)], valid[number, : len(own)] = own, True
    return waveform, valid
