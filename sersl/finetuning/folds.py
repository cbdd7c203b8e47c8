"""The folds of a fine-tuning run, its label view, and the files that record them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import unknown_name
from sersl.core.files import write_json
from sersl.corpora.index import CorpusIndex, read_summary
from sersl.corpora.label_columns import applying, scales, words
from sersl.corpora.labels import LabelView
from sersl.corpora.protocols.division import name_speakers
from sersl.corpora.protocols.file import write_protocol
from sersl.corpora.protocols.protocol import Fold, final_fold, make_folds
from sersl.corpora.protocols.train_share import with_train_share
from sersl.corpora.ratings import describe_view, view_report
from sersl.data.sources import CorpusSource
from sersl.finetuning.targets import Targets
from sersl.finetuning.trained_parts import Counts
from sersl.runs.record import describe_corpora

FINAL = "final"  # name of the fold that trains on all speakers, for release


def choose_folds(
    config: FinetuneConfig, sources: Sequence[CorpusSource], view: LabelView
) -> list[Fold]:
    """Makes the folds to run: those of the protocol, or some of them, and the final one.

    Args:
      config: protocol, seed.
      sources: corpora in order.
      view: classes, which few-shot and cross-corpus protocols use.

    Returns:
      Folds in order.

    Raises:
      UserError: unknown protocol or fold, or see `make_folds`.
    """
    protocol, indexes = config.protocol, [source.index for source in sources]
    folds = make_folds(
        protocol.name,
        indexes,
        num_folds=protocol.num_folds,
        validation_fraction=protocol.validation_fraction,
        seed=config.train.seed,
        allow_speaker_overlap=protocol.allow_speaker_overlap,
        file=protocol.file,
        shots=protocol.shots,
        test_corpora=protocol.test_corpora,
        view=view,
    )
    if protocol.final_model:
        folds.append(
            final_fold(
                FINAL,
                indexes,
                validation_fraction=protocol.validation_fraction,
                seed=config.train.seed,
                allow_speaker_overlap=protocol.allow_speaker_overlap,
            )
        )
    classes = _classes(sources, view)
    folds = [
        with_train_share(
            fold,
            protocol.train_share,
            classes=classes,
            speakers=name_speakers(indexes),
            seed=config.train.seed,
        )
        for fold in folds
    ]
    names = [fold.name for fold in folds]
    for name in protocol.folds:
        if name not in names:
            raise unknown_name("fold in protocol.folds", name, names)
    return [fold for fold in folds if not protocol.folds or fold.name in protocol.folds]


def _classes(sources: Sequence[CorpusSource], view: LabelView) -> np.ndarray:
    """Names the class of every row of the run; "" for none, or where several may apply."""
    given = np.concatenate([words(source.index, raw=view.raw) for source in sources])
    if view.multi:
        return np.full(len(given), "", object)
    return np.array([*view.names, ""], object)[view.indices(given)]


def describe_labels(sources: Sequence[CorpusSource], view: LabelView) -> list[str]:
    """Describes, in lines for people, the classes that the view gives each corpus."""
    return describe_view(_view_report(sources, view)) if view.names else []


def differences(index: CorpusIndex) -> list[str]:
    """Describes how a prepared corpus differs from the published one; [] where it does not."""
    # What an older version prepared does not state them.
    given = read_summary(index.folder).get("differences", ())
    return [f"{index.corpus} is not complete: {text}" for text in given]


def warnings(folds: Sequence[Fold]) -> list[str]:
    """Lists the warnings of all folds, each once."""
    said = [sentence for fold in folds for sentence in fold.checks["warnings"]]
    return [f"WARNING: {sentence}" for sentence in dict.fromkeys(said)]


def write_folds(
    workdir: Path,
    folds: Sequence[Fold],
    config: FinetuneConfig,
    sources: Sequence[CorpusSource],
    targets: Targets,
    *,
    counts: Counts,
) -> None:
    """Writes corpora.json, folds.json and protocol.json, which `protocol.file` reads back.

    Args:
      workdir: of the run.
      folds: in order.
      config: of the run.
      sources: corpora in order.
      targets: what is predicted.
      counts: parameters of the model.
    """
    speaker = np.concatenate([source.index.column("speaker") for source in sources])
    tested = [fold for fold in folds if len(fold.test)]
    indexes = [source.index for source in sources]
    checksum = write_protocol(workdir / "protocol.json", config.protocol.name, tested, indexes)
    write_json(
        workdir / "corpora.json",
        {
            "corpora": describe_corpora(sources, labels_used=True),
            "categories": list(targets.view.names),
            "dimensions": list(targets.dimensions),
            "rated": list(targets.rated),
            "labels": {
                "multi": targets.view.multi,
                "scales": _scales(sources, targets.dimensions),
                "classes": [list(p) for p in targets.view.classes if p[0] != p[1]],
                "raw": targets.view.raw,
            },
            "view": _view_report(sources, targets.view),
            "protocol_sha256": checksum,
            "parameters": counts._asdict(),
        },
    )
    write_json(
        workdir / "folds.json",
        [
            {
                "fold": fold.name,
                "test_speakers": sorted(set(speaker[fold.test])),
                "validation_speakers": sorted(set(speaker[fold.validation])),
                "num_train": len(fold.train),
                "num_validation": len(fold.validation),
                "num_test": len(fold.test),
                **targets.counts(fold),
                "checks": fold.checks,
            }
            for fold in folds
        ],
    )


def _view_report(sources: Sequence[CorpusSource], view: LabelView) -> dict[str, Any]:
    """Counts what the view merges and leaves out; where several classes apply, counts each."""
    if not view.multi:
        given = {s.index.corpus: words(s.index, raw=view.raw) for s in sources}
        return view_report(view, given)
    counted = {}
    for source in sources:
        table = applying(source.index, view)
        unknown = np.full(int(np.isnan(table).any(axis=1).sum()), "", object)
        named = np.array(view.names, object)[np.nonzero(np.nan_to_num(table))[1]]
        counted[source.index.corpus] = np.concatenate([named, unknown])
    return view_report(LabelView(view.names), counted)


def _scales(sources: Sequence[CorpusSource], names: Sequence[str]) -> dict[str, list[float]]:
    """Gives the scale of each dimension that all corpora rated on the same one."""
    found = [scales(source.index, names) for source in sources]
    return {
        name: found[0][name]
        for name in names
        if name in found[0] and all(one.get(name) == found[0][name] for one in found)
    }
