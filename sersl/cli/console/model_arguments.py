"""The options of the verbs that use models: evaluate, import, export, push, predict, embed."""

import argparse
from collections.abc import Sequence

from sersl.cli.verbs import Verbs, add_verb, number
from sersl.core.errors import UserError


def add_evaluate(verbs: Verbs) -> None:
    """Adds `sersl evaluate`."""
    parser = add_verb(
        verbs, "evaluate", "score a fine-tuning run, or a model folder on a prepared corpus"
    )
    parser.add_argument("--workdir", metavar="DIR", help="workdir of `sersl finetune`")
    parser.add_argument(
        "--model",
        metavar="DIR|NAME",
        help="model folder of `sersl export`, or OWNER/NAME on the Hugging Face Hub",
    )
    parser.add_argument("--corpus", metavar="NAME", help="with --model: a prepared corpus")
    parser.add_argument(
        "--data_dir", metavar="DIR", help="with --model or --listen: folder of the prepared corpora"
    )
    add_precision(parser, of="with --model: ")
    add_table(parser, of="with --model: ")
    add_no_average(parser, of="with --model: ")
    parser.add_argument(
        "--speakers",
        nargs="+",
        metavar="NAME",
        help="with --model: score these speakers of the corpus alone, such as the test speakers of "
        "the fold that the model is of; names with spaces or commas between them",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="with --model: folder to write the report to"
    )
    parser.add_argument(
        "--listen",
        action="store_true",
        help="embed the recordings of the most confident mistakes in the report, the first 15 s of "
        "each; anyone with the report can play them",
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="RUN",
        help="add a comparison with these runs on the same test utterances to the report, DIR or "
        "NAME=DIR, as `sersl compare`",
    )
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="with --model: also score the recordings with noise (white, pink, babble of other "
        "speakers; SNR 20 to -5 dB), in rooms, by telephone and through codecs; rerun an "
        "interrupted command to resume it",
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        metavar="NAME",
        help="with --robustness: only these, e.g. babble, room, telephone, pink_0dB; default: all",
    )
    parser.add_argument(
        "--noise_corpora",
        nargs="+",
        metavar="NAME",
        help="with --robustness: prepared corpora of recorded noise, a noise of their own",
    )
    parser.add_argument(
        "--seed",
        type=number(int, at_least=0),
        default=0,
        metavar="N",
        help="with --robustness and --dropout_passes: of noise, rooms and dropout; default: 0",
    )
    parser.add_argument(
        "--dropout_passes",
        type=number(int, at_least=2, at_most=1000),
        metavar="K",
        help="with --model: also predict K times with dropout, and report how well their "
        "spread tells errors",
    )
    parser.add_argument(
        "--ensemble",
        nargs="+",
        metavar="DIR",
        help="with --model: other model folders, e.g. of other folds or seeds, to average with it, "
        "and report how well their disagreement tells errors",
    )
    _add_verification(parser)


def add_import(verbs: Verbs) -> None:
    """Adds `sersl import`."""
    parser = add_verb(verbs, "import", "convert a Hugging Face speech model to a model folder")
    parser.add_argument(
        "--source",
        required=True,
        metavar="DIR|NAME",
        help="folder with config.json, preprocessor_config.json and weights, or "
        "OWNER/NAME[@REVISION] on the Hugging Face Hub",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="model folder to write")
    parser.add_argument(
        "--exact_window",
        action="store_true",
        help="Whisper: pad all audio to 30 s, as the original does, which takes several times as "
        "long; default: run on the audio alone, unless the source has heads",
    )
    parser.add_argument(
        "--layers",
        type=number(int, at_least=1),
        metavar="N",
        help="cut the encoder after N layers: its outputs are hidden states 0 to N of the source, "
        "without heads and without a final LayerNorm",
    )
    parser.add_argument(
        "--licence",
        default="",
        metavar="NAME",
        help="licence of the model, for its card; default: what the card of the source states",
    )


def add_export(verbs: Verbs) -> None:
    """Adds `sersl export`."""
    parser = add_verb(verbs, "export", "write a model folder for release")
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="workdir of `sersl finetune` or `sersl pretrain`, or a model folder",
    )
    parser.add_argument("--output", metavar="DIR", help="model folder to write")
    parser.add_argument(
        "--check",
        metavar="DIR",
        help="write nothing; compare a model folder, workdir, annotator, code book or version of a "
        "prepared corpus with its checksums",
    )
    parser.add_argument("--onnx", action="store_true", help="also write onnx/model.onnx")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also write onnx/model_int8.onnx, and how far its answers are from float32",
    )
    parser.add_argument(
        "--triton", action="store_true", help="also write triton/, a model repository for Triton"
    )
    parser.add_argument(
        "--stablehlo",
        action="store_true",
        help="also write stablehlo/, programs that jax.export runs without sersl",
    )
    parser.add_argument(
        "--weights",
        default="float32",
        choices=("float32", "int8"),
        help="int8: store the kernels of the encoder in 8 bits, about a quarter of the size, which "
        "only sersl reads; default: float32",
    )
    parser.add_argument(
        "--notes", metavar="FILE", help="Markdown to add to the model card, such as what was tested"
    )
    parser.add_argument(
        "--fold",
        default="final",
        metavar="NAME",
        help="fold of the run whose model is exported; default: final, trained on all speakers",
    )
    parser.add_argument(
        "--licence",
        default="",
        metavar="NAME",
        help="licence of the model, e.g. CC-BY-NC-SA-4.0; a model folder that has one keeps it",
    )


def add_push(verbs: Verbs) -> None:
    """Adds `sersl push`."""
    parser = add_verb(verbs, "push", "upload a model folder to the Hugging Face Hub")
    parser.add_argument("folder", metavar="DIR", help="model folder of `sersl export`")
    parser.add_argument("name", metavar="OWNER/NAME", help="of the model on the hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")


def add_predict(verbs: Verbs) -> None:
    """Adds `sersl predict`."""
    parser = add_verb(verbs, "predict", "predict the emotions of audio files")
    _add_model_and_inputs(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help=".csv, .jsonl or .parquet file, or its URL in a bucket; rerun an interrupted command "
        "to resume it; default: print a table",
    )
    parser.add_argument(
        "--window",
        type=number(float, above=0),
        metavar="S",
        help="predict windows of S seconds, one row each",
    )
    parser.add_argument(
        "--hop",
        type=number(float, above=0),
        metavar="S",
        help="seconds between windows; default: the window",
    )
    parser.add_argument(
        "--speech", action="store_true", help="predict each stretch of speech, one row each"
    )
    parser.add_argument(
        "--rttm", metavar="FILE", help="predict each turn of an RTTM file, one row each"
    )
    parser.add_argument(
        "--dialogues",
        metavar="FILE",
        help="table with the columns path, dialogue, turn and speaker, for a model that reads "
        "dialogues",
    )
    parser.add_argument(
        "--frames", action="store_true", help="also write scores of every 20-ms frame (.jsonl)"
    )
    add_table(parser)
    add_no_average(parser)


def add_embed(verbs: Verbs) -> None:
    """Adds `sersl embed`."""
    parser = add_verb(verbs, "embed", "write embeddings of audio files")
    _add_model_and_inputs(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help=".npz or .parquet file, or a folder for .npy shards; rerun an interrupted command to "
        "resume it",
    )
    parser.add_argument(
        "--frames", action="store_true", help="one vector per 20-ms frame instead of per file"
    )
    parser.add_argument(
        "--layers",
        default="last",
        metavar="all|last|N",
        help="layers of the encoder; default: last",
    )


def _add_model_and_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="DIR|NAME",
        help="model folder of `sersl export`, or OWNER/NAME[@REVISION] on the Hugging Face Hub; "
        "default: the small model that is part of sersl",
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE_OR_FOLDER",
        help="audio files, folders of them, URLs in a bucket, or - for standard input",
    )
    parser.add_argument(
        "--list",
        metavar="FILE",
        help="text file with a path or URL per line; - reads it from standard input",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="do every N-th file from the I-th on, counted from 0, and add the part to the name of "
        "the output",
    )
    add_precision(parser)
    _add_verification(parser)


def add_table(parser: argparse.ArgumentParser, *, of: str = "") -> None:
    """Adds --table."""
    parser.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help=f"{of}Parquet or NPZ table of a view that the model reads beside audio "
        "(docs/fusion.md); several times for several views",
    )


def add_precision(parser: argparse.ArgumentParser, *, of: str = "") -> None:
    """Adds --precision."""
    parser.add_argument(
        "--precision",
        metavar="KIND",
        help=f"{of}float32, bfloat16 (computation), or int8 (stored weights); default: as trained",
    )


def add_no_average(parser: argparse.ArgumentParser, *, of: str = "") -> None:
    """Adds --no_average."""
    parser.add_argument(
        "--no_average",
        action="store_true",
        help=f"{of}score each recording alone, where the model averages over copies at other "
        "speeds (views.average): faster, and other scores",
    )


def _add_verification(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no_verify",
        action="store_true",
        help="do not compare the weights with their checksum; saves time with very large models",
    )


def tables_of(given: Sequence[str]) -> dict[str, str]:
    """Reads NAME=FILE of `--table`: name to file.

    Raises:
      UserError: another form, or a name twice.
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, path = one.partition("=")
        if not (name and equals and path) or name in found:
            raise UserError(
                f"--table {one!r} is not NAME=FILE with a name of its own: write it such as "
                "text=words.parquet"
            )
        found[name] = path
    return found
