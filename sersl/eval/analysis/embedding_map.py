"""A map of embeddings: their first two principal components, for a figure."""

from pathlib import Path

import numpy as np
from scipy.sparse.linalg import svds

from sersl.core.errors import UserError
from sersl.core.files import whole_file

FILE = "embeddings.npz"  # of a folder that `sersl evaluate --model` wrote
_SMALL = 64  # numbers of which all directions are computed


def principal_components(vectors: np.ndarray, *, num: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Projects vectors on their directions of the highest variance.

    The sign of a direction is such that its largest entry is positive, so that the same vectors
    always give the same map.

    Args:
      vectors: [N, E].
      num: K; directions that E or N lacks are 0.

    Returns:
      (float64 [N, K], share of the variance of each [K]).
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    smaller = min(centred.shape)
    if smaller <= _SMALL:
        _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
    else:  # all directions of thousands of numbers would take minutes
        start = np.random.default_rng(0).normal(size=smaller)
        _, lengths, rows = svds(centred, k=num, v0=start)
        lengths, rows = lengths[::-1], rows[::-1]
    values, directions = np.square(lengths[:num]), rows[:num].T
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    places = centred @ (directions * np.where(largest < 0, -1.0, 1.0))
    total = np.square(centred).sum()
    shares = np.maximum(values, 0.0) / total if total else np.zeros_like(values)
    missing = num - directions.shape[1]
    return np.pad(places, ((0, 0), (0, missing))), np.pad(shares, (0, missing))


def save_embeddings(folder: Path, names: np.ndarray, vectors: np.ndarray) -> None:
    """Writes utterance ids, str [N], and embeddings, [N, E], whole or not at all."""
    with whole_file(folder / FILE, "wb") as file:
        np.savez(file, utterance_id=names.astype(str), embedding=vectors.astype(np.float32))


def read_embeddings(folder: Path, names: np.ndarray) -> np.ndarray | None:
    """Reads the embeddings of utterances, float32 [N, E]; None where there is no file.

    Raises:
      UserError: the file is damaged, or of other utterances.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path) as content:
            found, vectors = content["utterance_id"], content["embedding"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it") from error
    if found.tolist() != names.tolist() or len(vectors) != len(found):
        raise UserError(f"{path} is of other utterances than predictions.csv: remove it")
    return vectors
