"""The options of `sersl compare`, `sersl sweep` and `sersl benchmark`."""

import argparse

from sersl.cli.verbs import Verbs, add_verb, number


def add_compare(verbs: Verbs) -> None:
    """Adds `sersl compare`."""
    parser = add_verb(verbs, "compare", "compare finished runs with paired intervals")
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="[NAME=]WORKDIR",
        help="finished runs; the first is the reference; a folder with several seeds is one system",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="write the table as Markdown, CSV, LaTeX and JSON, a plot and an HTML page",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        default="",
        help="score whose differences are shown, e.g. uar or ccc.valence; default: the first",
    )
    parser.add_argument(
        "--draws",
        type=number(int, at_least=100, at_most=1_000_000),
        default=1000,
        metavar="N",
        help="draws of the bootstrap over speakers and seeds; default: 1000",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--together",
        action="store_true",
        help="one more row: the mean of the probabilities, and of the dimensions, of all runs",
    )
    form.add_argument(
        "--matrix",
        action="store_true",
        help="scores across corpora: a row per corpora of training, a column per tested corpus",
    )
    form.add_argument(
        "--curve",
        action="store_true",
        help="scores over the number of training utterances, of runs with other protocol.shots or "
        "protocol.train_share; names such as whisper:5=DIR and hubert:5=DIR make two curves",
    )


def add_benchmark(verbs: Verbs) -> None:
    """Adds `sersl benchmark`."""
    parser = add_verb(
        verbs, "benchmark", "probe frozen models on prepared corpora, in one resumable table"
    )
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        metavar="DIR|NAME",
        help="folders of sersl or of Hugging Face, workdirs of `sersl pretrain`, or OWNER/NAME of "
        "models on the Hugging Face Hub",
    )
    parser.add_argument("--data_dir", required=True, metavar="DIR", help="of `sersl prepare`")
    parser.add_argument(
        "--corpora",
        nargs="+",
        default=[],
        metavar="NAME",
        help="prepared corpora; default: all in --data_dir",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="gets the runs and the table; resumed"
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=(0, 1, 2),
        metavar="N,N",
        help="seeds of every head; default: 0,1,2",
    )
    parser.add_argument(
        "--config",
        default="configs/finetune/frozen.py:base",
        metavar="FILE[:PRESET]",
        help="of the head; default: configs/finetune/frozen.py:base",
    )


def _seeds(text: str) -> tuple[int, ...]:
    read = number(int, at_least=0, at_most=2**32 - 1)
    found = tuple(read(word) for word in text.split(","))
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"takes each seed once, not {text[:40]!r}")
    return found


def add_sweep(verbs: Verbs) -> None:
    """Adds `sersl sweep`."""
    parser = add_verb(
        verbs, "sweep", "fine-tune with several settings and choose by validation only"
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:PRESET]",
        help="config file with get_config() and get_sweep()",
    )
    parser.add_argument(
        "--config.KEY=VALUE",
        dest="overrides",
        metavar="",
        help="change one setting of all trials; can be repeated",
    )
    parser.add_argument(
        "--workdir",
        required=True,
        metavar="DIR",
        help="folder of the sweep; an interrupted sweep in it is resumed",
    )
    parser.add_argument(
        "--jobs",
        metavar="I/N",
        help="run only every N-th trial, from trial I on, e.g. in job I of a Slurm array",
    )
