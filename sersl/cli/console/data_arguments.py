"""The options of the verbs that make data: prepare, annotate and cluster."""

import argparse

from sersl.cli.verbs import Verbs, add_verb, number


def add_manifest_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that describe a manifest: its name, columns, scales and licence."""
    parser.add_argument(
        "--name", metavar="NAME", help="name of the manifest's corpus; default: that of the file"
    )
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
    parser.add_argument(
        "--licence",
        metavar="NAME",
        help="licence of the manifest's audio and labels, for reports and model cards",
    )


def add_prepare(verbs: Verbs) -> None:
    """Adds `sersl prepare`."""
    parser = add_verb(verbs, "prepare", "convert audio and labels to records")
    parser.add_argument(
        "--corpus", metavar="NAME", help="a supported corpus, e.g. ravdess or synthetic"
    )
    parser.add_argument(
        "--audio_dir",
        metavar="DIR",
        help="the corpus in its original folder layout; with --manifest, the folder that its "
        "paths are relative to",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="your own list: CSV, JSONL or Parquet with a path column, or another --format",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        help="format of the manifest: csv, jsonl, parquet, emobox, s3prl, speechbrain, nemo, "
        "fairseq, kaldi, audformat or audiofolder; default: detected from its contents",
    )
    add_manifest_options(parser)
    parser.add_argument(
        "--data_dir", metavar="DIR", required=True, help="folder to write the records to"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="first download the corpus to --audio_dir, if its owner offers it freely",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="with --download: parts of the corpus, e.g. dev-clean of librispeech",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="prepare a corpus again that is prepared already"
    )
    parser.add_argument(
        "--processes",
        type=number(int, at_least=1, at_most=1024),
        default=1,
        metavar="N",
        help="encoding processes; default: 1",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="do part I of N, where I counts from 0; run all N parts, on one or several hosts; "
        "rerun an interrupted part to resume it",
    )
    parser.add_argument(
        "--beam_pipeline_options",
        metavar="NAME=VALUE,...",
        help="encode with Apache Beam (sersl[beam]), e.g. runner=DirectRunner",
    )
    parser.add_argument(
        "--allow_unexpected_count",
        action="store_true",
        help="accept a corpus with another number of utterances than published",
    )
    parser.add_argument(
        "--allow_outside_paths",
        action="store_true",
        help="accept paths in a manifest that leave its folder, such as ../other/a.wav",
    )


def add_annotate(verbs: Verbs) -> None:
    """Adds `sersl annotate`."""
    parser = add_verb(verbs, "annotate", "compute emotion intensity and prosody of every frame")
    parser.add_argument(
        "--annotator",
        default="signal",
        metavar="NAME_OR_FOLDER",
        help="signal (default), energy, random, uniform, a folder written by --fit, or a model "
        "folder",
    )
    parser.add_argument(
        "--corpus", required=True, metavar="NAME", help="a prepared corpus; with --fit also A,B"
    )
    parser.add_argument(
        "--data_dir", required=True, metavar="DIR", help="folder of the prepared corpora"
    )
    parser.add_argument(
        "--processes",
        type=number(int, at_least=1, at_most=1024),
        default=1,
        metavar="N",
        help="processes, for annotators that run on the CPU; default: 1",
    )
    parser.add_argument(
        "--shard",
        default="0/1",
        metavar="I/N",
        help="do part I of N, where I counts from 0; run all N parts",
    )
    parser.add_argument(
        "--measure",
        metavar="NAME",
        help="with a model folder: neutral (distance from neutral; default), arousal or entropy",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare with the intensities of the corpus; with --output, also plot utterances",
    )
    parser.add_argument(
        "--fit", metavar="KIND", help="fit an annotator to the corpus: ranker or strength"
    )
    parser.add_argument(
        "--output", metavar="FOLDER", help="folder to write to, with --fit or --check"
    )
    parser.add_argument(
        "--config.KEY=VALUE",
        dest="overrides",
        metavar="",
        help="with --fit: change one setting, e.g. --config.ranker.supervision=intensity",
    )


def add_cluster(verbs: Verbs) -> None:
    """Adds `sersl cluster`."""
    parser = add_verb(
        verbs, "cluster", "assign each frame a k-means code, for pretraining on codes"
    )
    parser.add_argument(
        "--corpus", required=True, nargs="+", metavar="NAME", help="one or more prepared corpora"
    )
    parser.add_argument(
        "--data_dir", required=True, metavar="DIR", help="folder of the prepared corpora"
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder of the code book; its last part is the name of the code book",
    )
    parser.add_argument(
        "--features",
        default="mfcc",
        metavar="mfcc|MODEL",
        help="mfcc, the workdir of `sersl pretrain`, or a model folder; default: mfcc",
    )
    parser.add_argument(
        "--layer",
        type=number(int, at_least=1),
        metavar="N",
        help="layer of the model, where 1 is the first",
    )
    parser.add_argument(
        "--num_codes",
        type=number(int, at_least=2, at_most=65_536),
        default=100,
        metavar="K",
        help="number of codes; default: 100",
    )
    parser.add_argument(
        "--max_frames",
        type=number(int, at_least=1),
        default=1_000_000,
        metavar="N",
        help="frames that k-means is fitted to; default: 1000000",
    )
    parser.add_argument(
        "--seed",
        type=number(int, at_least=0, at_most=2**32 - 1),
        default=0,
        metavar="N",
        help="seed of k-means; default: 0",
    )
