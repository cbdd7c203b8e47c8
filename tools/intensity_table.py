"""ROC areas of annotators for strong against normal renditions in RAVDESS, on held-out speakers.

    python tools/intensity_table.py --data_dir DIR --workdir DIR

The data_dir is from `sersl prepare --corpus ravdess`. For each of EmoBox's six folds of four
actors, annotators are fitted on the other twenty actors and applied to the four; the ROC area is
over all test utterances. `--only network` prints only rows with that word; `--finetuned RUN` adds
rows for the models of `sersl finetune` on these folds (protocol.name=emobox); `--draw` also writes
figures of utterances of a test speaker. `--annotate ravdess nemo` prints no table and writes the
sidecars `crossed` of these corpora with the networks in the workdir; see `Crossed`.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np

from sersl.annotation.annotate import annotate_corpus
from sersl.annotation.annotator_folder import write_annotator
from sersl.annotation.annotators import RULES, Annotator
from sersl.annotation.category_ranker import fit_category_ranker
from sersl.annotation.fit import Portion, learn_strength
from sersl.annotation.fitted import VERSIONS, open_fitted
from sersl.annotation.speakers import measure_all, measure_speakers
from sersl.annotation.utterance_features import corpus_functionals, measure_rows
from sersl.audio.prosody import log_rms
from sersl.cli.main import main as sersl
from sersl.config.annotation import RankerConfig, SpeakerConfig, StrengthConfig
from sersl.corpora.index import CorpusIndex
from sersl.corpora.protocols.published_folds import EMOBOX_TEST_SPEAKERS
from sersl.data.sources import CorpusSource
from sersl.eval.intensity_agreement import compare, draw, is_active, utterance_intensity
from sersl.release.model_annotator import ModelAnnotator

CORPUS = "ravdess"
FOLDS = EMOBOX_TEST_SPEAKERS[CORPUS]
COLUMNS = ("all", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
BLIND = SpeakerConfig(normalize=False)
# name: (settings, whether it is given the categories of the utterances)
RANKERS = {
    "ranker, no intensity labels": (RankerConfig(), True),
    "the same, not told the category": (RankerConfig(), False),
    "the same, not told the speaker": (RankerConfig(speaker=BLIND), True),
    "the same, told neither": (RankerConfig(speaker=BLIND), False),
    "one ranker for all categories": (RankerConfig(by_category=False), True),
    "with similarity pairs": (RankerConfig(similar_weight=0.03), True),
    "ranker, intensity labels": (RankerConfig(supervision="intensity"), True),
    "the same labels, not told the category": (RankerConfig(supervision="intensity"), False),
    "the same labels, told neither": (RankerConfig(supervision="intensity", speaker=BLIND), False),
}
# name: supervision of the ranker that makes its targets; None: the labels are the targets
NETWORKS: dict[str, str | None] = {
    "strength network, no intensity labels": "neutral",
    "strength network, intensity labels": "intensity",
}


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, type=Path)
    parser.add_argument("--workdir", required=True, type=Path)
    parser.add_argument("--draw", type=Path, help="folder for figures")
    parser.add_argument("--finetuned", type=Path, help="workdir of `sersl finetune`")
    parser.add_argument("--only", default="", metavar="TEXT", help="part of row names")
    parser.add_argument("--annotate", nargs="*", default=[], metavar="CORPUS", help="sidecars")
    arguments = parser.parse_args()
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    for corpus in arguments.annotate:
        annotate_corpus(Crossed(arguments.workdir), corpus, data_dir=arguments.data_dir)
    if arguments.annotate:
        return
    table = Table(CorpusSource(arguments.data_dir, CORPUS), arguments)
    print("| annotator | " + " | ".join(COLUMNS) + " |", flush=True)
    print("|---" * (len(COLUMNS) + 1) + "|", flush=True)
    rows = {name: functools.partial(table.rule, name) for name in RULES}
    for name, (config, categories) in RANKERS.items():
        rows[name] = functools.partial(table.ranker, config, categories=categories)
    for name, supervision in NETWORKS.items():
        rows[name] = functools.partial(table.network, supervision)
    if arguments.finetuned is not None:
        for measure in ("neutral", "entropy"):
            row = functools.partial(table.model, arguments.finetuned, measure)
            rows[f"fine-tuned model, {measure}"] = row
    for name, measure in rows.items():
        if arguments.only in name:
            table.row(name, measure())
    if arguments.draw is not None:
        table.draw(arguments.draw)


class Crossed:
    """The strength networks of all folds as one annotator, fitted without intensity labels.

    Speakers of RAVDESS are annotated by the network of the fold that tests them, which has seen no
    label of theirs; speakers of other corpora by that of the first fold.
    """

    name = "crossed"
    on_device = True

    def __init__(self, workdir: Path):
        """Opens the networks that the row "strength network, no intensity labels" has fitted."""
        self.networks = [open_fitted(workdir / f"strength-neutral-{i}") for i in range(len(FOLDS))]

    def identity(self) -> dict:
        """See `sersl.annotation.annotators.Annotator`."""
        return {"folds": [network.identity() for network in self.networks]}

    def listen(self, source: CorpusSource) -> None:
        """See `sersl.annotation.annotators.Annotator`."""
        for fold in np.unique(self._folds(source, range(len(source)))):
            self.networks[fold].prepare(source)

    def labels_of(self, index: CorpusIndex) -> list[dict]:
        """See `sersl.annotation.annotators.Annotator`."""
        return self.networks[0].labels_of(index)

    def intensities(self, source, rows, waveforms, tracks):
        """See `sersl.annotation.annotators.Annotator`."""
        folds, found = self._folds(source, rows), [None] * len(rows)
        for fold in np.unique(folds):
            own = np.flatnonzero(folds == fold)
            chosen = [rows[i] for i in own], [waveforms[i] for i in own], [tracks[i] for i in own]
            answers = self.networks[fold].intensities(source, *chosen)
            for i, answer in zip(own, answers, strict=True):
                found[i] = answer
        return found

    def _folds(self, source, rows) -> np.ndarray:
        """Returns the fold whose network annotates each row."""
        speakers = source.index.column("speaker")[np.asarray(rows, np.int64)]
        home = {name: i for i, fold in enumerate(FOLDS) for name in fold}
        ours = source.index.corpus == CORPUS
        return np.array([home[name] if ours else 0 for name in speakers])


class Table:
    """The corpus and its features."""

    def __init__(self, source: CorpusSource, arguments):
        self.source = source
        self.data_dir, self.workdir = arguments.data_dir, arguments.workdir
        self.category = source.index.column("category")
        self.speaker = source.index.column("speaker")
        self.truth = source.index.column("intensity")
        file = self.workdir / "functionals.npy"
        if not file.is_file():
            np.save(file, measure_rows(source, range(len(source)), corpus_functionals))
        self.features = np.load(file)

    def row(self, name: str, found: np.ndarray) -> None:
        """Prints the ROC areas of [n] intensities."""
        area = compare(found, self.truth, self.category, annotator=name, corpus=CORPUS).area
        numbers = " | ".join(f"{area[column]:.3f}" for column in COLUMNS)
        print(f"| {name} | {numbers} |", flush=True)

    def in_sidecar(self, name: str, rows) -> list[float]:
        """Reads the intensity of utterances from a sidecar."""
        annotated = CorpusSource(self.data_dir, CORPUS, annotator=name)
        return [utterance_intensity(annotated, row) for row in rows]

    def rule(self, name: str) -> np.ndarray:
        """Annotates by a rule."""
        annotate_corpus(name, CORPUS, data_dir=self.data_dir)
        return np.array(self.in_sidecar(name, range(len(self.source))))

    def ranker(self, config: RankerConfig, *, categories: bool) -> np.ndarray:
        """Fits a ranker per fold and applies it to the test speakers."""
        found = np.zeros(len(self.source))
        for speakers in FOLDS:
            test = np.isin(self.speaker, speakers)
            names = self.category if categories else [""] * len(test)
            found[test] = self.fitted(config, ~test, names)[test]
        return found

    def network(self, supervision: str | None) -> np.ndarray:
        """Trains a strength network per fold and applies it to the test speakers."""
        found = np.zeros(len(self.source))
        for fold, speakers in enumerate(FOLDS):
            test = np.isin(self.speaker, speakers)
            folder = self.workdir / f"strength-{supervision or 'labels'}-{fold}"
            if not folder.is_dir():
                portion = Portion(self.source, np.flatnonzero(~test))
                wanted = self.truth
                if supervision is not None:
                    config = RankerConfig(supervision=supervision)
                    wanted = self.fitted(config, ~test, self.category)
                about, tensors = learn_strength(
                    [portion], [wanted[portion.rows]], StrengthConfig(seed=fold)
                )
                about |= {
                    "kind": "strength",
                    "versions": VERSIONS["strength"],
                    "labels_of": [self.source.index.names()],
                }
                write_annotator(folder, about, tensors)
            own = self.applied(open_fitted(folder), folder / "heard.npy", np.flatnonzero(test))
            found[test] = own
        return found

    def model(self, run: Path, measure: str) -> np.ndarray:
        """Applies the model of each fold to its test speakers."""
        found = np.zeros(len(self.source))
        for fold in json.loads((run / "folds.json").read_text()):
            test = np.isin(self.speaker, fold["test_speakers"])
            folder = self.workdir / f"model-{fold['fold']}"
            if not folder.is_dir():
                words = ["--workdir", str(run), "--fold", fold["fold"], "--output", str(folder)]
                if sersl(["export", *words, "--licence", "none, for this table"]):
                    raise SystemExit(f"{run} has no model of {fold['fold']}")
            annotator = ModelAnnotator(folder, measure=measure)
            file = self.workdir / f"{annotator.name}.npy"
            found[test] = self.applied(annotator, file, np.flatnonzero(test))
        return found

    def fitted(self, config: RankerConfig, train: np.ndarray, categories) -> np.ndarray:
        """Fits a ranker on some utterances and computes the intensity of all."""
        everyone = measure_all(self.features[train])
        standard = everyone
        if config.speaker.normalize:
            prior = config.speaker.prior
            standard = measure_speakers(self.features, self.speaker, everyone=everyone, prior=prior)
        features = standard.apply(self.features, self.speaker)
        ranker = fit_category_ranker(
            features[train], self.category[train], self.truth[train], config
        )
        return ranker.intensity(features, categories)

    def applied(self, annotator: Annotator, file: Path, rows: np.ndarray) -> np.ndarray:
        """Averages the intensity of utterances over their frames that are not silent."""
        if not file.is_file():
            annotator.prepare(self.source)
            waveforms = [self.source.waveform(row) for row in rows]
            frames = annotator.intensities(self.source, rows, waveforms, [])
            np.save(
                file,
                [
                    values[is_active(log_rms(waveform))].mean()
                    for values, waveform in zip(frames, waveforms, strict=True)
                ],
            )
        return np.load(file)

    def draw(self, folder: Path) -> None:
        """Draws a strong and a normal utterance of a test speaker, by two annotators."""
        network = open_fitted(self.workdir / "strength-neutral-0")
        speaker = FOLDS[0][0]
        for annotator in (RULES["signal"], network):
            annotate_corpus(annotator, CORPUS, data_dir=self.data_dir)
            annotated = CorpusSource(self.data_dir, CORPUS, annotator=annotator.name)
            for category in ("angry", "sad"):
                for truth in (0.0, 1.0):
                    rows = (self.speaker == speaker) & (self.category == category)
                    row = int(np.flatnonzero(rows & (self.truth == truth))[0])
                    print("drew", draw(annotated, row, folder))


if __name__ == "__main__":
    main()
