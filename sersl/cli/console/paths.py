"""Checks the paths of the command line before anything is read or written."""

import argparse
import os

from sersl.core.display import one_line
from sersl.core.errors import UserError

# Attributes of the parsed command line that are paths, and how they are written there.
_WRITTEN = {"workdir": "--workdir", "data_dir": "--data_dir", "output": "--output"}
_READ = {
    **{name: f"--{name}" for name in ("audio_dir", "manifest", "model", "source", "annotator")},
    "features": "--features",
    "folder": "DIR",
    "config": "--config",
    "inputs": "FILE_OR_FOLDER",
    "runs": "WORKDIR",
    "list": "--list",
    "dialogues": "--dialogues",
    "rttm": "--rttm",
}
# What is read with the file system of this machine alone; audio to predict may be in a bucket.
_READ_HERE = ("audio_dir", "manifest", "model", "source", "annotator", "features", "folder")
_ON_HUB = "hf://"
_TO_BUCKETS = ("predict", "embed")  # verbs whose output may be in a bucket
_LOCAL = ("workdir", "output")  # prepared data may be read from a bucket
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, of Linux file systems
_SHOWN = 60  # characters of a path that is too long


def check_paths(arguments: argparse.Namespace) -> None:
    """Checks all paths of a command line.

    Args:
      arguments: as parsed.

    Raises:
      UserError: one is empty or too long, has a NUL, or cannot be written to.
    """
    for name, option in (_READ | _WRITTEN).items():
        given = getattr(arguments, name, None)
        for path in given if isinstance(given, list) else [given]:
            if path is not None:
                _check(str(path), option)
                if name in _READ_HERE:
                    _check_read_here(str(path), option)
                if name in _WRITTEN:
                    remote = name == "output" and arguments.verb in _TO_BUCKETS
                    _check_written(str(path), option, local=name in _LOCAL and not remote)


def _check(path: str, option: str) -> None:
    if not path.strip():
        raise UserError(f"{option} is empty: give a path, or leave it out where it may be")
    if "\0" in path:
        raise UserError(f"{option} {one_line(path)} has a NUL character: give another path")
    try:
        content = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise UserError(
            f"{option} {one_line(path)} has a character that no file name has: give another path"
        ) from error
    longest = max(map(len, content.split(b"/")))
    if longest > _LONGEST_NAME or len(content) > _LONGEST_PATH:
        shown = one_line(path[:_SHOWN])
        raise UserError(
            f"{option} {shown}... has a name of {longest} bytes, more than {_LONGEST_NAME}, or is "
            f"longer than {_LONGEST_PATH} in all: give a shorter path"
        )


def _check_read_here(path: str, option: str) -> None:
    if "://" in path and not path.startswith(_ON_HUB):
        raise UserError(
            f"{option} {one_line(path)} is not a local path: copy it here with the bucket's own "
            "tools, such as `gcloud storage cp -r` or `aws s3 cp --recursive`, and give the copy"
        )


def _check_written(path: str, option: str, *, local: bool) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{option} {one_line(path)} is not UTF-8: give a path that is") from error
    if local and "://" in path:
        raise UserError(
            f"{option} {path} is not a local path: give one, and copy the result with the "
            "bucket's own tools"
        )
