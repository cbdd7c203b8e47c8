"""Mixup and copy-paste: combine rows of the whole batch, on the device."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sersl.config.schema import CombineConfig
from sersl.parallel.rows import take_rows

_SHARED = ("category_probabilities", "categories")  # labels that mixup averages


def combine_rows(
    batch: Mapping[str, jax.Array],
    config: CombineConfig,
    *,
    num_categories: int,
    key: jax.Array,
    neutral: int | None = None,
) -> dict[str, jax.Array]:
    """Combines rows of a training batch, first by copy-paste, then by mixup.

    Args:
      batch: waveform [B, N], valid [B, N], category [B] (-1 none), dimensions [B, D] (NaN none),
        and optionally category_probabilities or categories, both [B, C] (NaN none).
      config: probabilities and parameters.
      num_categories: C.
      key: PRNG key; draws do not depend on the mesh.
      neutral: number of the neutral category, for `mixup_pairs`; None: there is none.

    Returns:
      The batch with the same shapes. If C is not 0 and the batch has no categories, it also has
      category_probabilities [B, C].
    """
    batch = dict(batch)
    if num_categories and "categories" not in batch:
        onehot = jax.nn.one_hot(batch["category"], num_categories)
        onehot = jnp.where(batch["category"][:, None] >= 0, onehot, jnp.nan)
        votes = batch.get("category_probabilities", onehot)
        batch["category_probabilities"] = jnp.where(jnp.isnan(votes), onehot, votes)
    keys = jax.random.split(key)
    if config.copy_paste_probability:
        batch = copy_paste(batch, probability=config.copy_paste_probability, key=keys[0])
    if config.mixup_probability:
        batch = mixup(batch, config, key=keys[1], neutral=neutral)
    return batch


def copy_paste(
    batch: Mapping[str, jax.Array], *, probability: float, key: jax.Array
) -> dict[str, jax.Array]:
    """Appends another utterance of the same category to an utterance.

    Both are cut to fit the row: if both are longer than half of it, each keeps its first half.

    Args:
      batch: as for `combine_rows`.
      probability: of each row; rows without a partner do not change.
      key: PRNG key.

    Returns:
      The batch; dimensions are averaged by length, and NaN if one of them is unknown.

    Source: CopyPaste (2010.14602), the same-emotion scheme.
    """
    keys = jax.random.split(key)
    valid, category = batch["valid"], batch["category"]
    num_samples, lengths = valid.shape[1], valid.sum(1)
    allowed = (category[:, None] == category[None]) & (category >= 0)[:, None]
    partner, found = _partners(allowed & (lengths > 0), keys[0])
    chosen = found & (jax.random.uniform(keys[1], lengths.shape) < probability)
    own = jnp.minimum(lengths, num_samples - jnp.minimum(lengths[partner], num_samples // 2))
    pasted = jnp.minimum(lengths[partner], num_samples - own)
    at = jnp.arange(num_samples) - own[:, None]
    other = take_rows(batch["waveform"], partner)
    behind = jnp.take_along_axis(other, jnp.maximum(at, 0), axis=1)
    waveform = jnp.where(at < 0, batch["waveform"], jnp.where(at < pasted[:, None], behind, 0.0))
    share = own / jnp.maximum(own + pasted, 1)
    return {
        **batch,
        "waveform": jnp.where(chosen[:, None], waveform, batch["waveform"]),
        "valid": jnp.where(chosen[:, None], at < pasted[:, None], valid),
        "dimensions": _share(batch["dimensions"], partner, jnp.where(chosen, share, 1.0)),
    }


def mixup(
    batch: Mapping[str, jax.Array],
    config: CombineConfig,
    *,
    key: jax.Array,
    neutral: int | None = None,
) -> dict[str, jax.Array]:
    """Adds another utterance to an utterance and averages their labels.

    Args:
      batch: with the labels that `combine_rows` adds.
      config: `mixup_probability`, `mixup_alpha`, `mixup_by_length`, `mixup_pairs`.
      key: PRNG key.
      neutral: number of the neutral category; None: there is none.

    Returns:
      The batch. A row is mixed only with rows that have the same kinds of labels.

    Source: mixup (1710.09412). `mixup_by_length` weights labels by share times length, because a
    short utterance covers only a part of a long one; this follows the idea of label-adaptive mixup
    (2305.06273), not its formula. `mixup_pairs` emix follows the abstract of EMix (Dang et al.
    2023), which mixes selected pairs so that mixtures are noisier or less ambiguous.
    """
    keys = jax.random.split(key, 3)
    valid, lengths = batch["valid"], batch["valid"].sum(1)
    at = jnp.arange(valid.shape[1])
    known = ~jnp.isnan(batch["dimensions"])
    for labels in (batch[name] for name in _SHARED if name in batch):
        known = jnp.concatenate([known, ~jnp.isnan(labels[:, :1])], axis=1)
    allowed = (known[:, None] == known[None]).all(-1) & (lengths > 0)
    calm = jnp.zeros(lengths.shape, bool)
    if config.mixup_pairs != "any":
        category = batch["category"]
        pairs = category[:, None] == category
        if config.mixup_pairs == "emix" and neutral is not None:
            calm = category == neutral
            pairs = pairs | calm
        allowed = allowed & pairs & (category >= 0) & (category >= 0)[:, None]
    partner, found = _partners(allowed & (lengths > 0)[:, None], keys[0])
    chosen = found & (jax.random.uniform(keys[1], lengths.shape) < config.mixup_probability)
    share = jax.random.beta(keys[2], config.mixup_alpha, config.mixup_alpha, lengths.shape)
    share = jnp.where(chosen, share, 1.0)
    label = share
    if config.mixup_by_length:
        own, other = share * lengths, (1.0 - share) * lengths[partner]
        label = jnp.where(chosen, own / jnp.maximum(own + other, 1e-6), 1.0)
    return {
        **batch,
        "waveform": _share(batch["waveform"], partner, share),
        "valid": valid | ((at < lengths[partner][:, None]) & chosen[:, None]),
        "dimensions": _share(batch["dimensions"], partner, label),
        # A neutral partner leaves the categories of a row as they are.
        **{
            name: _share(batch[name], partner, jnp.where(calm[partner], 1.0, label))
            for name in _SHARED
            if name in batch
        },
    }


def _partners(allowed: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws another allowed row for each row: its index, int32 [B], and whether there is one."""
    allowed = allowed & ~jnp.eye(len(allowed), dtype=bool)
    drawn = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    return jnp.argmax(drawn, axis=1).astype(jnp.int32), allowed.any(1)


def _share(values: jax.Array, partner: jax.Array, share: jax.Array) -> jax.Array:
    """Computes share * own + (1 - share) * partner's, [B, ...]; exactly own where share is 1."""
    share = share[:, None]
    other = take_rows(values, partner)
    return jnp.where(share == 1.0, values, share * values + (1.0 - share) * other)
