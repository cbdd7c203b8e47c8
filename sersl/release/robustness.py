"""Tests a released model under changed recording conditions, one after the other, resumably."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.core.files import read_json, whole_file, write_json
from sersl.core.seeds import generator
from sersl.data.conditions import (
    BABBLE,
    RECORDED,
    Condition,
    Noise,
    apply_condition,
    chosen_conditions,
)
from sersl.data.recordings import Recordings
from sersl.data.sources import CorpusSource
from sersl.eval.analysis.degradation import (
    CLEAN,
    degradation,
    degradation_csv,
    degradation_markdown,
)
from sersl.eval.predictions import Predictions, read_predictions, write_predictions
from sersl.eval.scorer import without_nan
from sersl.release.file_names import ABOUT
from sersl.release.predict.predictor import Model
from sersl.release.scoring import Change, CorpusTruth, predict_corpus

FOLDER = "conditions"  # of the output: the predictions under each condition
_SETUP = "setup.json"
_VOICES = 6  # of babble
_QUIET = 1e-5  # RMS, -100 dB of full scale

Say = Callable[[str], object]
# Gives, for a title and a number of utterances, a function to call after each.
Progress = Callable[[str, int], Callable[[], object]]


class Robustness:
    """The conditions of a test, and the recordings that make their noise."""

    def __init__(
        self,
        source: CorpusSource,
        *,
        names: Sequence[str] = (),
        noise: Sequence[CorpusSource] = (),
        seed: int = 0,
        say: Say = print,
    ):
        """Chooses the conditions that this corpus allows.

        Args:
          source: the corpus.
          names: of conditions, see `chosen_conditions`; none: all that are possible.
          noise: corpora of recorded noise.
          seed: of all draws.
          say: takes a line about conditions that are left out.

        Raises:
          UserError: an unknown name, or one that was asked for is not possible.
        """
        self.source, self.seed = source, seed
        self._noise = tuple(noise)
        speakers = source.index.column("speaker").astype(str)
        self._speakers = speakers
        reasons = {}
        if len(set(speakers.tolist())) < 2:
            reasons[BABBLE] = "babble is of other speakers, and the corpus has one"
        if not noise:
            reasons[RECORDED] = "recorded noise needs --noise_corpora"
        wanted = chosen_conditions(names)
        for kind, reason in reasons.items():
            asked = [one.name for one in wanted if names and one.kind == kind]
            if asked:
                raise UserError(f"--conditions {asked[0]} is not possible: {reason}")
            if kind == BABBLE:
                say(f"no babble: {reason}")
        self.conditions = [one for one in wanted if one.kind not in reasons]

    def setup(self, model: Model) -> dict[str, Any]:
        """Describes what the answers of a model under a condition depend on, for `check_setup`."""
        part = self.source.index.part_of is not None
        return {
            "model": model.about.get("sha256", {}).get(ABOUT, ""),
            "corpus": self.source.index.fingerprint,
            **({"speakers": sorted(set(self._speakers.tolist()))} if part else {}),
            "noise": [one.index.fingerprint for one in self._noise],
            "seed": self.seed,
        }

    def change(self, condition: Condition) -> Change:
        """Gives the function that changes the recording of a row.

        Draws belong to the seed, the kind and the row: noise is the same at every SNR.
        """
        purpose = f"condition {condition.group} {condition.kind}"

        def changed(row: int, waveform: np.ndarray) -> np.ndarray:
            draws = generator(self.seed, purpose, row)
            return apply_condition(condition, waveform, draws, noise=self._noise_of(condition, row))

        return changed

    def _noise_of(self, condition: Condition, row: int) -> Noise | None:
        if condition.kind == BABBLE:
            return lambda draws, length: self._babble(row, draws, length)
        return Recordings(self._noise) if condition.kind == RECORDED else None

    def _babble(self, row: int, draws: np.random.Generator, length: int) -> np.ndarray:
        """Adds the voices of other speakers, each at the same level; float64 [length]."""
        others = np.flatnonzero(self._speakers != self._speakers[row])
        total = np.zeros(length)
        for other in draws.choice(others, _VOICES, replace=len(others) < _VOICES):
            whole = self.source.waveform(int(other))
            start = int(draws.integers(len(whole)))
            voice = np.resize(np.roll(whole, -start), length).astype(np.float64)
            level = float(np.sqrt(np.mean(np.square(voice))))
            if level > _QUIET:
                total += voice / level
        return total


def _read_setup(output: Path) -> dict[str, Any] | None:
    """Reads what an earlier test in this folder was of; None if there was none.

    Raises:
      UserError: the file is damaged.
    """
    path = output / FOLDER / _SETUP
    if not path.exists():
        return None
    return read_json(path, what="setup of a test", remedy="give another --output")


def check_setup(output: Path, setup: dict[str, Any]) -> None:
    """Refuses a folder with the results of another test; otherwise notes what this one is.

    Raises:
      UserError: model, corpus, noise or seed differ.
    """
    before = _read_setup(output)
    if before is not None and before != setup:
        changed = sorted(key for key in setup | before if setup.get(key) != before.get(key))
        raise UserError(
            f"--output {output} has conditions of another test (other {', '.join(changed)}): give "
            f"another folder, or remove {output / FOLDER}"
        )
    (output / FOLDER).mkdir(parents=True, exist_ok=True)
    if before is None:
        write_json(output / FOLDER / _SETUP, setup)


def measure(
    test: Robustness,
    model: Model,
    truth: CorpusTruth,
    output: Path,
    *,
    clean: Predictions,
    progress: Progress,
) -> dict[str, Any]:
    """Predicts under each condition that has no file yet, and scores all.

    Args:
      test: the conditions.
      model: with heads.
      truth: of the corpus.
      output: folder whose `conditions/` gets the predictions, a file per condition.
      clean: predictions for the recordings as they are.
      progress: shows how far it is.

    Returns:
      {"seed", "conditions": see `degradation`}, without NaN.
    """
    found = {CLEAN: clean}
    for condition in test.conditions:
        if condition.name == CLEAN:
            continue
        path = output / FOLDER / f"{condition.name}.csv"
        if not path.exists():
            answers = predict_corpus(
                model,
                test.source,
                truth,
                change=test.change(condition),
                after_each=progress(condition.name, len(test.source)),
            )
            write_predictions(path, answers.predictions)
        # Read back, so that a resumed test has the same digits.
        found[condition.name] = read_predictions(path)
    return without_nan({"seed": test.seed, "conditions": degradation(found, seed=test.seed)})


def write_tables(output: Path, result: dict[str, Any]) -> Iterable[Path]:
    """Writes robustness.csv and robustness.md, and lists them."""
    texts = {
        output / "robustness.csv": degradation_csv(result["conditions"]),
        output / "robustness.md": degradation_markdown(result["conditions"]),
    }
    for path, text in texts.items():
        with whole_file(path) as file:
            file.write(text)
    return texts
