"""Agreement of an annotator's intensity with the intensities that a corpus gives."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata

from sersl.audio.features import log_mel
from sersl.audio.prosody import ENERGY_DB, PROSODY_NAMES
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.core.lengths import FRAME_RATE, num_frames
from sersl.data.sources import CorpusSource
from sersl.eval.figures import plots

# As in models.acoustic.functionals: frames so far below the loud ones are silence.
_ACTIVE_DB = 30.0
_DRAWN = 8  # utterances
_NAME_CHARACTERS = 60  # of an utterance, in the name of its figure


@dataclass(frozen=True)
class IntensityCheck:
    """Agreement of an annotator with the intensities of a corpus.

    Attributes:
      annotator: its name.
      corpus: its name.
      intensity: float64 [n] of every utterance, NaN where it has no frames.
      area: {"all": ROC area, category: ROC area}; NaN where one side is empty.
      num: {"all": (strong, weak), category: ...}, numbers of utterances.
    """

    annotator: str
    corpus: str
    intensity: np.ndarray
    area: dict[str, float]
    num: dict[str, tuple[int, int]]


def check(source: CorpusSource) -> IntensityCheck:
    """Compares a sidecar with the column `intensity` of the index.

    Args:
      source: a corpus with an annotator.

    Returns:
      ROC areas of strong (above 0.5) against weak (below) utterances, over all and per category;
      utterances without an intensity are left out.

    Raises:
      UserError: the corpus has no intensities.
    """
    truth = source.index.column("intensity")
    if not ((truth > 0.5).any() and (truth < 0.5).any()):
        raise UserError(
            f"corpus {source.index.corpus!r} has no intensities to compare with, unlike ravdess or "
            "cremad: leave out --check"
        )
    found = np.array([utterance_intensity(source, row) for row in range(len(source))])
    return compare(
        found,
        truth,
        source.index.column("category"),
        annotator=str(source.annotator),
        corpus=source.index.corpus,
    )


def compare(
    found: np.ndarray,
    truth: np.ndarray,
    categories: Sequence[str] | np.ndarray,
    *,
    annotator: str,
    corpus: str,
) -> IntensityCheck:
    """Compares intensities of utterances, see `check`.

    Args:
      found: [n], NaN where there is none.
      truth: [n] in 0..1, NaN where there is none.
      categories: [n] names.
      annotator: its name.
      corpus: its name.
    """
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    labels = np.asarray(categories)
    strong = (truth > 0.5) & np.isfinite(found)
    weak = (truth < 0.5) & np.isfinite(found)
    groups = {"all": np.ones(len(found), bool)}
    groups |= {str(name): labels == name for name in sorted(set(labels[strong | weak]) - {""})}
    return IntensityCheck(
        annotator,
        corpus,
        found,
        {name: roc_area(found[strong & at], found[weak & at]) for name, at in groups.items()},
        {name: (int((strong & at).sum()), int((weak & at).sum())) for name, at in groups.items()},
    )


def roc_area(above: np.ndarray, below: np.ndarray) -> float:
    """Computes the area under the ROC curve.

    Args:
      above: [m] scores of the positive class.
      below: [n] scores of the negative class.

    Returns:
      The probability that one of `above` exceeds one of `below`, where ties count half; NaN if one
      of them is empty.

    Source: Hanley and McNeil 1982: the area is the Mann-Whitney statistic over m n.
    """
    if not len(above) or not len(below):
        return float("nan")
    ranks = rankdata(np.concatenate([above, below]))[: len(above)]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / (len(above) * len(below)))


def utterance_intensity(source: CorpusSource, row: int) -> float:
    """Averages the intensity of an utterance over its frames that are not silent.

    Args:
      source: a corpus with an annotator.
      row: of its index.

    Returns:
      In 0..1; NaN if no frame has an intensity.
    """
    frames = num_frames(int(source.num_samples[row]))
    if not frames:
        return float("nan")
    intensity, prosody = source.frames(row, num_frames=frames)
    level = prosody[:, PROSODY_NAMES.index("energy")] * (ENERGY_DB * np.log(10) / 20)
    chosen = intensity[is_active(level) & np.isfinite(intensity)]
    return float(chosen.mean()) if len(chosen) else float("nan")


def is_active(level: np.ndarray) -> np.ndarray:
    """Tells speech from silence by level alone.

    Args:
      level: [T], natural logarithm of the RMS, up to a constant.

    Returns:
      bool [T]: at most 30 dB below the 95th percentile.
    """
    return level >= np.percentile(level, 95) - _ACTIVE_DB * np.log(10) / 20


def as_text(result: IntensityCheck) -> str:
    """Formats the areas of a check as a table; "-" where there are no two sides to compare."""
    head = f"ROC area of strong against normal by {result.annotator} on {result.corpus}"
    rows = [
        f"  {one_line(name):<12}{'     -' if np.isnan(area) else f'{area:6.3f}'}   "
        f"{result.num[name][0]} strong, {result.num[name][1]} normal"
        for name, area in result.area.items()
    ]
    return "\n".join([head, *rows])


def write(result: IntensityCheck, source: CorpusSource, folder: Path) -> list[Path]:
    """Writes the areas as JSON and figures of a few strong and normal utterances.

    Args:
      result: of the corpus.
      source: the corpus with the annotator.
      folder: to write into.

    Returns:
      The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"intensity-{result.corpus}-{result.annotator}.json"
    content = {
        "annotator": result.annotator,
        "corpus": result.corpus,
        "roc_area": {k: None if np.isnan(v) else round(v, 4) for k, v in result.area.items()},
        "num": {name: list(pair) for name, pair in result.num.items()},
    }
    write_json(file, content)
    return [file, *(draw(source, row, folder) for row in _to_draw(source))]


def draw(source: CorpusSource, row: int, folder: Path) -> Path:
    """Draws the intensity of the frames of one utterance over its spectrogram.

    Args:
      source: a corpus with an annotator.
      row: of its index.
      folder: to write into.

    Returns:
      The PNG.
    """
    waveform = source.waveform(row)
    intensity, _ = source.frames(row, num_frames=num_frames(len(waveform)))
    mel = np.asarray(jax.jit(log_mel)(jnp.asarray(waveform)[None]))[0]
    utterance_id = str(source.index.column("utterance_id")[row])
    category = str(source.index.column("category")[row])
    path = folder / f"intensity-{source.annotator}-{_file_name(utterance_id, row)}.png"
    plots.frame_intensity(
        path,
        log_mel=mel[:, : mel.shape[1] // 2],
        intensity=intensity,
        frame_rate=FRAME_RATE,
        title=f"{utterance_id} ({category}): intensity by {source.annotator}",
    )
    return path


def _file_name(utterance_id: str, row: int) -> str:
    """Makes part of a file name of an utterance, whose id may hold slashes."""
    name = re.sub(r"[^\w.-]", "-", utterance_id)[:_NAME_CHARACTERS]
    return name if name == utterance_id else f"{name}-{row}"


def _to_draw(source: CorpusSource) -> list[int]:
    """Chooses a strong and a weak utterance of one speaker for each category."""
    truth, category = source.index.column("intensity"), source.index.column("category")
    speaker = source.index.column("speaker")
    rows: list[int] = []
    for name in sorted(set(category)):
        strong = np.flatnonzero((category == name) & (truth > 0.5))
        weak = np.flatnonzero((category == name) & (truth < 0.5))
        for row in strong:
            same = weak[speaker[weak] == speaker[row]]
            if len(same):
                rows += [int(row), int(same[0])]
                break
    return rows[:_DRAWN]
