"""Predictions of a released model for a prepared corpus, in the categories that both have."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.index import CorpusIndex
from sersl.corpora.label_columns import applying, ratings, words
from sersl.corpora.labels import DIMENSIONS, VIEWS, LabelView, make_view, order_dimensions
from sersl.data.sources import CorpusSource
from sersl.eval.multi_label import joined
from sersl.eval.predictions import Predictions
from sersl.release.predict.outputs import Answer
from sersl.release.predict.predictor import Model
from sersl.release.predict.with_views import of_rows

FOLD = "all"  # a released model is tested on everything at once
Change = Callable[[int, np.ndarray], np.ndarray]


def view_of(model: Model) -> LabelView:
    """Gives the classes of a model, and which categories it was trained to merge into them."""
    if model.labels.uncalibrated.to_json():
        return model.labels.view(model.categories)
    results = model.about.get("results") or {}
    name = model.about.get("view") or results.get("protocol", {}).get("view", "")
    view = make_view(name, ()) if name in VIEWS else LabelView(())
    # An imported model, and one of an own set of categories, merges none.
    return view if view.names == model.categories else LabelView(model.categories)


@dataclass(frozen=True, kw_only=True)
class CorpusTruth:
    """The labels of a corpus in the categories of a model.

    Attributes:
      classes: str [n]; where several may apply, joined by ";".
      shared: categories that both have, in the order of the model.
      only_corpus: words that are not categories of the model, with counts.
      merged: words that the model was trained to take for another, and their number.
      labelled: bool [n], where several may apply: whether it is known which do; else None.
    """

    classes: np.ndarray
    shared: tuple[str, ...]
    only_corpus: Counter[str]
    merged: Counter[str]
    labelled: np.ndarray | None = None


def truth_of(index: CorpusIndex, view: LabelView) -> CorpusTruth:
    """Finds the labels of a corpus in the categories of a model, see `view_of`."""
    categories = words(index, raw=view.raw).astype(str)
    single = np.array([*view.names, ""])[view.indices(categories)]
    merged = Counter(
        f"{category} as {name}"
        for category, name in zip(categories.tolist(), single.tolist(), strict=True)
        if name and name != category
    )
    only_corpus = Counter(categories[(categories != "") & (single == "")].tolist())
    if not view.multi:
        shared = tuple(name for name in view.names if name in single)
        return CorpusTruth(classes=single, shared=shared, only_corpus=only_corpus, merged=merged)
    table = applying(index, view)
    there = (table == 1).any(axis=0)
    shared = tuple(name for name, found in zip(view.names, there, strict=True) if found)
    return CorpusTruth(
        classes=joined((table == 1)[:, there], shared),
        shared=shared,
        only_corpus=only_corpus,
        merged=merged,
        labelled=~np.isnan(table).any(axis=1),
    )


@dataclass(frozen=True, kw_only=True)
class CorpusAnswers:
    """The answers of a model for a corpus.

    Attributes:
      predictions: of N utterances, among the shared categories.
      failed: number of utterances that were not scored, by status.
      rows: int [N], of the index.
      embeddings: float32 [N, E]; [N, 0] of changed recordings.
      uncertainty: name to [N], of what the heads give: vacuity or open_set.
    """

    predictions: Predictions
    failed: Counter[str]
    rows: np.ndarray
    embeddings: np.ndarray
    uncertainty: dict[str, np.ndarray]


def predict_corpus(
    model: Model,
    source: CorpusSource,
    truth: CorpusTruth,
    *,
    change: Change | None = None,
    after_each: Callable[[], object] = lambda: None,
) -> CorpusAnswers:
    """Predicts every utterance of a corpus.

    Args:
      model: with heads.
      source: the corpus.
      truth: of the corpus, see `truth_of`.
      change: gives the recording to predict instead, [N] float32, of a row and its waveform [N].
      after_each: called after each utterance.

    Raises:
      UserError: a record is damaged, or none could be scored.
    """
    shared = truth.shared
    index, kept, answers = source.index, [], []
    failed: Counter[str] = Counter()
    waveforms = (
        source.waveform(row) if change is None else change(row, source.waveform(row))
        for row in range(len(index))
    )
    recordings = of_rows(waveforms, index, range(len(index)))
    found = model.answers(recordings, sample_rate=SAMPLE_RATE, embedding=change is None)
    for row, answer in enumerate(found):
        if answer.scored:
            kept.append(row)
            answers.append(answer)
        else:
            failed[answer.status] += 1
        after_each()
    if not kept:
        raise UserError(f"no utterance of {index.corpus!r} could be scored: {dict(failed)}")
    scores = np.array([[answer.rows[0].category[name] for name in shared] for answer in answers])
    scores = scores.reshape(len(kept), len(shared))
    if truth.labelled is None:
        # Among the shared categories only, so that they sum to 1 again.
        scores = scores / np.maximum(scores.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    rows = np.array(kept)
    return CorpusAnswers(
        predictions=_table(model, index, rows, truth, scores=scores, answers=answers),
        failed=failed,
        rows=rows,
        embeddings=np.stack([answer.rows[0].embedding for answer in answers]),
        uncertainty={
            name: np.array([answer.rows[0].uncertainty[name] for answer in answers])
            for name in ("vacuity", "open_set")
            if name in answers[0].rows[0].uncertainty
        },
    )


def _table(
    model: Model,
    index: CorpusIndex,
    rows: np.ndarray,
    truth: CorpusTruth,
    *,
    scores: np.ndarray,
    answers: Sequence[Answer],
) -> Predictions:
    rated = order_dimensions((*DIMENSIONS, *model.dimensions))
    shared = truth.shared
    best = np.array(shared)[scores.argmax(axis=1)] if shared else np.full(len(rows), "")
    if truth.labelled is not None:
        least = np.array([model.labels.thresholds[name] for name in shared])
        best = joined(scores >= least, shared)
    predicted = None
    if model.dimensions:
        predicted = np.full((len(answers), len(rated)), np.nan)
        for name in model.dimensions:
            values = [answer.rows[0].dimensions[name] for answer in answers]
            predicted[:, rated.index(name)] = values
    return Predictions(
        text={
            "utterance_id": index.column("utterance_id")[rows].astype(str),
            "fold": np.full(len(rows), FOLD),
            "speaker": index.column("speaker")[rows].astype(str),
            "corpus": np.full(len(rows), index.corpus),
            "gender": index.column("gender")[rows].astype(str),
            "category": truth.classes[rows],
            "predicted": best,
        },
        names=shared,
        labelled=None if truth.labelled is None else truth.labelled[rows],
        scores=scores,
        rated=rated,
        truth=ratings(index, rated)[rows],
        predicted=predicted,
    )
