"""`sersl embed`: embeddings of audio files in one NPZ."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import IO, Any

import numpy as np

from sersl.cli.audio_files import find_audio, progress
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import whole_file
from sersl.release.predict.predictor import load


def run(arguments: Namespace) -> int:
    """Writes embeddings.

    The file holds `files` [F] str and `embeddings` float32: [F, D], or [F, L + 1, D] with
    `--layers all`. With `--frames` the frames of all files follow each other, [sum T, D] or
    [sum T, L + 1, D], and `num_frames` int64 [F] counts those of each. `skipped` and `causes` list
    the files without an embedding. Read it with `numpy.load`.

    Args:
      arguments: `model`, `inputs`, `output`, `frames`, `layers` ("all", "last" or a number),
        `no_verify`.

    Returns:
      The exit code, 0: at least one file has an embedding.

    Raises:
      UserError: no file could be read, the output cannot be written, or wrong arguments.
    """
    output = Path(arguments.output)
    if output.suffix.lower() != ".npz":
        raise UserError(f"embeddings are written as .npz: give another --output than {output}")
    files = find_audio(arguments.inputs)
    try:
        if output.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        # Opened first: what cannot be written is found before the work.
        with whole_file(output, "wb") as file:
            _embed(files, arguments, file)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror or error}): make room, change the "
            "permissions, or give another --output"
        ) from error
    print(f"written to {one_line(str(output))}", file=sys.stderr)
    return 0


def _embed(files: list[Path], arguments: Namespace, output: IO[bytes]) -> None:
    model = load(arguments.model, verify_weights=not getattr(arguments, "no_verify", False))
    model.layer_numbers(arguments.layers)  # raises for wrong ones before any file is read
    kept: list[str] = []
    vectors: list[np.ndarray] = []
    skipped: list[str] = []
    causes: list[str] = []
    with progress(len(files), unit="file") as bar:
        for path in files:
            try:
                vector = model.embed(path, layers=arguments.layers, frames=arguments.frames)
            except UserError as error:
                skipped.append(str(path))
                causes.append(str(error))
            else:
                # `embed` gives layers first; here frames come first.
                layered = arguments.frames and vector.ndim == 3
                vectors.append(vector.transpose(1, 0, 2) if layered else vector)
                kept.append(str(path))
            bar.update()
    print(f"{len(files)} files: {len(kept)} embedded, {len(skipped)} left out", file=sys.stderr)
    if not kept:
        raise UserError(f"none of {len(files)} files has an embedding ({causes[0]})")
    for name, cause in list(zip(skipped, causes, strict=True))[:5]:
        print(f"left out {one_line(name)}: {one_line(cause)}", file=sys.stderr)
    content: dict[str, Any] = {
        "files": np.array(kept),
        "embeddings": np.concatenate(vectors) if arguments.frames else np.stack(vectors),
        "skipped": np.array(skipped, dtype=str),
        "causes": np.array(causes, dtype=str),
    }
    if arguments.frames:
        content["num_frames"] = np.array([len(vector) for vector in vectors], np.int64)
    np.savez(output, **content)
