"""`sersl cluster`: assigns codes to frames by k-means, for objectives that predict codes."""

import time
from pathlib import Path

from sersl.annotation.codebooks.codebook import Fit, fit_codebook, write_codes
from sersl.annotation.codebooks.codebook_folder import check_output
from sersl.annotation.codebooks.frame_features import FrameFeatures, layer_features, mfcc_features
from sersl.cli.console.progress import Progress
from sersl.core.errors import UserError
from sersl.corpora.remote import refuse_remote
from sersl.data.sources import CorpusSource
from sersl.release.starting_weights import labels_of, read_weights


def run(arguments) -> int:
    """Fits a code book, unless it exists, and writes the codes of every corpus.

    Args:
      arguments: `corpus`, `data_dir`, `output`, `features`, `layer`, `num_codes`, `max_frames` and
        `seed`.

    Returns:
      The exit code, 0.

    Raises:
      UserError: a corpus, a model or a number is wrong.
    """
    names = arguments.corpus
    if len(set(names)) < len(names):
        raise UserError(f"--corpus {' '.join(names)} names a corpus twice: name each once")
    fit = Fit(arguments.num_codes, max_frames=arguments.max_frames, seed=arguments.seed)
    refuse_remote(arguments.data_dir, "cluster")
    sources = [CorpusSource(arguments.data_dir, name) for name in names]
    output = Path(arguments.output)
    check_output(output)  # before a model is loaded
    features = _features(arguments)
    started = time.monotonic()
    with Progress("cluster: frames") as progress:
        book = fit_codebook(output, sources, features, fit, progress=progress, say=progress.line)
    about = book.about
    print(
        f"code book {book.name}: {about['num_codes']} codes of {about['num_frames']} frames, mean "
        f"squared distance {about['inertia']:.4g} after {about['iterations']} iterations: {output}"
    )
    for source in sources:
        with Progress(f"cluster: {source.index.corpus}") as progress:
            folder = write_codes(book, source, features, progress=progress)
        print(f"corpus {source.index.corpus} has its codes: {folder}")
    print(
        f"done in {time.monotonic() - started:.1f} s; pretrain with "
        f"--config.objectives.clusters.books={book.name} "
        f"--config.objectives.clusters.codes={about['num_codes']}"
    )
    return 0


def _features(arguments) -> FrameFeatures:
    if arguments.features == "mfcc":
        if arguments.layer is not None:
            raise UserError("--layer is of a model, and --features mfcc is none: leave it out")
        return mfcc_features()
    weights = read_weights(arguments.features)
    if arguments.layer is None:
        raise UserError(
            f"--layer is missing: choose one of the layers 0..{weights.encoder.last_layer} of "
            f"{arguments.features} to cluster"
        )
    return layer_features(
        weights.params["encoder"],
        weights.frontend,
        weights.encoder,
        layer=arguments.layer,
        source=arguments.features,
        labels_of=labels_of(weights.corpora),
    )
