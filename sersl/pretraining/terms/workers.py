"""Workers: regression of known properties of the clean signal, and mutual information."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.audio.prosody import PROSODY_NAMES
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.pretraining_heads import RegressionHead
from sersl.models.spectra import DESCRIPTORS, deltas, describe_frames, num_values
from sersl.objectives.mean import Mean, any_counted
from sersl.objectives.mutual_information import discriminate, draw_pairs, take_chunks
from sersl.objectives.regression import (
    balance,
    chunk_deviations,
    chunk_means,
    regression,
    with_context,
)
from sersl.objectives.whole_batch import need_whole_batch
from sersl.parallel.random import fold
from sersl.parallel.rows import take_rows
from sersl.pretraining.terms.term import Term, View

FUNCTIONALS, PROSODY = "functionals", "prosody"
WORKERS = (*DESCRIPTORS, PROSODY, FUNCTIONALS)
# Losses other than the squared error: L1 as in PASE; Huber limits the weight of octave errors.
ERRORS = {"waveform": "l1", PROSODY: "huber"}
_DESCRIBED = "mfcc"  # what functionals are statistics of


class WorkerHeads(nnx.Module):
    """One small network per worker and, with `balance=uncertainty`, their log-variances."""

    def __init__(self, config: PretrainConfig, *, key: jax.Array):
        """Makes the networks."""
        settings = config.objectives.workers
        for name in settings.names:
            head = RegressionHead(
                config.encoder.width,
                settings.hidden,
                num_outputs(name, config),
                key=fold(key, name),
            )
            setattr(self, name, head)
        if settings.balance == "uncertainty":
            # Log-variances; a vector, to which no weight decay applies.
            self.scale = nnx.Param(jnp.zeros(len(settings.names)), axes=(None,))


def num_outputs(name: str, config: PretrainConfig) -> int:
    """Counts the outputs per frame of one of WORKERS; per chunk for functionals.

    They are values, their slopes, and both of neighbouring frames.
    """
    settings = config.objectives.workers
    if name == FUNCTIONALS:
        return 2 * num_values(_DESCRIBED)
    if name == "waveform":
        return num_values(name)
    if name == PROSODY:
        return len(PROSODY_NAMES) * (2 * settings.context + 1)
    return num_values(name) * (3 if settings.deltas else 1) * (2 * settings.context + 1)


class Workers(Term[WorkerHeads]):
    """PASE+: regress descriptors of the clean signal, even if the student's input is distorted."""

    def __init__(self, config: PretrainConfig):
        """Checks `names`, `shares`, `balance` and `frames`."""
        super().__init__(config)
        settings = config.objectives.workers
        for name in settings.names:
            if name not in WORKERS:
                raise unknown_name("worker of objectives.workers.names", name, WORKERS)
        if not settings.names or len(set(settings.names)) < len(settings.names):
            raise UserError(
                f"objectives.workers.names={list(settings.names)} must name one or more workers, "
                f"each once: choose from {', '.join(WORKERS)}"
            )
        if settings.shares and len(settings.shares) != len(settings.names):
            raise UserError(
                f"objectives.workers.shares={list(settings.shares)} must give a number for each "
                f"of the {len(settings.names)} workers, or be empty"
            )
        if settings.balance == "uncertainty" and 0 in settings.shares:
            # Its loss would be its log-variance alone, which is unbounded below.
            raise UserError(
                f"objectives.workers.shares={list(settings.shares)} has a worker of weight 0, and "
                "balance 'uncertainty' learns the weights: leave that worker out of "
                "objectives.workers.names"
            )
        if PROSODY in settings.names:
            self.needs = frozenset({"annotation"})
        self.masking = "needed" if settings.frames == "hidden" else "any"

    def least_frames(self) -> dict[str, int]:
        """A chunk for functionals."""
        settings, least = self.config.objectives.workers, super().least_frames()
        if FUNCTIONALS in settings.names:
            least["objectives.workers.chunk"] = settings.chunk
        return least

    def make_heads(self, *, key: jax.Array) -> WorkerHeads:
        """Makes the workers."""
        return WorkerHeads(self.config, key=key)

    def loss(self, heads: WorkerHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares the workers' predictions with the clean signal.

        Returns:
          (sum over workers of share times loss, or balanced by uncertainty; metrics: workers,
          workers_<name>).
        """
        settings = self.config.objectives.workers
        weights = view.weights if settings.frames == "hidden" else view.frame_weights
        waveform = jnp.where(view.batch["valid"], view.batch["waveform"], 0.0)
        found: dict[str, Mean] = {}
        for name in settings.names:
            metric = f"workers_{name}"
            if name == FUNCTIONALS:
                predicted, target, counted = self._functionals(getattr(heads, name), waveform, view)
            else:
                predicted = getattr(heads, name)(view.last)
                target, counted = self._target(name, waveform, view), weights
            error = ERRORS.get(name, "squared")
            found |= regression(predicted, target, weights=counted, loss=error, name=metric)[1]
        means = list(found.values())
        losses = jnp.stack([mean.value(empty=0.0) for mean in means])
        losses = losses * jnp.array(settings.shares or (1.0,) * len(means))
        present = jnp.stack([mean.is_counted() for mean in means])
        if settings.balance == "uncertainty":
            total = balance(losses, heads.scale[...], counted=present)
        else:
            total = losses.sum()
        return total, {"workers": Mean.of(total, jnp.any(present)), **found}

    def _target(self, name: str, waveform: jax.Array, view: View) -> jax.Array:
        """Returns the targets of a worker [B, T, num_outputs], NaN if a neighbour is not real."""
        settings = self.config.objectives.workers
        if name == PROSODY:  # it holds slopes already
            return with_context(view.batch[PROSODY], view.valid, radius=settings.context)
        values = describe_frames(name, waveform)
        if name == "waveform":
            return values
        if settings.deltas:
            values = deltas(values, view.valid)
        return with_context(values, view.valid, radius=settings.context)

    def _functionals(
        self, head: RegressionHead, waveform: jax.Array, view: View
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns predictions and targets [B, C, F] of chunks, and which chunks are real [B, C]."""
        chunk = self.config.objectives.workers.chunk
        values = describe_frames(_DESCRIBED, waveform)
        mean, real = chunk_means(values, view.valid, frames=chunk)
        deviation = chunk_deviations(values, view.valid, frames=chunk)
        hidden, _ = chunk_means(view.last.astype(jnp.float32), view.valid, frames=chunk)
        predicted = head(jnp.where(real[..., None], hidden, 0.0))
        return predicted, jnp.concatenate([mean, deviation], axis=-1), real


class Discriminators(nnx.Module):
    """Classifies pairs of frames (local) and of chunks (global): of one utterance or of two."""

    def __init__(self, width: int, hidden: int, *, key: jax.Array):
        """Makes both; their input is two vectors of this width, concatenated."""
        self.local_pair = RegressionHead(2 * width, hidden, 1, key=fold(key, "local"))
        self.global_pair = RegressionHead(2 * width, hidden, 1, key=fold(key, "global"))


class Information(Term[Discriminators]):
    """PASE's LIM and GIM: distinguish frames and chunks of the utterance from those of another."""

    def __init__(self, config: PretrainConfig):
        """Checks that one of the two shares is not 0."""
        super().__init__(config)
        settings = config.objectives.information
        if not (settings.local_share or settings.global_share):
            raise UserError(
                "objectives.information has local_share=0 and global_share=0: give one of them a "
                "share, or set its weight to 0"
            )

    def least_frames(self) -> dict[str, int]:
        """Two different chunks for global information."""
        settings = self.config.objectives.information
        return {"objectives.information.chunk": settings.chunk + 1} if settings.global_share else {}

    def make_heads(self, *, key: jax.Array) -> Discriminators:
        """Makes the discriminators."""
        hidden = self.config.objectives.information.hidden
        return Discriminators(self.config.encoder.width, hidden, key=key)

    def loss(self, heads: Discriminators, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Draws pairs and classifies them.

        Returns:
          (sum of both with their shares; metrics: information, local_information and
          global_information, the latter two with _accuracy).

        Raises:
          UserError: a batch of one row, or gradient accumulation.
        """
        need_whole_batch("objectives.information")
        settings = self.config.objectives.information
        local, found = self._local(heads.local_pair, view)
        over_chunks, found_global = self._global(heads.global_pair, view)
        total = settings.local_share * local + settings.global_share * over_chunks
        found |= found_global
        return total, {"information": Mean.of(total, any_counted(found.values())), **found}

    def _local(self, head: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Pairs each real frame with another of its utterance, and with one of another."""
        hidden = view.last
        frames = jnp.arange(hidden.shape[1], dtype=jnp.int32)
        pairs = draw_pairs(
            view.valid,
            view.batch["utterance_index"],
            anchors=jnp.broadcast_to(frames, view.valid.shape),
            key=view.draw("local pairs"),
        )
        own = jnp.take_along_axis(hidden, pairs.positive[..., None], axis=1)
        other = take_rows(hidden, pairs.other)
        other = jnp.take_along_axis(other, pairs.negative[..., None], axis=1)
        return discriminate(
            _score(head, hidden, own),
            _score(head, hidden, other),
            counted=view.valid & pairs.counted[:, None],
            name="local_information",
        )

    def _global(self, head: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Pairs the means of two chunks of an utterance, and of a chunk of another."""
        chunk = self.config.objectives.information.chunk
        pairs = draw_pairs(
            view.valid,
            view.batch["utterance_index"],
            chunk=chunk,
            key=view.draw("global pairs"),
        )
        anchor, own = (
            take_chunks(view.last, first[:, 0], chunk=chunk)
            for first in (pairs.anchor, pairs.positive)
        )
        others = take_rows(view.last, pairs.other)
        other = take_chunks(others, pairs.negative[:, 0], chunk=chunk)
        # Both orders of anchor and context (PASE+).
        first, second, wrong = (
            jnp.concatenate(x) for x in ((anchor, own), (own, anchor), (other,) * 2)
        )
        return discriminate(
            _score(head, first, second),
            _score(head, first, wrong),
            counted=jnp.tile(pairs.counted, 2),
            name="global_information",
        )


def _score(head: RegressionHead, first: jax.Array, second: jax.Array) -> jax.Array:
    return head(jnp.concatenate([first, second], axis=-1))[..., 0]
