"""Checks that the utterances of a run are long enough for its masks and objectives."""

from collections.abc import Iterable, Sequence

import numpy as np

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import FRAME_RATE, SAMPLE_RATE, num_frames
from sersl.pretraining.masking import NO_RULE
from sersl.pretraining.terms.term import Term


def check_lengths(
    config: PretrainConfig,
    terms: Iterable[Term],
    num_samples: Sequence[np.ndarray],
    *,
    most_samples: int,
) -> list[str]:
    """Checks that utterances are long enough to be masked and predicted.

    An utterance that is too short for a setting has weight 0 in that part of the loss. A batch
    in which none is long enough adds nothing to it, and has no metric of it.

    Args:
      config: of the run.
      terms: its objectives.
      num_samples: for each corpus, int [n], lengths of the utterances at 16 kHz.
      most_samples: longer utterances are cropped to this length.

    Returns:
      A sentence for each setting for which some utterances are too short.

    Raises:
      UserError: all utterances are too short for a setting.
    """
    if config.frontend.kind == "whisper" and config.frontend.window_seconds:
        most_samples = min(most_samples, round(config.frontend.window_seconds * SAMPLE_RATE))
    lengths = np.concatenate(list(num_samples))
    in_use = lengths[lengths >= config.data.min_seconds * SAMPLE_RATE]
    frames = num_frames(np.minimum(in_use, most_samples))
    hides = config.masking.rule != NO_RULE
    least = {"masking.span": config.masking.span} if hides else {}
    for term in terms:
        for setting, number in term.least_frames().items():
            least[setting] = max(number, least.get(setting, 0))
    notes = []
    for setting, number in least.items():
        seconds = f"{number} frames ({number / FRAME_RATE:g} s)"
        if frames.max() < number:
            raise UserError(
                f"{setting} needs utterances of at least {seconds}, and the longest in use has "
                f"{frames.max()}: lower {setting}, or train on longer recordings (see "
                "data.corpora and data.max_seconds)"
            )
        short = int((frames < number).sum())
        if short:
            notes.append(
                f"{short} of {len(frames)} utterances are shorter than the {seconds} that "
                f"{setting} needs, and do not count there"
            )
    return notes
