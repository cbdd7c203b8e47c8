"""The options of every verb. Nothing heavy is imported here, so that --help answers at once."""

import argparse
from typing import Any, NoReturn

from sersl.cli.console.data_arguments import (
    add_annotate,
    add_cluster,
    add_manifest_options,
    add_prepare,
)
from sersl.cli.console.model_arguments import (
    add_embed,
    add_evaluate,
    add_export,
    add_import,
    add_predict,
    add_push,
)
from sersl.cli.console.serve_arguments import add_serve
from sersl.cli.console.study_arguments import add_benchmark, add_compare, add_sweep
from sersl.cli.verbs import Verbs, add_verb, number
from sersl.core.errors import UserError
from sersl.core.version import __version__


class _Parser(argparse.ArgumentParser):
    """A parser that refuses shortened options and reports an error in one sentence."""

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: see `{self.prog} --help`")


def make_parser() -> argparse.ArgumentParser:
    """Builds the parser of `sersl`; the verb is in the attribute `verb`.

    Returns:
      A parser that raises UserError where argparse would print its usage and exit.
    """
    parser = _Parser(
        prog="sersl",
        description="Emotion-aware speech models: prepare, pretrain, finetune, evaluate, predict.",
    )
    parser.add_argument("--version", action="version", version=f"sersl {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    for add in VERBS.values():
        add(verbs)
    return parser


def _pretrain(verbs: Verbs) -> None:
    parser = add_verb(verbs, "pretrain", "pretrain a speech encoder without labels")
    _add_run_options(parser)


def _finetune(verbs: Verbs) -> None:
    parser = add_verb(verbs, "finetune", "train and test emotion predictors on every fold")
    _add_run_options(parser)
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="your own labelled audio, which is prepared in the workdir",
    )
    add_manifest_options(parser)
    parser.add_argument(
        "--pretrain",
        metavar="FILE[:PRESET]",
        help="first pretrain on the same audio with this config, from the same init_from, without "
        "labels (task-adaptive pretraining)",
    )
    parser.add_argument(
        "--pretrain_steps",
        type=number(int, above=0),
        metavar="N",
        help="with --pretrain: number of updates; default: that of its config",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    _add_config_options(parser)
    parser.add_argument(
        "--workdir",
        required=True,
        metavar="DIR",
        help="folder of the run; an interrupted run in it is resumed",
    )


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:PRESET]",
        help="config file, e.g. configs/pretrain/emotion_aware.py:tiny",
    )
    parser.add_argument(
        "--config.KEY=VALUE",
        dest="overrides",
        metavar="",
        help="change one setting, e.g. --config.train.num_steps=200; can be repeated",
    )


def _doctor(verbs: Verbs) -> None:
    parser = add_verb(verbs, "doctor", "check this machine, its cluster and prepared data")
    parser.add_argument(
        "--workdir", metavar="DIR", help="also check free space and locks of a workdir"
    )
    parser.add_argument(
        "--data_dir", metavar="DIR", help="also check every file of the prepared corpora in DIR"
    )
    parser.add_argument(
        "--join", action="store_true", help="join the other processes of the run and list them"
    )


def _plan(verbs: Verbs) -> None:
    parser = add_verb(
        verbs, "plan", "estimate the cost of pretraining on hardware that need not be present"
    )
    _add_config_options(parser)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="CHIP:SHAPE",
        help="v5e:16x16, v5p:4x4x4, v6e:16x16, h100:2x8 (nodes x GPUs), cpu:8, ...",
    )
    parser.add_argument(
        "--slices",
        type=number(int, at_least=1, at_most=10_000),
        default=1,
        metavar="N",
        help="number of TPU slices; default: 1",
    )
    parser.add_argument(
        "--rows_per_device",
        type=number(int, at_least=1),
        metavar="N",
        help="rows of a batch per device; default: from data.seconds_per_batch",
    )
    parser.add_argument(
        "--hours",
        type=number(float, above=0),
        default=60_000.0,
        metavar="N",
        help="hours of audio to train on; default: 60000",
    )
    parser.add_argument(
        "--price_per_chip_hour",
        type=number(float, above=0),
        metavar="P",
        help="price of one chip for an hour; the plan then has the least cost, in its currency",
    )
    parser.add_argument(
        "--fit",
        action="store_true",
        help="find the largest batch and the cheapest encoder.remat that fit in memory",
    )
    parser.add_argument("--output", metavar="FILE.json", help="also write the plan to a JSON file")


VERBS = {
    "prepare": add_prepare,
    "annotate": add_annotate,
    "cluster": add_cluster,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "sweep": add_sweep,
    "evaluate": add_evaluate,
    "compare": add_compare,
    "benchmark": add_benchmark,
    "import": add_import,
    "export": add_export,
    "push": add_push,
    "predict": add_predict,
    "embed": add_embed,
    "serve": add_serve,
    "doctor": _doctor,
    "plan": _plan,
}
