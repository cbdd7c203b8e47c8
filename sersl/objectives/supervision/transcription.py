"""Connectionist temporal classification: characters of a transcript from frames."""

import jax
import jax.numpy as jnp
import optax

from sersl.objectives.mean import Mean, at_least_float32

BLANK = 0  # the class of frames between characters


def transcription(
    logits: jax.Array, valid: jax.Array, characters: jax.Array
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the CTC loss of the rows with a transcript, per character.

    A row whose frames are too few for its characters (one for each, and one more between two that
    are equal) is left out.

    Args:
      logits: [B, T, K]; class 0 is blank.
      valid: bool [B, T], real frames, first.
      characters: int [B, S], classes from 1; -1 after the end, everywhere without a transcript.

    Returns:
      (mean over rows of -log P(characters) / number of characters, {"transcript_loss",
      "transcripts_too_long": fraction of the rows with a transcript that are left out}).

    Source: Graves et al. 2006, eq. 14; divided by the length as torch's reduction "mean".
    """
    given = characters > BLANK
    length = given.sum(1)
    known = length > 0
    repeated = (characters[:, 1:] == characters[:, :-1]) & given[:, 1:]
    fits = valid.sum(1) >= length + repeated.sum(1)
    losses = optax.ctc_loss(
        at_least_float32(logits),
        1.0 - valid.astype(jnp.float32),
        jnp.where(given, characters, 0),
        1.0 - given.astype(jnp.float32),
        blank_id=BLANK,
    )
    mean = Mean.of(losses / jnp.maximum(length, 1), known & fits)
    return mean.value(empty=0.0), {
        "transcript_loss": mean,
        "transcripts_too_long": Mean.of(~fits, known),
    }
