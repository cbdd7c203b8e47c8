"""Several passes of a model with dropout, for its uncertainty (Monte Carlo dropout).

Source: Gal & Ghahramani, "Dropout as a Bayesian approximation", 2016.
"""

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from sersl.core.errors import UserError
from sersl.release.predict.averaging import Arrays, Part
from sersl.release.predict.predictor import Model
from sersl.release.predict.source_runs import runs
from sersl.release.predict.windows import Cutting
from sersl.release.predict.with_views import Asked


def check_dropout(model: Model) -> None:
    """Raises UserError where a model has no categories or was trained without dropout."""
    if not model.categories or model.labels.multi:
        raise UserError(
            "passes with dropout are for a model that chooses one of several categories: leave "
            "--dropout_passes out"
        )
    if not model.network.has_dropout:
        raise UserError(
            "the model was trained without dropout, so all passes would be equal: train with "
            "heads.dropout above 0, or leave --dropout_passes out"
        )


def dropout_passes(
    model: Model,
    sources: Iterable[Asked],
    *,
    num_passes: int,
    seed: int = 0,
    sample_rate: object = None,
) -> Iterator[np.ndarray | None]:
    """Predicts recordings several times with dropout, each time with other units dropped.

    Args:
      model: see `check_dropout`.
      sources: read one after the other.
      num_passes: K.
      seed: of the units that are dropped; the same command on the same number of devices drops the
        same ones.
      sample_rate: Hz of waveforms; None for files.

    Yields:
      Of each source float32 [K, C], probabilities of each pass, means over its windows by duration;
      None where nothing could be scored.
    """
    weights: list[int] = []
    found: list[np.ndarray] = []
    for number, run in enumerate(runs(sources, Cutting(), sample_rate=sample_rate)):
        own = run.waveforms()
        compute = functools.partial(
            _passes, model, num_passes=num_passes, address=(seed, number), share=run.share
        )
        recordings = [run.pieces[index].recording for index in own]
        outputs = dict(model.averaging(compute, list(own.values()), recordings))
        of_piece = {index: outputs[i]["category"] for i, index in enumerate(own)}
        for index, piece in enumerate(run.pieces):
            if piece.window is not None:
                if index in of_piece:
                    found.append(of_piece[index])
                    weights.append(len(piece.window.waveform))
                continue
            failed = bool(piece.error) or not found
            yield None if failed else np.average(np.stack(found), axis=0, weights=weights)
            weights, found = [], []


def _passes(
    model: Model, part: Part, *, num_passes: int, address: tuple[int, int], share: float
) -> Iterator[tuple[int, Arrays]]:
    return model.network.passes(
        part.waveforms, part.recordings, num_passes=num_passes, address=address, share=share
    )
