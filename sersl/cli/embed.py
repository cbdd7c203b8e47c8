"""`sersl embed`: embeddings of audio files in one NPZ."""

import sys
from pathlib import Path

import numpy as np

from sersl.cli.audio_files import find_audio, progress
from sersl.core.errors import UserError
from sersl.core.files import whole_file
from sersl.release.predict.predictor import load


def run(arguments) -> int:
    """Writes embeddings.

    The file holds `files` [F] str and `embeddings` float32: [F, D], or [F, L + 1, D] with
    `--layers all`. With `--frames` the frames of all files follow each other, [sum T, D] or
    [sum T, L + 1, D], and `num_frames` int64 [F] tells them apart. `skipped` and `causes` name the
    files that are left out. Read it with `numpy.load`.

    Args:
      arguments: `model`, `inputs`, `output`, `frames`, `layers` ("all", "last" or a number).

    Returns:
      The exit code, 0: at least one file has an embedding.

    Raises:
      UserError: no file could be read, or wrong arguments.
    """
    output = Path(arguments.output)
    if output.suffix.lower() != ".npz":
        raise UserError(f"embeddings are written as .npz: --output {output} ends otherwise")
    files = find_audio(arguments.inputs)
    model = load(arguments.model)
    model.layer_numbers(arguments.layers)  # says what is wrong before any file is read
    kept, vectors, skipped, causes = [], [], [], []
    with progress(len(files), unit="file") as bar:
        for file in files:
            try:
                vector = model.embed(file, layers=arguments.layers, frames=arguments.frames)
            except UserError as error:
                skipped.append(str(file))
                causes.append(str(error))
            else:
                # With all layers the layers come first; files and frames are to lead.
                layered = arguments.frames and vector.ndim == 3
                vectors.append(vector.transpose(1, 0, 2) if layered else vector)
                kept.append(str(file))
            bar.update()
    print(f"{len(files)} files: {len(kept)} embedded, {len(skipped)} left out", file=sys.stderr)
    if not kept:
        raise UserError(f"none of {len(files)} files has an embedding ({causes[0]})")
    for name, cause in list(zip(skipped, causes, strict=True))[:5]:
        print(f"left out {name}: {cause}", file=sys.stderr)
    content = {
        "files": np.array(kept),
        "embeddings": np.concatenate(vectors) if arguments.frames else np.stack(vectors),
        "skipped": np.array(skipped, dtype=str),
        "causes": np.array(causes, dtype=str),
    }
    if arguments.frames:
        content["num_frames"] = np.array([len(vector) for vector in vectors], np.int64)
    _save(output, content)
    print(f"written to {output}", file=sys.stderr)
    return 0


def _save(output: Path, content: dict) -> None:
    try:
        with whole_file(output, "wb") as file:
            np.savez(file, **content)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}") from error
