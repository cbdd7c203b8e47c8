"""Does emotion knowledge pay? Pretrains variants at equal budget and probes them, frozen.

Command: python tools/ablation.py --data_dir data --output runs/ablation --seeds 0 1 2
Needs corpora that `sersl prepare` and `sersl annotate` have prepared. Every variant sees the same
audio in the same batches, hides the same number of frames and takes the same number of steps. The
probe is a ridge classifier on standardised averages over time of all layers, trained on the
speakers of a fold's training side (validation speakers choose its strength) and scored on speakers
it never saw; no parameter of the encoder moves. A finished cell is never run again.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import recall_score
from sklearn.preprocessing import StandardScaler

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.labels import make_view
from sersl.corpora.protocols import make_folds
from sersl.data.sources import CorpusSource
from sersl.models.encoder import SpeechEncoder
from sersl.parallel.random import run_key
from sersl.release.initial import read_weights
from sersl.train.pretrain import pretrain

UNIFORM = ("masking.rule=uniform",)
ALONE = ("objectives.prosody.weight=0.0",)  # contrast without the prosody worker
VARIANTS: dict[str, tuple[str, ...] | None] = {
    "no pretraining": None,  # the same encoder with its initial weights
    "uniform": UNIFORM,
    "top intensity": ("masking.rule=intensity", "masking.temperature=0.0"),
    "intensity, temperature 0.5": ("masking.rule=intensity",),
    "threshold": ("masking.rule=threshold", "masking.threshold=0.5"),
    "bands": ("masking.rule=bands",),
    "uniform, no workers": (*UNIFORM, *ALONE),
    "intensity, no workers": ALONE,
    "intensity + input": ("knowledge.input=true",),
    "intensity + target": ("objectives.intensity.weight=1.0",),
    "intensity + input + target": ("knowledge.input=true", "objectives.intensity.weight=1.0"),
    "intensity + loss weight": ("knowledge.loss_weight=0.5",),
}
STRENGTHS = (10.0, 100.0, 1_000.0, 10_000.0)  # of the probe's penalty
PROTOCOLS = {"ravdess": "emobox", "nemo": "leave-one-speaker-out"}  # others: k-fold-by-speaker


def main() -> int:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--corpora", nargs="+", default=["ravdess", "nemo"])
    parser.add_argument("--config", default="configs/pretrain/emotion_aware.py:tiny")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    arguments = parser.parse_args()
    try:
        probes = {name: Probe(arguments.data_dir, name) for name in arguments.corpora}
        for seed in arguments.seeds:
            for variant in arguments.variants:
                run_cell(arguments, probes, variant, seed)
        print(table(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def cell_folder(arguments, variant: str, seed: int) -> Path:
    """Names the folder of one variant and seed."""
    return arguments.output / f"{variant.replace(' ', '_').replace(',', '')}-{seed}"


def run_cell(arguments, probes: dict, variant: str, seed: int) -> None:
    """Pretrains and probes one variant with one seed, unless that is done."""
    folder = cell_folder(arguments, variant, seed)
    if (folder / "probe.json").is_file():
        return
    print(f"{variant}, seed {seed}", flush=True)
    changes = [
        f"data.data_dir={arguments.data_dir}",
        f"data.corpora={','.join(arguments.corpora)}",
        f"train.num_steps={arguments.steps}",
        f"train.seed={seed}",
    ]
    config = load_config(PretrainConfig, arguments.config, [*changes, *(VARIANTS[variant] or ())])
    encoder = nnx.eval_shape(
        lambda: SpeechEncoder(config.frontend, config.encoder, key=jax.random.key(0))
    )
    if VARIANTS[variant] is None:
        made = SpeechEncoder(config.frontend, config.encoder, key=run_key(seed, "init"))
        params = nnx.to_pure_dict(nnx.split(made)[1])
    else:
        pretrain(config, folder, preempted=lambda step: False)
        params = read_weights(folder).params["encoder"]
    found = {name: probe.score(encoder, params) for name, probe in probes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "probe.json").write_text(json.dumps(found, indent=1) + "\n")
    print({name: round(scores["uar"], 3) for name, scores in found.items()}, flush=True)


class Probe:
    """A corpus with its folds, and the frozen probe on it."""

    def __init__(self, data_dir: str, corpus: str):
        """Reads labels and folds; audio is read when it is embedded."""
        self.source = CorpusSource(data_dir, corpus)
        index = self.source.index
        names = index.column("category")
        self.view = make_view("corpus", names)
        self.category = np.array([self.view.names.index(name) for name in names])
        self.folds = make_folds(
            PROTOCOLS.get(corpus, "k-fold-by-speaker"),
            [index],
            num_folds=5,
            validation_fraction=0.15,
            seed=0,
            view=self.view,
        )

    def score(self, encoder: SpeechEncoder, params: dict) -> dict:
        """Gives {"uar": over all test utterances, "folds": [of each]}."""
        vectors = embed(self.source, encoder, params)
        truth, answer, folds = [], [], []
        for fold in self.folds:
            chosen = self._fit(vectors, fold.train, fold.validation)
            scaler, classifier = self._train(vectors, fold.train, strength=chosen)
            predicted = classifier.predict(scaler.transform(vectors[fold.test]))
            truth.append(self.category[fold.test])
            answer.append(predicted)
            folds.append(_uar(truth[-1], predicted))
        return {"uar": _uar(np.concatenate(truth), np.concatenate(answer)), "folds": folds}

    def _fit(self, vectors, train, validation) -> float:
        def score(strength):
            scaler, classifier = self._train(vectors, train, strength=strength)
            predicted = classifier.predict(scaler.transform(vectors[validation]))
            return _uar(self.category[validation], predicted)

        return max(STRENGTHS, key=score)

    def _train(self, vectors, rows, *, strength):
        scaler = StandardScaler().fit(vectors[rows])
        classifier = RidgeClassifier(alpha=strength, class_weight="balanced")
        classifier.fit(scaler.transform(vectors[rows]), self.category[rows])
        return scaler, classifier


def embed(source: CorpusSource, encoder: SpeechEncoder, params: dict) -> np.ndarray:
    """Averages every layer over the real frames of each utterance: float32 [U, (L + 1) D]."""
    graph = nnx.graphdef(encoder)

    @jax.jit
    def run(params, waveform, valid):
        output = nnx.merge(graph, nnx.State(params))(waveform, valid)
        real = output.valid[None, :, :, None].astype(jnp.float32)
        return (output.hidden_states * real).sum(2) / jnp.maximum(real.sum(2), 1.0)

    lengths = source.num_samples
    order = np.argsort(lengths, kind="stable")
    vectors = None
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        size = -(-int(lengths[rows].max()) // SAMPLE_RATE) * SAMPLE_RATE  # whole seconds
        waveform, valid = np.zeros((32, size), np.float32), np.zeros((32, size), bool)
        for i, row in enumerate(rows):
            piece = source.waveform(int(row))
            waveform[i, : len(piece)], valid[i, : len(piece)] = piece, True
        layers = np.asarray(run(params, waveform, valid))[:, : len(rows)]
        flat = layers.swapaxes(0, 1).reshape(len(rows), -1)
        vectors = np.zeros((len(order), flat.shape[1]), np.float32) if vectors is None else vectors
        vectors[rows] = flat
    return vectors


def _uar(truth, predicted) -> float:
    return float(recall_score(truth, predicted, average="macro"))


def table(arguments) -> str:
    """Writes mean and deviation over seeds, and the paired difference to uniform masking."""
    scores = {}
    for variant in arguments.variants:
        files = [cell_folder(arguments, variant, seed) / "probe.json" for seed in arguments.seeds]
        if all(file.is_file() for file in files):
            scores[variant] = [json.loads(file.read_text()) for file in files]
    head = " | ".join(f"{name} UAR | less uniform" for name in arguments.corpora)
    lines = [f"| variant | {head} |", "|---" * (1 + 2 * len(arguments.corpora)) + "|"]
    for variant, cells in scores.items():
        parts = []
        for corpus in arguments.corpora:
            found = np.array([cell[corpus]["uar"] for cell in cells])
            parts.append(f"{found.mean():.3f} ± {found.std(ddof=1) if len(found) > 1 else 0:.3f}")
            if "uniform" in scores and variant != "uniform":
                base = np.array([cell[corpus]["uar"] for cell in scores["uniform"]])
                difference = found - base
                spread = difference.std(ddof=1) if len(found) > 1 else 0
                parts.append(f"{difference.mean():+.3f} ± {spread:.3f}")
            else:
                parts.append("")
        lines.append(f"| {variant} | " + " | ".join(parts) + " |")
    seeds = ", ".join(map(str, arguments.seeds))
    return "\n".join([*lines, "", f"{arguments.steps} steps, seeds {seeds}: mean ± deviation."])


if __name__ == "__main__":
    sys.exit(main())
