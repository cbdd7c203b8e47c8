"""The options of every verb. Nothing heavy is imported here: --help answers at once."""

import argparse
import re

from sersl.core.errors import UserError
from sersl.core.version import __version__


class _Parser(argparse.ArgumentParser):
    """A parser that takes no shortened options and says what is wrong in one sentence."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str):
        raise UserError(f"{message}: see `{self.prog} --help`")


def make_parser() -> argparse.ArgumentParser:
    """Builds the parser of `sersl`; the chosen verb is in the attribute `verb`.

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


def read_shard(text: str) -> tuple[int, int]:
    """Reads which share of some work is meant.

    Args:
      text: I/N, such as 0/4.

    Returns:
      I and N.

    Raises:
      UserError: it is something else.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found is None:
        raise UserError(f"--shard {text} is no I/N, such as 0/4")
    return int(found[1]), int(found[2])


def _verb(verbs, name: str, text: str) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")


def _add_columns(parser) -> None:
    parser.add_argument(
        "--columns",
        metavar="COLUMN=NAME,...",
        help="names of the manifest's columns, e.g. emotion=my_label,speaker=speaker_id",
    )
    parser.add_argument(
        "--scale",
        metavar="[COLUMN=]LOW..HIGH,...",
        help="scale of the manifest's ratings, e.g. 1..5, or arousal=1..7,valence=-3..3",
    )


def _prepare(verbs) -> None:
    parser = _verb(verbs, "prepare", "turn audio and labels into records")
    parser.add_argument("--corpus", metavar="NAME", help="a known corpus, e.g. ravdess, synthetic")
    parser.add_argument(
        "--audio_dir",
        metavar="DIR",
        help="the corpus as its owner distributes it; with --manifest, where its paths start",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="your own list: CSV, JSONL or Parquet with a path column, or another --format",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        help="of the manifest: csv, jsonl, parquet, emobox, s3prl, speechbrain, nemo, fairseq, "
        "kaldi, audformat, audiofolder; default: by its contents",
    )
    _add_columns(parser)
    parser.add_argument("--name", metavar="NAME", help="name of the manifest's corpus")
    parser.add_argument("--data_dir", metavar="DIR", required=True, help="where records go")
    parser.add_argument(
        "--download",
        action="store_true",
        help="first download the corpus into --audio_dir, where its owner lets anybody",
    )
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", help="with --download: e.g. dev-clean of librispeech"
    )
    parser.add_argument("--overwrite", action="store_true", help="prepare again what is there")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="that encode")
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="do a share of the work; N runs do all of it, also on several hosts, and what was "
        "interrupted goes on where it was",
    )
    parser.add_argument(
        "--beam_pipeline_options",
        metavar="NAME=VALUE,...",
        help="encode in a pipeline of Apache Beam (sersl[beam]), e.g. runner=DirectRunner",
    )
    parser.add_argument(
        "--allow_unexpected_count",
        action="store_true",
        help="prepare a part of a corpus, or a copy of another size than published",
    )
    parser.add_argument(
        "--allow_outside_paths",
        action="store_true",
        help="a manifest's paths may leave its folder, as ../other/a.wav does",
    )


def _annotate(verbs) -> None:
    parser = _verb(
        verbs, "annotate", "add emotion intensity and prosody of every frame to a corpus"
    )
    parser.add_argument(
        "--annotator",
        default="signal",
        metavar="NAME_OR_FOLDER",
        help="signal (default), energy, random, uniform, a folder of --fit, or a released model",
    )
    parser.add_argument("--corpus", required=True, metavar="NAME", help="prepared; with --fit: A,B")
    parser.add_argument("--data_dir", required=True, metavar="DIR")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="without accelerator")
    parser.add_argument(
        "--shard", default="0/1", metavar="I/N", help="do a share of the work; N runs do all of it"
    )
    parser.add_argument(
        "--measure",
        metavar="NAME",
        help="of a released model: neutral (distance from it; default), arousal, entropy",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare with the corpus's own intensities; with --output draw utterances too",
    )
    parser.add_argument(
        "--fit", metavar="KIND", help="make an annotator of this corpus: ranker or strength"
    )
    parser.add_argument("--output", metavar="FOLDER", help="of --fit or --check")
    parser.add_argument(
        "--config.KEY=VALUE",
        dest="overrides",
        metavar="",
        help="of --fit, e.g. --config.ranker.supervision=intensity; see sersl/config/annotation.py",
    )


def _cluster(verbs) -> None:
    parser = _verb(verbs, "cluster", "give every frame a code by k-means, for pretraining on codes")
    parser.add_argument("--corpus", required=True, nargs="+", metavar="NAME")
    parser.add_argument("--data_dir", required=True, metavar="DIR")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="the code book; its last part is its name"
    )
    parser.add_argument(
        "--features",
        default="mfcc",
        metavar="mfcc|MODEL",
        help="mfcc, or the workdir of a pretraining or a model folder; default: mfcc",
    )
    parser.add_argument("--layer", type=int, metavar="N", help="of the model: 1 is the first")
    parser.add_argument("--num_codes", type=int, default=100, metavar="K", help="default: 100")
    parser.add_argument(
        "--max_frames", type=int, default=1_000_000, metavar="N", help="fitted on; default: 10^6"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")


def _pretrain(verbs) -> None:
    parser = _verb(verbs, "pretrain", "pretrain a speech encoder without labels")
    _run_options(parser)


def _finetune(verbs) -> None:
    parser = _verb(verbs, "finetune", "train and test emotion predictors over all folds")
    _run_options(parser)
    parser.add_argument(
        "--manifest", metavar="FILE", help="your own labelled audio, prepared under the workdir"
    )
    _add_columns(parser)


def _run_options(parser) -> None:
    _config_options(parser)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="resumes what is there")


def _config_options(parser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="FILE[:PRESET]", help="e.g. configs/...py:tiny"
    )
    parser.add_argument(
        "--config.KEY=VALUE",
        dest="overrides",
        metavar="",
        help="change one setting, e.g. --config.train.num_steps=200; may be given many times",
    )


def _evaluate(verbs) -> None:
    parser = _verb(verbs, "evaluate", "score a finetuned run, or a released model on a corpus")
    parser.add_argument("--workdir", metavar="DIR", help="of `sersl finetune`")
    parser.add_argument("--model", metavar="DIR", help="a released folder")
    parser.add_argument("--corpus", metavar="NAME", help="with --model: a prepared corpus")
    parser.add_argument("--data_dir", metavar="DIR", help="with --model: where it was prepared")
    parser.add_argument("--output", metavar="DIR", help="with --model: where the report goes")


def _import(verbs) -> None:
    parser = _verb(verbs, "import", "turn a Hugging Face speech model into a model folder")
    parser.add_argument(
        "--source",
        required=True,
        metavar="DIR",
        help="with config.json, preprocessor_config.json and weights, as downloaded",
    )
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--licence", default="", metavar="NAME", help="of the model, for its card")


def _export(verbs) -> None:
    parser = _verb(verbs, "export", "write a model folder to release")
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="of finetune or pretrain, or a model folder"
    )
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--onnx", action="store_true", help="also write onnx/model.onnx")
    parser.add_argument("--fold", default="final", metavar="NAME", help="default: final")
    parser.add_argument("--licence", default="", metavar="NAME", help="of the model, for its card")


def _doctor(verbs) -> None:
    parser = _verb(verbs, "doctor", "check this machine, its cluster and prepared data")
    parser.add_argument("--workdir", metavar="DIR", help="also check the room and locks there")
    parser.add_argument(
        "--data_dir", metavar="DIR", help="also check every file of the prepared data there"
    )
    parser.add_argument(
        "--join", action="store_true", help="join the other processes of the run and list them"
    )


def _predict(verbs) -> None:
    parser = _verb(verbs, "predict", "say the emotions of audio files")
    parser.add_argument("--model", required=True, metavar="DIR", help="a released folder")
    parser.add_argument("inputs", nargs="+", metavar="FILE_OR_FOLDER")
    parser.add_argument("--output", metavar="FILE", help=".csv or .jsonl; default: a table")
    parser.add_argument("--window", type=float, metavar="S", help="one row per window of S seconds")
    parser.add_argument("--hop", type=float, metavar="S", help="between windows; default: window")
    parser.add_argument("--frames", action="store_true", help="scores of every 20-ms frame (jsonl)")


def _embed(verbs) -> None:
    parser = _verb(verbs, "embed", "write embeddings of audio files")
    parser.add_argument("--model", required=True, metavar="DIR", help="a released folder")
    parser.add_argument("inputs", nargs="+", metavar="FILE_OR_FOLDER")
    parser.add_argument("--output", required=True, metavar="FILE.npz")
    parser.add_argument("--frames", action="store_true", help="one vector per 20-ms frame")
    parser.add_argument("--layers", default="last", metavar="all|last|N", help="default: last")


def _plan(verbs) -> None:
    parser = _verb(
        verbs, "plan", "say what pretraining would cost on hardware that need not be there"
    )
    _config_options(parser)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="CHIP:SHAPE",
        help="v5e:16x16, v5p:4x4x4, v6e:16x16, h100:2x8 (nodes x GPUs), cpu:8, ...",
    )
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="TPU slices; default: 1")
    parser.add_argument(
        "--rows_per_device", type=int, metavar="N", help="batch; default: data.seconds_per_batch"
    )
    parser.add_argument(
        "--hours", type=float, default=60_000.0, metavar="N", help="of audio; default: 60000"
    )
    parser.add_argument(
        "--fit", action="store_true", help="find the largest batch and the cheapest encoder.remat"
    )
    parser.add_argument("--output", metavar="FILE.json", help="the plan for programs")


VERBS = {
    "prepare": _prepare,
    "annotate": _annotate,
    "cluster": _cluster,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "evaluate": _evaluate,
    "import": _import,
    "export": _export,
    "predict": _predict,
    "embed": _embed,
    "doctor": _doctor,
    "plan": _plan,
}
