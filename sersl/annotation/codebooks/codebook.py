"""Fits code books, clusters of frames, on a sample of corpora, and writes the codes of corpora.

Both are done in parts, so that an interrupted run can be resumed. `codebook_folder` reads and
writes a code book; its codes of a corpus are beside the records and are read by `data.codes`.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sersl.annotation.codebooks import kmeans
from sersl.annotation.codebooks.codebook_folder import (
    CODEBOOK_SCHEMA,
    CodeBook,
    centroids_fingerprint,
    check_output,
    read_codebook,
    write_codebook,
)
from sersl.annotation.codebooks.frame_features import FrameFeatures
from sersl.annotation.sidecar_parts import SidecarParts, clear_partials, partial_folder
from sersl.annotation.stretches import make_batches
from sersl.core.errors import UserError
from sersl.core.files import whole_file, writing
from sersl.core.lengths import num_frames
from sersl.core.seeds import generator
from sersl.corpora.sidecar import codes_folder, is_finished
from sersl.corpora.writing.parts import Progress
from sersl.data.codes import CODES_DTYPE, CODES_SCHEMA
from sersl.data.sources import CorpusSource

MAX_ITERATIONS = 100
TOLERANCE = 1e-4  # of the inertia, relative; sklearn's default
_ROWS_PER_PART = 256  # utterances whose sampled frames are kept at once


@dataclass(frozen=True)
class Fit:
    """How a code book is fitted.

    Attributes:
      num_codes: K.
      max_frames: most frames of the sample, drawn evenly from all corpora.
      seed: of the sample and of the start.
    """

    num_codes: int
    max_frames: int = 1_000_000
    seed: int = 0

    def __post_init__(self):
        if not 2 <= self.num_codes <= np.iinfo(CODES_DTYPE).max + 1:
            raise UserError(
                f"--num_codes {self.num_codes} is not in 2..65536: choose another number"
            )
        if self.max_frames < self.num_codes:
            raise UserError(
                f"--max_frames {self.max_frames} is less than --num_codes {self.num_codes}: "
                "raise it"
            )
        if not 0 <= self.seed < 1 << 32:
            raise UserError(f"--seed {self.seed} is not in 0..2^32 - 1: choose another number")


def fit_codebook(
    folder: str | Path,
    sources: Sequence[CorpusSource],
    features: FrameFeatures,
    fit: Fit,
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> CodeBook:
    """Fits a code book by k-means, unless the folder holds it already.

    Args:
      folder: to write.
      sources: corpora to draw frames from.
      features: what is clustered.
      fit: codes, frames and seed.
      progress: called with (utterances done, all utterances) while frames are collected.
      say: called with a line every ten iterations.

    Returns:
      The code book.

    Raises:
      UserError: the folder holds another code book, or there are too few frames.
    """
    folder = Path(folder)
    check_output(folder)
    wanted = {"num_codes": fit.num_codes, "identity": features.identity}
    found = read_codebook(folder)
    if found is not None:
        for key, value in wanted.items():
            if found.about[key] != value:
                raise UserError(
                    f"{folder} holds a code book with another {key} ({found.about[key]}, not "
                    f"{value}): give another --output"
                )
        clear_partials(folder)
        return found
    about: dict[str, Any] = {
        "schema": CODEBOOK_SCHEMA,
        **wanted,
        "max_frames": fit.max_frames,
        "seed": fit.seed,
        "corpora": {source.index.corpus: source.index.fingerprint for source in sources},
    }
    partial = partial_folder(folder, about)
    with writing("the code book", folder.parent):
        partial.mkdir(parents=True, exist_ok=True)
    frames = _sample(partial, sources, features, fit, progress)
    if len(frames) < fit.num_codes:
        raise UserError(
            f"{len(frames)} frames are fewer than --num_codes {fit.num_codes}: give more corpora "
            "or fewer codes"
        )
    last = _iterations(partial, frames, fit, say)
    about |= {
        "num_frames": len(frames),
        "iterations": last.number,
        "inertia": last.inertia,
        "fingerprint": centroids_fingerprint(last.centroids),
    }
    book = CodeBook(folder.name, last.centroids, about)
    write_codebook(folder, book)
    clear_partials(folder)
    return book


def write_codes(
    book: CodeBook,
    source: CorpusSource,
    features: FrameFeatures,
    *,
    progress: Progress | None = None,
) -> Path:
    """Writes the code of every frame of a corpus, unless they exist.

    Args:
      book: the code book.
      source: the corpus.
      features: that the book was fitted on.
      progress: called with (utterances done, all utterances).

    Returns:
      The folder of the codes.

    Raises:
      UserError: no room to write, or a damaged record.
    """
    index = source.index
    folder = codes_folder(index, book.name)
    ids = "\n".join(index.column("utterance_id"))
    summary = {
        "schema": CODES_SCHEMA,
        "book": book.name,
        "num_codes": len(book.centroids),
        "fingerprint": book.about["fingerprint"],
        "identity": book.about["identity"],
        "corpus_fingerprint": index.fingerprint,
        "num_utterances": len(index),
        "num_frames": int(num_frames(index.column("num_samples")).sum()),
        "utterance_ids_sha256": hashlib.sha256(ids.encode()).hexdigest(),
    }
    if features.labels_of:  # a model that is trained on these codes has learned from these labels
        summary["labels_of"] = list(features.labels_of)
    if is_finished(folder, summary):
        clear_partials(folder)
        return folder
    centroids = jnp.asarray(book.centroids)
    encode = jax.jit(lambda values: kmeans.nearest(values, centroids)[0])
    parts = SidecarParts(folder, summary, source.num_samples)
    parts.prepare()
    for part in parts.missing():
        rows = parts.rows[part]
        codes = [np.zeros(n, CODES_DTYPE) for n in num_frames(source.num_samples[rows])]
        for stretches, values in _computed(source, rows, features):
            found = np.asarray(encode(values.reshape(-1, values.shape[-1])))
            found = found.reshape(values.shape[:2])
            for line, (owner, start, count) in zip(found, stretches, strict=False):
                codes[owner][start : start + count] = line[:count]
        parts.write(part, (one.tobytes() for one in codes))
        if progress is not None:
            progress(rows.stop, len(index))
    parts.join()
    return folder


def _computed(source: CorpusSource, rows: Sequence[int], features: FrameFeatures) -> Iterator:
    """Yields stretches of the rows and the features [B, T, D] of their batch."""
    for batch in make_batches([source.waveform(row) for row in rows]):
        yield batch.stretches, features.compute(batch.waveform, batch.num_samples)


def _sample(
    partial: Path,
    sources: Sequence[CorpusSource],
    features: FrameFeatures,
    fit: Fit,
    progress: Progress | None,
) -> np.ndarray:
    """Collects frames [n, D], each with the same chance, in parts that are kept."""
    counts = [num_frames(source.num_samples) for source in sources]
    share = min(1.0, fit.max_frames / max(sum(int(c.sum()) for c in counts), 1))
    total, done, kept = sum(map(len, sources)), 0, []
    for number, source in enumerate(sources):
        for first in range(0, len(source), _ROWS_PER_PART):
            rows = range(first, min(first + _ROWS_PER_PART, len(source)))
            file = partial / f"frames-{number:03d}-{first:08d}.npy"
            part = _kept_frames(file)
            if part is None:
                draws = [
                    generator(fit.seed, "code book", number, row).random(counts[number][row])
                    for row in rows
                ]
                found = [
                    np.asarray(values)[line, :count][draws[owner][start : start + count] < share]
                    for stretches, values in _computed(source, rows, features)
                    for line, (owner, start, count) in enumerate(stretches)
                ]
                part = np.concatenate(found) if found else np.zeros((0, 0), np.float32)
                with writing("the code book", partial), whole_file(file, "wb") as out:
                    np.save(out, part)
            kept.append(part)
            done += len(rows)
            if progress is not None:
                progress(done, total)
    return np.concatenate([part for part in kept if len(part)] or [np.zeros((0, 1), np.float32)])


def _kept_frames(file: Path) -> np.ndarray | None:
    """Reads frames [n, D] that an interrupted run left; None if there are none, or damaged."""
    try:
        return np.load(file)
    except (OSError, ValueError, EOFError):
        return None


def _kept_iteration(file: Path) -> kmeans.Iteration | None:
    """Reads the last iteration of an interrupted run; None if there is none, or damaged."""
    try:
        with np.load(file) as kept:
            number, inertia = int(kept["number"]), float(kept["inertia"])
            return kmeans.Iteration(number, kept["centroids"], inertia)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def _iterations(
    partial: Path, frames: np.ndarray, fit: Fit, say: Callable[[str], None]
) -> kmeans.Iteration:
    """Runs k-means from the last iteration that was kept."""
    file = partial / "iteration.npz"
    last = _kept_iteration(file)
    if last is None:
        last = kmeans.Iteration(0, kmeans.start(frames, fit.num_codes, seed=fit.seed), np.inf)
    steps = kmeans.iterate(
        kmeans.place(frames), last, max_iterations=MAX_ITERATIONS, tolerance=TOLERANCE
    )
    for last in steps:
        with writing("the code book", partial), whole_file(file, "wb") as out:
            np.savez(out, number=last.number, centroids=last.centroids, inertia=last.inertia)
        if last.number % 10 == 0:
            say(f"k-means: {last.number} iterations, mean squared distance {last.inertia:.4g}")
    return last
