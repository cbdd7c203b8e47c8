"""Turns many utterances into records, in threads or processes, in the order they are listed."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sersl.audio.decode import AudioInfo
from sersl.audio.levels import Levels
from sersl.core.errors import UserError
from sersl.core.files import parse_value
from sersl.core.processes import in_order, in_processes
from sersl.corpora.utterance import Utterance
from sersl.corpora.writing.reading import Reader
from sersl.corpora.writing.records import serialize

_THREADS = min(8, os.cpu_count() or 1)  # libsndfile and soxr release the interpreter
_AHEAD = 4 * _THREADS  # encoded utterances waiting at most: this bounds the memory
# Utterances that are sent between processes at once. The utterances of one recording go to the same
# process, up to a number that bounds the memory: 64 of 30 s are about 40 MB of FLAC.
_FEW, _MOST = 8, 64


@dataclass(frozen=True)
class Encoded:
    """One utterance as it is written, or the reason why it is not.

    Attributes:
      utterance_id, path: of the utterance.
      reason: why its audio cannot be used; "": it can, and all fields are set.
      record: serialized example of TFDS; row: of the index.
      levels: measures of its samples.
      info: of its file; None for synthetic audio.
    """

    utterance_id: str
    path: str
    reason: str = ""
    record: bytes = b""
    row: dict | None = None
    levels: Levels | None = None
    info: AudioInfo | None = None

    def to_bytes(self) -> bytes:
        """Packs it: one line of JSON, which keeps every number exactly, and the record."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["record"]
        for name in ("levels", "info"):
            fields[name] = None if fields[name] is None else dataclasses.asdict(fields[name])
        return json.dumps(fields).encode() + b"\n" + self.record

    @classmethod
    def from_bytes(cls, packed: bytes) -> "Encoded":
        """Unpacks the result of `to_bytes`."""
        line, _, record = packed.partition(b"\n")
        fields = parse_value(line, allow_infinite=True)  # NaN: not rated
        for name, kind in (("levels", Levels), ("info", AudioInfo)):
            fields[name] = None if fields[name] is None else kind(**fields[name])
        return cls(record=record, **fields)


def encode(reader: Reader, corpus: str, item: Utterance) -> Encoded:
    """Reads and encodes one utterance.

    Args:
      reader: to read it with.
      corpus: its corpus.
      item: the utterance.

    Returns:
      What to write, or the reason why there is nothing.
    """
    try:
        row, audio, levels, info = reader.read(corpus, item)
    except UserError as error:
        return Encoded(item.utterance_id, item.path, reason=str(error))
    record = serialize(row | {"audio": audio})
    return Encoded(item.utterance_id, item.path, record=record, row=row, levels=levels, info=info)


def encode_all(
    corpus: str, items: Iterable[Utterance], *, processes: int = 1
) -> Generator[Encoded, None, None]:
    """Encodes utterances, a bounded number ahead of the consumer.

    Args:
      corpus: their corpus.
      items: the utterances.
      processes: number of worker processes; 1: threads of this process.

    Yields:
      One for each, in their order.

    Raises:
      UserError: a worker process was killed.
    """
    if processes == 1:
        reader = Reader()
        with ThreadPoolExecutor(_THREADS) as pool:
            one = functools.partial(encode, reader, corpus)
            yield from in_order(pool, one, items, ahead=_AHEAD)
        return
    work = functools.partial(_encode_several, corpus)
    doing = f"preparing corpus {corpus!r}"
    with contextlib.closing(
        in_processes(work, _batches(items), processes=processes, doing=doing)
    ) as batches:
        yield from itertools.chain.from_iterable(batches)


def _batches(items: Iterable[Utterance]) -> Iterator[list[Utterance]]:
    batch: list[Utterance] = []
    for item in items:
        same = batch and item.path == batch[-1].path
        if len(batch) >= _MOST or (len(batch) >= _FEW and not same):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


_reader = Reader()  # of a worker process


def _encode_several(corpus: str, items: Sequence[Utterance]) -> list[Encoded]:
    return [encode(_reader, corpus, item) for item in items]
