"""`sersl embed`: embeddings of audio files as NPZ, Parquet, or shards of NPY."""

import sys
from argparse import Namespace
from pathlib import Path

import sersl
from sersl.cli.console.audio_files import (
    STDIN,
    Inputs,
    find_audio,
    of_share,
    progress,
    share_of_output,
)
from sersl.cli.predict import digest, opened
from sersl.core.display import one_line
from sersl.core.errors import UserError, unknown_name
from sersl.core.growing import GrowingFile
from sersl.core.share import read_share
from sersl.corpora.remote import is_remote
from sersl.release.predict.embedding import layer_numbers
from sersl.release.predict.precision import check_precision
from sersl.release.predict.vectors import (
    FORMATS,
    INDEX,
    Vectors,
    record,
    to_npz,
    to_parquet,
    to_shards,
)

_SHOWN = 5  # files without an embedding that are named


def run(arguments: Namespace) -> int:
    """Writes embeddings, in batches by length and through a part on disk that is resumed.

    An .npz file holds `files` [F] str and `embeddings` float32: [F, D], or [F, L + 1, D] with
    `--layers all`; `layers` int64 [1] or [L + 1] numbers them, 0 being the input of the first. With
    `--frames` the frames of all files follow each other, [sum T, D] or [sum T, L + 1, D], and
    `num_frames` int64 [F] counts those of each. `skipped` and `causes` list the files without an
    embedding. Read it with `numpy.load`. A .parquet file has a row per vector;
    an output without ending is a folder of .npy shards, see `sersl.release.predict.vectors`.

    Args:
      arguments: `model`, `inputs`, `list`, `output`, `shard`, `frames`, `layers` ("all", "last" or
        a number), `precision`, `no_verify`.

    Returns:
      The exit code, 0: at least one file has an embedding.

    Raises:
      UserError: no file could be read, files of a list are missing, the output cannot be written,
        or wrong arguments.
    """
    suffix = Path(arguments.output).suffix.lower()
    if suffix not in FORMATS:
        raise unknown_name("output format", suffix, [".npz", ".parquet", "a folder without ending"])
    check_precision(arguments.precision)
    share = None if arguments.shard is None else read_share(arguments.shard, option="--shard")
    output = share_of_output(arguments.output, share)
    if not suffix and is_remote(output):
        raise UserError(f"{output} is a folder of a bucket: give a .npz or .parquet file there")
    if not suffix:
        _check_folder(Path(output))
    found = of_share(find_audio(arguments.inputs, arguments.list), share)
    results: list[Vectors] = []
    layers: list[int] = []  # known once the model is

    def convert(part: Path, target: Path) -> None:
        write = {".npz": to_npz, ".parquet": to_parquet, "": to_shards}[suffix]
        results.append(write(part, target, frames=arguments.frames, layers=layers))

    resumable = STDIN not in found.names
    with opened(output, resumable=resumable, convert=convert, folder=not suffix) as file:
        # Opened first: what cannot be written is found before the work.
        assert file is not None
        layers += _embed(found, arguments, file, resumable=resumable)
    vectors = results[0]
    counts = f"{len(vectors.kept)} embedded, {len(vectors.left_out)} left out"
    print(f"{len(vectors.files)} files: {counts}", file=sys.stderr)
    for note in found.notes:
        print(note, file=sys.stderr)
    for left in vectors.left_out[:_SHOWN]:
        print(f"left out {one_line(left.name)}: {one_line(left.error)}", file=sys.stderr)
    print(f"written to {one_line(output)}", file=sys.stderr)
    if found.missing:
        raise UserError(
            f"{len(found.missing)} of {len(found.sources)} files do not exist (the first: "
            f"{one_line(found.missing[0])}): the others are complete; correct the list"
        )
    return 0


def _embed(
    found: Inputs, arguments: Namespace, file: GrowingFile, *, resumable: bool
) -> tuple[int, ...]:
    """Writes the vectors of all files, and gives the numbers of their layers."""
    model = sersl.load(
        arguments.model, verify_weights=not arguments.no_verify, precision=arguments.precision
    )
    if resumable:
        file.resume(digest(arguments, found, model.about))
    sources, done = found.sources, file.done
    parts = model.embeddings(sources[done:], layers=arguments.layers, frames=arguments.frames)
    with progress(len(sources), unit="file", initial=done) as bar:
        for part in parts:
            vectors = part.vectors
            # One layer has no dimension of its own.
            if vectors.size and arguments.layers != "all":
                vectors = vectors[:, 0] if arguments.frames else vectors[0]
            file.write(record(part, vectors))
            if part.last:
                file.commit(done + part.number + 1)
                bar.update()
    return layer_numbers(arguments.layers, model.num_layers)


def _check_folder(folder: Path) -> None:
    """Refuses to replace a folder that holds something else than shards."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise UserError(f"--output {folder} is a folder with other files in it: give a new one")
