"""Trains the strength network on intensities of utterances."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sersl.annotation.strength import StrengthInput, StrengthNetwork, StrengthOutput, strength_input
from sersl.config.annotation import StrengthConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE, num_frames, num_samples
from sersl.core.seeds import generator

_CLIP = 1.0  # largest norm of the gradient
_THREADS = 4  # that decode
_AHEAD = 3  # batches read before they are needed

Progress = Callable[[int, int, dict[str, float]], None]


class StrengthTargets(NamedTuple):
    """Targets of a batch.

    Attributes:
      intensity: float32 [B] in 0..1, NaN unknown.
      category: int32 [B], -1 unknown.
    """

    intensity: jax.Array | np.ndarray
    category: jax.Array | np.ndarray


@dataclass(frozen=True)
class Example:
    """An utterance to train on.

    Attributes:
      read: (first sample, number of samples) -> [n] float32 at 16 kHz.
      num_samples: of the utterance.
      intensity: 0..1, NaN unknown.
      category: index, -1 unknown.
      mean: [2 M], subtracted from the features.
      deviation: [2 M], by which they are divided.
    """

    read: Callable[[int, int], np.ndarray]
    num_samples: int
    intensity: float
    category: int
    mean: np.ndarray
    deviation: np.ndarray


def strength_loss(
    output: StrengthOutput, inputs: StrengthInput, targets: StrengthTargets, config: StrengthConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the loss of the strength network.

    Args:
      output: of the network, float [B, T], [B] and [B, C].
      inputs: that it was computed from, [B, T] frames.
      targets: intensity [B] and category [B].
      config: weights of the terms.

    Returns:
      The loss, and its terms: mean absolute error of utterances, of frames (the target is 0 in
      silence, the utterance's intensity elsewhere), and cross-entropy of the categories; each is a
      mean over known targets, 0 without any.

    Source: StrengthNet (Liu, Sisman, Li 2021), three terms of weight 1.
    """
    known = ~jnp.isnan(jnp.asarray(targets.intensity))
    intensity = jnp.where(known, targets.intensity, 0.0)
    utterance = _mean(jnp.abs(output.utterance - intensity), known)
    wanted = jnp.where(inputs.active, intensity[:, None], 0.0)
    frames = _mean(jnp.abs(output.frames - wanted), inputs.valid & known[:, None])
    terms = {"utterance": utterance, "frames": frames}
    loss = config.utterance_weight * utterance + config.frame_weight * frames
    if output.category.shape[1]:
        label = jnp.maximum(targets.category, 0)
        entropy = optax.softmax_cross_entropy_with_integer_labels(output.category, label)
        terms["category"] = _mean(entropy, jnp.asarray(targets.category) >= 0)
        loss += config.category_weight * terms["category"]
    return loss, terms


def train_strength(
    examples: Sequence[Example],
    config: StrengthConfig,
    *,
    num_categories: int,
    progress: Progress | None = None,
) -> StrengthNetwork:
    """Trains a network from scratch.

    Batch and crop of every step follow from the seed and the step.

    Args:
      examples: utterances; those shorter than a frame are left out.
      config: sizes, weights, steps.
      num_categories: C.
      progress: called every 20 steps with (steps done, all steps, terms of the loss).

    Returns:
      The trained network.

    Raises:
      UserError: no utterance has a known intensity.
    """
    examples = [e for e in examples if num_frames(e.num_samples) > 0]
    if not any(np.isfinite(e.intensity) for e in examples):
        raise UserError(
            "no utterance has a known intensity: fit a ranker and give it as strength.ranker, or "
            "use a corpus with intensities"
        )
    network = StrengthNetwork(
        config, num_categories=num_categories, key=jax.random.key(config.seed)
    )
    graph, params = nnx.split(network)
    warmup = max(1, config.num_steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, max(config.num_steps, warmup + 1)
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(_CLIP), optax.adamw(schedule, weight_decay=config.weight_decay)
    )
    state = (params, optimizer.init(params))

    @jax.jit
    def update(state, batch, step):
        params, moments = state
        waveform, lengths, mean, deviation, targets = batch
        inputs = strength_input(waveform, lengths, num_mels=config.num_mels)
        features = (inputs.features - mean[:, None]) / deviation[:, None]
        inputs = inputs._replace(features=features)
        # The category is given for every other utterance only, so that the network learns to work
        # with its own prediction as well.
        known = jnp.where(jnp.arange(len(waveform)) % 2 == 0, targets.category, -1)

        def loss_of(params):
            key = jax.random.fold_in(jax.random.key(config.seed), step)
            output = nnx.merge(graph, params)(inputs, known=known, key=key)
            return strength_loss(output, inputs, targets, config)

        (_, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        change, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, change), moments), terms

    with ThreadPoolExecutor(_THREADS) as readers, ThreadPoolExecutor(1) as assembler:
        ahead = [
            assembler.submit(_batch, examples, config, step, readers)
            for step in range(min(_AHEAD, config.num_steps))
        ]
        for step in range(config.num_steps):
            batch = ahead.pop(0).result()
            if step + _AHEAD < config.num_steps:
                ahead.append(assembler.submit(_batch, examples, config, step + _AHEAD, readers))
            state, terms = update(state, batch, step)
            if progress is not None and (step % 20 == 19 or step + 1 == config.num_steps):
                values = {name: float(value) for name, value in terms.items()}
                progress(step + 1, config.num_steps, values)
    return nnx.merge(graph, state[0])


def _batch(examples, config: StrengthConfig, step: int, readers) -> tuple:
    """Reads the batch of a step: drawn without replacement within a pass over the examples."""
    passes = [
        generator(config.seed, "strength order", number).permutation(len(examples))
        for number in range(
            step * config.batch // len(examples), (step + 1) * config.batch // len(examples) + 1
        )
    ]
    first = step * config.batch % len(examples)
    chosen = [examples[i] for i in np.concatenate(passes)[first : first + config.batch]]
    size = num_samples(num_frames(round(config.crop_seconds * SAMPLE_RATE)))
    places = generator(config.seed, "strength crop", step).random(len(chosen))

    def read(example, place):
        start = int(place * max(0, example.num_samples - size + 1))
        return example.read(start, min(size, example.num_samples - start))

    waveform = np.zeros((len(chosen), size), np.float32)
    lengths = np.zeros(len(chosen), np.int32)
    for row, samples in enumerate(readers.map(read, chosen, places)):
        waveform[row, : len(samples)] = samples
        lengths[row] = len(samples)
    targets = StrengthTargets(
        np.array([e.intensity for e in chosen], np.float32),
        np.array([e.category for e in chosen], np.int32),
    )
    mean, deviation = (
        np.stack([getattr(e, name) for e in chosen]) for name in ("mean", "deviation")
    )
    return waveform, lengths, mean, deviation, targets


def _mean(values: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.where(where, values, 0.0).sum() / jnp.maximum(where.sum(), 1)
