"""The prepared corpora that a run reads, opened and checked."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sersl.annotation.annotate import load_sidecar_info
from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.data.batch import ANNOTATION
from sersl.data.sources import CorpusSource


def open_sources(
    data: DataConfig,
    *,
    needs: Collection[str] = (),
    books: Mapping[str, int] = MappingProxyType({}),
    most_samples: int | None = None,
) -> list[CorpusSource]:
    """Opens the prepared corpora of a run.

    Args:
      data: settings.
      needs: what batches must hold, see `sersl.data.batch`.
      books: name of each code book to read to the number of its codes.
      most_samples: of an utterance that are read; None: all of them.

    Returns:
      Sources in the order of `data.corpora`.

    Raises:
      UserError: a corpus, its sidecar or its codes are missing or out of date.
    """
    names = data.corpora
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"data.corpora={list(names)} must name one or more corpora, each once: give "
            "--config.data.corpora=NAME,NAME"
        )
    if not data.data_dir:
        raise UserError(
            "data.data_dir is not given: add --config.data.data_dir=DIR, the folder that "
            "`sersl prepare` wrote into"
        )
    annotator = data.annotator if ANNOTATION in needs else None
    if annotator is not None:
        for name in names:
            # The sidecar must also be of today's algorithm, which `CorpusSource` cannot check.
            load_sidecar_info(annotator, name, data_dir=data.data_dir)
    sources = [
        CorpusSource(
            data.data_dir,
            name,
            annotator=annotator,
            books=books,
            cache_gigabytes=data.cache_gigabytes,
            most_samples=most_samples,
        )
        for name in names
    ]
    for readers in zip(*(source.books for source in sources), strict=True):
        if len({reader.fingerprint for reader in readers}) > 1:
            raise UserError(
                f"the codes {readers[0].book!r} of the corpora {list(names)} are of different code "
                "books: give all of them to one `sersl cluster --corpus`"
            )
    return sources


def cut_short(sources: Sequence[CorpusSource]) -> list[str]:
    """Says for each corpus how many utterances are longer than what is read of them."""
    found = []
    for source in sources:
        if source.most_samples is None:
            continue
        whole = source.index.column("num_samples")
        if num_cut := np.count_nonzero(source.num_samples < whole):
            longest = whole.max() / SAMPLE_RATE
            found.append(
                f"{num_cut} of {len(source)} utterances of corpus {source.index.corpus!r} are "
                f"longer than {source.most_samples / SAMPLE_RATE:g} s, up to {longest:.1f} s: only "
                "that much of their start is used"
            )
    return found
