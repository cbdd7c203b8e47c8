"""Pretrains recipes with and without emotion knowledge at equal budget, and probes them frozen.

    python tools/ablation.py --data_dir data --output runs/ablation factors
    python tools/ablation.py --data_dir data --output runs/ablation untrained:10 plain+prosody:10
    python tools/ablation.py ... --steps 1500 --config.data.seconds_per_batch=16 factors

Needs corpora that were prepared by `sersl prepare` and annotated by `sersl annotate`. A cell is a
recipe, parts joined by "+", and a seed; "factors" stands for the sixteen cells of the factorial
below. Cells with the same seed use the same audio in the same batches from the same initial
weights; all mask the same number of frames and take the same number of steps. The probe is a ridge
classifier on standardised averages over time of all layers. It is trained on the speakers of a
fold's training side, with the regularisation chosen on validation speakers, and scored on speakers
whose labels it has not seen; the encoder stays frozen. A finished cell is not run again, and
several runs of this program share the cells of an output folder. `tools/ablation_table.py` prints
tables.

How the recipe is chosen. This was written before any cell was run.

1. Eight parts are varied at once in sixteen cells, a fractional factorial 2^(8-4) of resolution
   IV: each part is in eight of the cells, and its effect is not confounded with that of another
   part or of a pair. Four seeds are blocks of four cells, so that the effect of a seed is not
   confounded with that of a part. An effect is the mean score with the part minus that without;
   its interval adds the variance over test speakers (bootstrap) to that over runs (from the four
   remaining contrasts), with Student's t of four degrees of freedom.
2. The score is the mean UAR of the corpora. A part is adopted if the interval of its effect on the
   score is above 0. Others are left out: of recipes that do not differ, the simplest is chosen.
3. The recipe of these parts is compared with "plain" (contrast alone, uniform masking) on seeds 10,
   11 and 12, which no choice was based on. It is adopted if the interval of the paired difference
   is above 0; otherwise plain is.
4. If it uses intensity, the same recipe with random intensities is run too. If the two do not
   differ, the gain does not come from emotion knowledge and is not reported as such.
5. (Added after the first run, with 200 steps.) If plain is not better than the untrained encoder,
   the steps are too few to choose anything, and the recipe stays as it is.
6. (Added before the second run, with 1,500 steps of a quarter of the batch. Steps and batch were
   chosen by comparing plain with the untrained encoder alone, seed 10, in a run of 3,000 steps.)
   Besides the factorial, each masking rule is compared with plain on seeds 10, 11 and 12. These
   comparisons are reported; nothing is chosen by them.
7. (Added when ten cells of the second run and plain on seeds 10 and 11 had been seen, but no
   effect: plain was not better than the untrained encoder.) Rule 6 for seeds 10 to 12 and rules 3
   to 5 are applied with 3,000 steps.
8. (Added when masking alone had been seen on seeds 10 to 12 and prosody alone on 10 and 11.) Plain,
   prosody, and masking with prosody are compared once more on seeds 20, 21 and 22. A part of the
   recipe is left out if the recipe without it is better, with an interval above 0.
"""

import argparse
import contextlib
import fcntl
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.seeds import generator
from sersl.corpora.labels import make_view
from sersl.corpora.protocols.protocol import make_folds
from sersl.data.sources import CorpusSource
from sersl.eval.metrics import confusion_matrix, uar
from sersl.models.encoder import SpeechEncoder
from sersl.parallel.random import fold, run_key
from sersl.pretraining.run import pretrain
from sersl.pretraining.task import ENCODER
from sersl.release.starting_weights import read_weights

UNTRAINED = "untrained"  # the same encoder with its initial weights
# Contrast alone; these undo the parts of a preset.
PLAIN = (
    "masking.rule=uniform",
    "masking.temperature=0.5",
    "objectives.prosody.weight=0.0",
    "objectives.intensity.weight=0.0",
    "objectives.workers.weight=0.0",
    "objectives.multiview.weight=0.0",
    "objectives.supervised.weight=0.0",
    "knowledge.input=false",
    "knowledge.loss_weight=0.0",
    "data.annotator=signal",
)
PARTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    # which frames are masked
    "masking": ("masking.rule=intensity",),
    "top": ("masking.rule=intensity", "masking.temperature=0.0"),
    "threshold": ("masking.rule=threshold", "masking.threshold=0.5"),
    "bands": ("masking.rule=bands",),
    # intensity elsewhere
    "input": ("knowledge.input=true",),
    "target": ("objectives.intensity.weight=1.0",),
    "weighting": ("knowledge.loss_weight=0.5",),
    "pairs": ("objectives.supervised.weight=1.0", "objectives.supervised.pairs=intensity"),
    # which intensity; "crossed" is fitted on other speakers, see tools/intensity_table.py
    "learned": ("data.annotator=crossed",),
    "random": ("data.annotator=random",),
    # objectives besides the contrast
    "prosody": ("objectives.prosody.weight=1.0",),
    "workers": ("objectives.workers.weight=1.0", "objectives.workers.names=mel,mfcc,functionals"),
    "views": ("objectives.multiview.weight=1.0", "objectives.multiview.views=speech,functionals"),
}
# The factorial: all combinations of the first four parts; the others are products of three of them.
BASIC = ("masking", "input", "target", "weighting")
DERIVED = {
    "prosody": ("input", "target", "weighting"),
    "workers": ("masking", "target", "weighting"),
    "views": ("masking", "input", "target"),
    "learned": ("masking", "input", "weighting"),
}
BLOCKS = (("masking", "input"), ("masking", "target"))  # products that give the number of the seed
STRENGTHS = (10.0, 100.0, 1_000.0, 10_000.0)  # of the probe's penalty
PROTOCOLS = {"ravdess": "emobox", "nemo": "leave-one-speaker-out"}  # others: k-fold-by-speaker


def main() -> int:
    """Runs the cells that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", nargs="+", metavar="PARTS:SEED", help="or factors")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--corpora", nargs="+", default=["ravdess", "nemo"])
    parser.add_argument("--config", default="configs/pretrain/emotion_aware.py:tiny")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--probe_per_speaker", type=int, default=180, help="utterances at most")
    arguments, settings = parser.parse_known_args()
    arguments.settings = [text.removeprefix("--config.") for text in settings]
    try:
        if unknown := [text for text in settings if not text.startswith("--config.")]:
            raise UserError(f"unknown option {unknown[0]!r}: settings are --config.NAME=VALUE")
        cells = [cell for text in arguments.cells for cell in read_cells(text)]
        probes = {
            name: Probe(arguments.data_dir, name, per_speaker=arguments.probe_per_speaker)
            for name in arguments.corpora
        }
        for parts, seed in cells:
            with claim(arguments.output / f"{'+'.join(parts)}-{seed}") as folder:
                if folder is not None and not (folder / "cell.json").is_file():
                    run_cell(arguments, probes, parts, seed, folder)
                    jax.clear_caches()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_cells(text: str) -> list[tuple[tuple[str, ...], int]]:
    """Parses "masking+prosody:3" or "factors" into [(parts, seed)]."""
    if text == "factors":
        return factors()
    recipe, _, seed = text.partition(":")
    parts = tuple(recipe.split("+"))
    for part in parts:
        if part not in (*PARTS, UNTRAINED):
            raise unknown_name("part", part, (*PARTS, UNTRAINED, "factors"))
    if not seed.isdigit():
        raise UserError(f"cell {text!r} has no seed: write PARTS:SEED, such as plain:10")
    return [(parts, int(seed))]


def factors() -> list[tuple[tuple[str, ...], int]]:
    """Lists the sixteen cells of the factorial with their seeds, block by block."""
    cells = []
    for number in range(2 ** len(BASIC)):
        sign = {part: 1 if number >> i & 1 else -1 for i, part in enumerate(BASIC)}
        sign |= {part: sign[a] * sign[b] * sign[c] for part, (a, b, c) in DERIVED.items()}
        seed = sum((sign[a] * sign[b] > 0) << i for i, (a, b) in enumerate(BLOCKS))
        parts = tuple(part for part, value in sign.items() if value > 0)
        cells.append((parts or ("plain",), seed))
    return sorted(cells, key=lambda cell: cell[1])


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[Path | None]:
    """Locks the folder of a cell for this process; None if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield folder


def run_cell(arguments, probes: dict, parts: tuple[str, ...], seed: int, folder: Path) -> None:
    """Pretrains and probes one cell."""
    print(f"{'+'.join(parts)}, seed {seed}", flush=True)
    changes = [
        *PLAIN,
        *(change for part in parts if part != UNTRAINED for change in PARTS[part]),
        f"data.data_dir={arguments.data_dir}",
        f"data.corpora={','.join(arguments.corpora)}",
        f"train.num_steps={arguments.steps}",
        f"checkpoint.every_steps={max(1, arguments.steps // 4)}",  # from which a cell resumes
        f"train.seed={seed}",
        *arguments.settings,
    ]
    config = load_config(PretrainConfig, arguments.config, changes)
    encoder = nnx.eval_shape(
        lambda: SpeechEncoder(config.frontend, config.encoder, key=jax.random.key(0))
    )
    if UNTRAINED in parts:
        key = fold(run_key(seed, "init"), ENCODER)  # the initial weights of this seed
        params = nnx.to_pure_dict(
            nnx.split(SpeechEncoder(config.frontend, config.encoder, key=key))[1]
        )
    else:
        pretrain(config, folder / "run", preempted=lambda step: False)
        params = read_weights(folder / "run").params["encoder"]
    found = {name: probe.score(encoder, params) for name, probe in probes.items()}
    content = {
        "parts": parts,
        "seed": seed,
        "steps": arguments.steps,
        "settings": arguments.settings,
        "corpora": found,
    }
    (folder / "cell.json").write_text(json.dumps(content) + "\n")
    print({name: round(scores["uar"], 4) for name, scores in found.items()}, flush=True)


class Probe:
    """A corpus with its folds, and the frozen probe on it."""

    def __init__(self, data_dir: str, corpus: str, *, per_speaker: int):
        """Reads labels and folds and draws the utterances; audio is read when it is embedded."""
        self.source = CorpusSource(data_dir, corpus)
        index = self.source.index
        names = index.column("category")
        self.speaker = index.column("speaker")
        self.view = make_view("corpus", names)
        self.category = np.array([self.view.names.index(name) for name in names])
        rows = [
            generator(0, "probe", i).permutation(np.flatnonzero(self.speaker == speaker))
            for i, speaker in enumerate(np.unique(self.speaker))
        ]
        self.rows = np.sort(np.concatenate([own[:per_speaker] for own in rows]))
        self.folds = make_folds(
            PROTOCOLS.get(corpus, "k-fold-by-speaker"),
            [index],
            num_folds=min(5, len(rows)),
            validation_fraction=0.15,
            seed=0,
            view=self.view,
        )

    def score(self, encoder: SpeechEncoder, params: dict) -> dict:
        """Returns {"uar", "names" of categories, and "speaker" etc. of all test utterances}."""
        vectors = embed(self.source, self.rows, encoder, params)
        tested, answers = [], []
        for one in self.folds:
            train, validation, test = (
                np.intersect1d(rows, self.rows) for rows in (one.train, one.validation, one.test)
            )
            strength = self._choose(vectors, train, validation)
            tested.append(test)
            answers.append(self._answer(vectors, train, test, strength=strength))
        rows, predicted = np.concatenate(tested), np.concatenate(answers)
        return {
            "uar": self._uar(rows, predicted),
            "names": list(self.view.names),
            "speaker": self.speaker[rows].tolist(),
            "truth": self.category[rows].tolist(),
            "predicted": predicted.tolist(),
        }

    def _choose(self, vectors, train, validation) -> float:
        def score(strength):
            answers = self._answer(vectors, train, validation, strength=strength)
            return self._uar(validation, answers)

        return max(STRENGTHS, key=score)

    def _answer(self, vectors, train, rows, *, strength) -> np.ndarray:
        scaler = StandardScaler().fit(vectors[train])
        classifier = RidgeClassifier(alpha=strength, class_weight="balanced")
        classifier.fit(scaler.transform(vectors[train]), self.category[train])
        return classifier.predict(scaler.transform(vectors[rows]))

    def _uar(self, rows, predicted) -> float:
        return uar(confusion_matrix(self.category[rows], predicted, len(self.view.names)))


def embed(source: CorpusSource, rows, encoder: SpeechEncoder, params: dict) -> np.ndarray:
    """Averages every layer over real frames: float32 [U, (L + 1) D], 0 except in the rows."""
    graph = nnx.graphdef(encoder)

    @jax.jit
    def run(params, waveform, valid):
        output = nnx.merge(graph, nnx.State(params))(waveform, valid)
        real = output.valid[None, :, :, None].astype(jnp.float32)
        return (output.hidden_states * real).sum(2) / jnp.maximum(real.sum(2), 1.0)

    order = rows[np.argsort(source.num_samples[rows], kind="stable")]
    vectors = None
    for start in range(0, len(order), 32):
        some = order[start : start + 32]
        size = -(-int(source.num_samples[some].max()) // SAMPLE_RATE) * SAMPLE_RATE  # whole seconds
        waveform, valid = np.zeros((32, size), np.float32), np.zeros((32, size), bool)
        for i, row in enumerate(some):
            piece = source.waveform(int(row))
            waveform[i, : len(piece)], valid[i, : len(piece)] = piece, True
        layers = np.asarray(run(params, waveform, valid))[:, : len(some)]
        flat = layers.swapaxes(0, 1).reshape(len(some), -1)
        if vectors is None:
            vectors = np.zeros((len(source), flat.shape[1]), np.float32)
        vectors[some] = flat
    return vectors


if __name__ == "__main__":
    sys.exit(main())
