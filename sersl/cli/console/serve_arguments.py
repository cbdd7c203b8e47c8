"""The options of `sersl serve`."""

import argparse

from sersl.cli.console.model_arguments import add_no_average, add_precision, add_table
from sersl.cli.verbs import Verbs, add_verb, number
from sersl.release.serve.service_limits import Limits

_DEFAULTS = Limits()


def add_serve(verbs: Verbs) -> None:
    """Adds `sersl serve`."""
    parser = add_verb(verbs, "serve", "answer requests with a model: HTTP, WebSocket and a page")
    parser.add_argument(
        "--model",
        metavar="DIR|NAME",
        help="model folder of `sersl export`, or OWNER/NAME[@REVISION] on the Hugging Face Hub; "
        "default: the small model that is part of sersl",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="NAME",
        help="address to listen on; default: 127.0.0.1, this machine alone; 0.0.0.0: all, without "
        "any check of who asks",
    )
    parser.add_argument(
        "--port",
        type=number(int, at_least=0, at_most=65_535),
        default=8000,
        metavar="N",
        help="port to listen on; default: 8000; 0: any that is free",
    )
    add_precision(parser)
    add_table(parser)
    add_no_average(parser)
    _add_number(parser, "upload_mb", "MB of an upload", most=10_000)
    _add_number(parser, "audio_seconds", "seconds of audio of a recording", most=36_000)
    _add_number(parser, "seconds", "seconds from a request to its answer", most=3_600)
    _add_number(parser, "concurrency", "requests in progress", most=512)
    _add_number(parser, "queue", "recordings and windows that wait for the model", most=100_000)
    _add_number(parser, "streams", "WebSocket streams at once", most=256)
    _add_number(parser, "memory_mb", "MB of all uploads and decoded audio", most=1_000_000)
    _add_number(parser, "decoders", "processes that decode audio", most=64, limit=False)
    _add_number(parser, "batch_seconds", "seconds of audio in a batch, with padding", most=3_600)
    _add_number(
        parser,
        "batch_delay",
        "seconds that a request waits for others to share its batch",
        most=10,
        limit=False,
    )
    parser.add_argument(
        "--no_verify",
        action="store_true",
        help="do not compare the weights with their checksum; saves time with very large models",
    )


def _add_number(
    parser: argparse.ArgumentParser, name: str, meaning: str, *, most: float, limit: bool = True
) -> None:
    default = getattr(_DEFAULTS, name)
    kind = type(default)
    allowed = (
        number(int, at_least=1, at_most=most)
        if kind is int
        else number(float, at_least=0.0, at_most=most)
        if not limit
        else number(float, above=0, at_most=most)
    )
    text = f"most {meaning}" if limit else meaning
    parser.add_argument(
        f"--{name}",
        type=allowed,
        default=default,
        metavar="N" if kind is int else "X",
        help=f"{text}; default: {default:g}",
    )
