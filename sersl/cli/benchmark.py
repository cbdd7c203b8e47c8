"""`sersl benchmark`: frozen probes of any models on every prepared corpus, in one table."""

import os
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sersl.cli.console.stopping import stopped
from sersl.cli.finetune import report, report_seeds
from sersl.config.load import load_config
from sersl.config.optimization import TrainConfig
from sersl.config.schema import FinetuneConfig
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import check_name, check_writable, read_json, write_json
from sersl.corpora.index import load_index, prepared_corpora
from sersl.eval.benchmark_table import Cell, as_text, table_rows, write_tables
from sersl.eval.evaluator import validation_scores
from sersl.eval.published_scores import has_published
from sersl.eval.workdir_files import RESULTS, read_results
from sersl.finetuning.folds import differences
from sersl.finetuning.run import finetune_seeds
from sersl.finetuning.seed_runs import seed_runs
from sersl.parallel import distributed
from sersl.release.hub.hub_name import hub_name
from sersl.release.huggingface.importing import import_folder
from sersl.release.starting_weights import read_weights
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.leaks import seen_of
from sersl.training.loop import Preempted

_DONE = "cell.json"  # of a model on a corpus that is finished
_DAMAGED = "remove it and run the same command again"


def run(arguments: Namespace) -> int:
    """Probes every model on every corpus, one after the other, and writes the table.

    Args:
      arguments: `model`, folders; `corpora`, names, or [] for all prepared ones; `data_dir`,
        `output`, `config`, `seeds`.

    Returns:
      The exit code: 0, also after SIGTERM; 2 where a corpus could not be scored.

    Raises:
      UserError: an argument is wrong.
    """
    distributed.initialize(host_timeout_seconds=TrainConfig().host_timeout_seconds)
    if jax.process_count() > 1:
        raise UserError("sersl benchmark runs in one process: start it on one host")
    output = Path(arguments.output)
    check_writable(output, option="--output")
    models = _named(arguments.model)
    corpora = arguments.corpora or prepared_corpora(arguments.data_dir)
    if not corpora:
        raise UserError(
            f"--data_dir {arguments.data_dir} has no prepared corpus: run `sersl prepare` first"
        )
    for corpus in corpora:
        load_index(arguments.data_dir, corpus)
    cells: list[Cell] = []
    for name, folder in models.items():
        weights = _weights(folder, output / name)
        for corpus in corpora:
            try:
                cells.append(_cell(arguments, name, weights, corpus, output / name / corpus))
            except Preempted as stop:
                return stopped(stop, output)
            except UserError as error:
                print(one_line(f"sersl: {name} on {corpus}: {error}"))
                reason = f"not scored: {error}"
                cells.append(Cell(name, corpus, _protocol(corpus), 0, 0.0, reason, {}))
    page = write_tables(output, cells, subtitle=f"{len(models)} models, {len(corpora)} corpora")
    print(as_text(table_rows(cells)))
    print(f"page: {page}")
    return 0 if all(cell.results for cell in cells) else 2


def _named(folders: Sequence[str]) -> dict[str, str]:
    """Names the models by their folders."""
    names = [_name(folder) for folder in folders]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise UserError(
            f"--model has several folders named {', '.join(double)}: rename one, since the table "
            "and the output use the names"
        )
    return dict(zip(names, folders, strict=True))


def _name(model: str) -> str:
    found = hub_name(model)
    if found is None:
        return check_name(os.path.basename(os.path.realpath(model)), what="--model")
    name = str(found).replace("/", "--")
    return check_name(name, what="--model")


def _weights(model: str, output: Path) -> InitialWeights:
    """Reads the weights of a model; imports a folder of Hugging Face first."""
    if hub_name(model) is not None:
        return read_weights(model)
    folder = Path(model)
    if (folder / "config.json").is_file() and not (folder / "sersl.json").is_file():
        hugging_face = (folder / "model.safetensors").is_file() or any(folder.glob("*.bin"))
        if hugging_face:
            imported = output / "imported"
            if not (imported / "sersl.json").is_file():
                import_folder(folder, imported)
            folder = imported
    return read_weights(folder)


def _protocol(corpus: str) -> str:
    return "emobox" if has_published(corpus) else "leave-one-speaker-out"


def _cell(
    arguments: Namespace, model: str, weights: InitialWeights, corpus: str, workdir: Path
) -> Cell:
    """Probes a model on a corpus, or reads what an earlier start has finished."""
    index = load_index(arguments.data_dir, corpus)
    seen = seen_of(index, weights.corpora)
    config = _config(arguments, weights, corpus, leak=seen.labels)
    runs = seed_runs(config, workdir)
    seconds = _seconds(workdir)
    if seconds is None:
        begin = time.perf_counter()
        finetune_seeds(
            runs, score=validation_scores, preempted=distributed.preempted, weights=weights
        )
        for one in runs:
            report(one.config, one.workdir)
        if len(runs) > 1:
            report_seeds(config, workdir)
        seconds = time.perf_counter() - begin
        write_json(workdir / _DONE, {"seconds": seconds})
    notes = differences(index)
    if seen.labels:
        notes.append(
            "LEAK: trained with labels of this corpus; scores do not hold for new speakers"
        )
    elif seen.audio:
        notes.append("trained on audio of this corpus, without labels")
    parameters = sum(np.size(leaf) for leaf in jax.tree.leaves(weights.params["encoder"]))
    results = read_results(workdir)
    return Cell(model, corpus, _protocol(corpus), parameters, seconds, "; ".join(notes), results)


def _seconds(workdir: Path) -> float | None:
    """Reads how long a finished cell took; None for one that is not finished."""
    if not (workdir / _DONE).is_file() or not (workdir / RESULTS).is_file():
        return None
    content: Any = read_json(workdir / _DONE, what="a finished cell", remedy=_DAMAGED)
    if not isinstance(content, dict) or not isinstance(content.get("seconds"), int | float):
        raise UserError(f"{workdir / _DONE} has no number 'seconds': {_DAMAGED}")
    return float(content["seconds"])


def _config(
    arguments: Namespace, weights: InitialWeights, corpus: str, *, leak: bool
) -> FinetuneConfig:
    settings = [
        f"data.data_dir={arguments.data_dir}",
        f"data.corpora={corpus}",
        f"init_from={weights.source}",
        f"protocol.name={_protocol(corpus)}",
        "protocol.final_model=false",
        f"train.seeds=({','.join(map(str, arguments.seeds))},)",
    ]
    if corpus == "iemocap":
        settings.append("labels.view=4class")
    if leak:  # the row has a note
        settings.append("protocol.allow_speaker_overlap=true")
    return load_config(FinetuneConfig, arguments.config, settings + list(arguments.overrides))
