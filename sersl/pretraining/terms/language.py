"""Language supervision: contrast of utterances with embeddings of texts that describe them."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError, unknown_name
from sersl.corpora.words import CANONICAL
from sersl.models.acoustic.functionals import FUNCTIONALS
from sersl.models.pretraining_heads import RegressionHead
from sersl.objectives.language import label_targets, soft_contrast
from sersl.objectives.mean import Mean
from sersl.objectives.whole_batch import need_whole_batch
from sersl.parallel.random import fold
from sersl.pretraining.terms.contrast import describe_utterances, pool
from sersl.pretraining.terms.term import Term, View

# Acoustic property of an utterance to the functional that measures it.
PROPERTIES = {
    "pitch": "f0_voiced_p50",
    "loudness": "level_active_mean",
    "rate": "voiced_per_second",
    "variation": "f0_voiced_std",
}
LEVELS = ("low", "middle", "high")  # thirds of the batch


def read_texts(path: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Reads text embeddings from an .npz with `names` [K] and `embeddings` [K, E].

    Raises:
      UserError: no such file, or it holds something else.
    """
    if not path:
        raise UserError(
            "objectives.language.file is not given: set it to an .npz with names [K] and "
            "embeddings [K, E] of the texts that describe utterances"
        )
    if not Path(path).is_file():
        raise UserError(
            f"objectives.language.file={path!r} is not a file: give an .npz with names [K] and "
            "embeddings [K, E]"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            names, embeddings = file["names"], np.asarray(file["embeddings"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"objectives.language.file={path!r} must be an .npz with names [K] and embeddings "
            f"[K, E] of the texts ({error})"
        ) from error
    names = tuple(str(name) for name in np.ravel(names))
    fits = embeddings.ndim == 2 and len(names) == len(embeddings) == len(set(names))
    if not (fits and np.isfinite(embeddings).all()):
        raise UserError(
            f"objectives.language.file={path!r} has {len(names)} names and embeddings of shape "
            f"{embeddings.shape}: give one finite row for each name, and each name once"
        )
    return names, embeddings


class LanguageHeads(nnx.Module):
    """Projections of speech and texts, and the log of the scale of their cosines."""

    def __init__(self, config: PretrainConfig, num_inputs: int, *, key: jax.Array):
        """Makes them for text embeddings of width `num_inputs`."""
        settings = config.objectives.language
        self.speech = RegressionHead(
            config.encoder.width, settings.hidden, settings.width, key=fold(key, "speech")
        )
        self.text = RegressionHead(
            num_inputs, settings.hidden, settings.width, key=fold(key, "text")
        )
        self.scale = nnx.Param(jnp.float32(settings.scale).reshape(1), axes=(None,))


class Language(Term[LanguageHeads]):
    """GEmo-CLAP: soft-target contrast with texts of the category or of acoustic properties."""

    reads_hidden = False

    def __init__(self, config: PretrainConfig):
        """Reads the texts and checks their names."""
        super().__init__(config)
        settings = config.objectives.language
        names, self.embeddings = read_texts(settings.file)
        acoustic = [f"{name}={level}" for name in PROPERTIES for level in LEVELS]
        known = {
            "category": CANONICAL,
            "acoustics": acoustic,
            "both": (*CANONICAL, *acoustic),
        }[settings.describe]
        for name in names:
            if name not in known:
                raise unknown_name(f"name in {settings.file}", name, known)
        if settings.describe != "category":
            missing = [name for name in acoustic if name not in names]
            if missing:
                raise UserError(
                    f"objectives.language.file={settings.file!r} has no embedding of "
                    f"{missing[0]!r}: objectives.language.describe={settings.describe!r} needs "
                    f"{', '.join(acoustic)}"
                )
            self._acoustic = np.array([names.index(name) for name in acoustic])
        if settings.describe != "acoustics":
            self._category = np.array(
                [names.index(name) if name in names else -1 for name in CANONICAL]
            )
            self.needs = frozenset({"category"})

    def make_heads(self, *, key: jax.Array) -> LanguageHeads:
        """Makes the projections."""
        return LanguageHeads(self.config, self.embeddings.shape[1], key=key)

    def loss(self, heads: LanguageHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Contrasts speech and texts, see `soft_contrast`; rows without a text do not count.

        Raises:
          UserError: a batch of one row, or gradient accumulation.
        """
        need_whole_batch("objectives.language")
        text, targets, counted = self._describe(view)
        return soft_contrast(
            heads.speech(pool(view.last, view.student.present)),
            heads.text(text),
            targets,
            log_scale=heads.scale[0],
            counted=counted & (view.batch["utterance_index"] >= 0),
        )

    def _describe(self, view: View) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns (text embedding of each row [B, E], targets [B, B], rows with a text [B])."""
        settings, num_rows = self.config.objectives.language, len(view.valid)
        texts, targets, counted = [], [], jnp.ones(num_rows, bool)
        if settings.describe != "acoustics":
            category = view.batch["category"]
            # Words of a corpus's own are behind the known categories, and have no text.
            known = (category >= 0) & (category < len(self._category))
            text = jnp.where(known, jnp.asarray(self._category)[category], -1)
            counted = text >= 0
            texts.append(jnp.asarray(self.embeddings)[text])
            targets.append(label_targets(text))
        if settings.describe != "category":
            levels = acoustic_levels(describe_utterances(view))
            at = self._acoustic.reshape(len(PROPERTIES), len(LEVELS))
            rows = jnp.take_along_axis(jnp.asarray(at), levels.T, axis=1)
            texts.append(jnp.asarray(self.embeddings)[rows].mean(0))
            targets.append((levels[:, None] == levels[None]).mean(-1))
        shares = (
            [1.0] if len(texts) == 1 else [settings.category_share, 1.0 - settings.category_share]
        )
        shared = [share * each for share, each in zip(shares, targets, strict=True)]
        return _total(texts) / len(texts), _total(shared), counted


def _total(arrays: list[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, arrays)


def acoustic_levels(functionals: jax.Array) -> jax.Array:
    """Ranks utterances by each property and divides the batch into thirds.

    Args:
      functionals: [B, F], in the order of FUNCTIONALS.

    Returns:
      int32 [B, P], indices into LEVELS, properties in the order of PROPERTIES.
    """
    columns = np.array([FUNCTIONALS.index(name) for name in PROPERTIES.values()])
    values = functionals[:, columns]
    # The rank is the number of smaller values, so that equal values have the same level.
    rank = (values[None] < values[:, None]).sum(1)
    return (rank * len(LEVELS) // len(values)).astype(jnp.int32)
