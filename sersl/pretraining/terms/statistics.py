"""Objective on the kept statistics of teachers: mean and deviation of their layers over time."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sersl.config.schema import EncoderConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.data.batch import VIEW
from sersl.models.pretraining_heads import Projection
from sersl.objectives.mean import Mean
from sersl.objectives.regression import regression
from sersl.pretraining.terms.continued import mean_and_deviation
from sersl.pretraining.terms.teachers import check_layers
from sersl.pretraining.terms.term import Term, View

_MOST = 5.0  # standard deviations to which a statistic is clipped


def view_name(number: int) -> str:
    """Names what batches hold of a kept teacher."""
    return f"teacher{number}"


class Statistics(Term[Projection]):
    """Regress the teachers' mean and deviation of each layer from those of the student's layers.

    Both are over the whole utterance, and the teachers' are standardized over the corpus, so that
    channels and layers of any scale count the same.
    """

    def __init__(self, config: PretrainConfig):
        """Checks `layers`."""
        super().__init__(config)
        check_layers("statistics", config.objectives.statistics.layers, what="hidden states")

    def set_kept_teachers(self, teachers: Sequence[EncoderConfig]) -> None:
        """Checks the layers and counts the statistics."""
        if not teachers:
            raise UserError(
                "objectives.statistics needs a teacher: set kept_teachers to one or more workdirs "
                "or model folders (`sersl import` makes one from a Hugging Face folder)"
            )
        layers = self.config.objectives.statistics.layers
        for number, teacher in enumerate(teachers):
            if max(layers) > teacher.last_layer:
                raise UserError(
                    f"objectives.statistics uses hidden state {max(layers)} of kept teacher "
                    f"{number}, which has 0 to {teacher.last_layer}: choose others with "
                    "objectives.statistics.layers"
                )
        self.num_teachers = len(teachers)
        self.num_values = 2 * len(layers) * sum(teacher.width for teacher in teachers)

    def make_heads(self, *, key: jax.Array) -> Projection:
        """Makes one linear map, as a linear probe reads the layers."""
        encoder = self.config.encoder
        inputs = 2 * (encoder.last_layer + 1) * encoder.width
        return Projection(inputs, self.num_values, key=key)

    def loss(self, heads: Projection, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the mean squared error of the standardized statistics."""
        layers = jnp.array(self.config.objectives.statistics.layers)
        kept = [view.batch[VIEW + view_name(number)] for number in range(self.num_teachers)]
        rows = len(kept[0])
        target = jnp.concatenate([one[:, layers].reshape(rows, -1) for one in kept], axis=1)
        present = view.student.present
        own = [mean_and_deviation(states, present) for states in view.student.hidden_states]
        return regression(
            heads(jnp.concatenate(own, axis=-1)),
            jnp.clip(target.astype(jnp.float32), -_MOST, _MOST),
            weights=present.any(1) & (view.batch["utterance_index"] >= 0),
            loss="squared",
            name="statistics",
        )
