"""Encodes the parts of a corpus with Apache Beam, on the workers of its runner.

Beam does not keep an order, and records need one. So workers write the parts of
`corpora.writing.parts` into a folder that all of them see, and the calling process joins them.
"""

import contextlib
import io
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.corpora.utterance import LeftOut, Utterance
from sersl.corpora.writing.encoding import encode
from sersl.corpora.writing.parts import Parts
from sersl.corpora.writing.reading import Reader

if TYPE_CHECKING:
    from sersl.corpora.writing.builder import Builder

_LOOK_SECONDS = 2.0  # between counts of finished parts
_SENTENCE = re.compile(r"UserError: (.+?)(?: \[while running|\\n|$)", re.MULTILINE)


def parse_options(text: str):
    """Reads options of a Beam pipeline.

    Args:
      text: as `tfds build --beam_pipeline_options` takes them, e.g. "runner=DirectRunner".

    Returns:
      `apache_beam.options.pipeline_options.PipelineOptions`.

    Raises:
      UserError: Beam is not installed, or has no such option.
    """
    names = [option.partition("=")[0].strip() for option in text.split(",")]
    flags = [f"--{option.strip()}" for option in text.split(",")]
    output = io.StringIO()
    try:
        with _quiet(output):
            options = _import_beam().options.pipeline_options.PipelineOptions(flags=flags)
            # Beam itself ignores unknown options.
            known = options.get_all_options().keys()
            unknown = options.get_all_options(retain_unknown_options=True).keys() - known
    except SystemExit as error:  # of argparse, which Beam uses
        *_, line = output.getvalue().splitlines()
        reason = line.partition("error: ")[2]
        raise UserError(f"--beam_pipeline_options {text}: {reason}") from error
    wrong = [name for name in names if not name or name in unknown]
    if wrong:
        raise UserError(
            f"Beam has no pipeline option {wrong[0]!r}: write --beam_pipeline_options "
            "NAME=VALUE,NAME=VALUE with names of Beam, such as runner=DirectRunner"
        )
    return options


def write_parts(
    builder: "Builder",
    parts: Parts,
    *,
    runner=None,
    options=None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the parts that are missing, in a pipeline of Beam.

    Args:
      builder: of the corpus; workers make their own from its arguments.
      parts: of the corpus, in a folder that all workers see under the same path.
      runner: of Beam, or its name; None: of the options.
      options: `PipelineOptions`, or None.
      progress: called every 2 s with (utterances encoded, all).

    Raises:
      UserError: Beam is not installed, has no such runner, or a worker cannot write.
    """
    beam = _import_beam()
    missing = parts.missing()
    if not missing:
        return
    try:
        pipeline = beam.Pipeline(runner=runner, options=options)
    except ValueError as error:
        raise UserError(f"Beam cannot start: {' '.join(str(error).split())}") from error
    _ = (
        pipeline
        | "Start" >> beam.Create([None])
        | "List" >> beam.FlatMap(_List(builder, parts, frozenset(missing)))
        | "Spread" >> beam.Reshuffle()
        | "Encode" >> beam.Map(_Write(builder.name, parts))
    )
    try:
        with _reported(parts, progress):
            pipeline.run().wait_until_finish()
    except Exception as error:
        # Beam passes on the error of a worker as text.
        sentence = _SENTENCE.search(str(error))
        if sentence is None:
            raise
        raise UserError(sentence[1]) from error


@contextlib.contextmanager
def _quiet(output: io.StringIO) -> Iterator[None]:
    """Collects what Beam prints on import and while it reads options."""
    try:
        logging.disable(logging.WARNING)
        with contextlib.redirect_stderr(output):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _import_beam():
    try:
        import apache_beam
    except ImportError as error:
        raise UserError(
            f"--beam_pipeline_options needs Apache Beam: {install_hint('beam')}, in an environment "
            "of its own"
        ) from error
    return apache_beam


@contextlib.contextmanager
def _reported(parts: Parts, progress: Callable[[int, int], None] | None) -> Iterator[None]:
    """Counts the finished parts while others write them."""
    if progress is None:
        yield
        return
    ended = threading.Event()
    total = sum(map(len, parts.rows))

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            progress(total - sum(len(parts.rows[part]) for part in parts.missing()), total)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
    progress(total, total)


@dataclass(frozen=True)
class _List:
    """Lists the corpus in a worker: the list may be too long to send there."""

    builder: "Builder"
    parts: Parts
    wanted: frozenset[int]

    def __call__(self, _) -> Iterator[tuple[int, list[Utterance]]]:
        row, items = 0, []
        for item in self.builder.listing():
            if isinstance(item, LeftOut):
                continue
            items.append(item)
            part = self.parts.part_of(row)
            if part == len(self.parts.rows):  # the folder has changed, which joining will report
                return
            row += 1
            if row == self.parts.rows[part].stop:
                if part in self.wanted:
                    yield part, items
                items = []


@dataclass(frozen=True)
class _Write:
    """Encodes the utterances of one part and writes it."""

    corpus: str
    parts: Parts

    def __call__(self, work: tuple[int, list[Utterance]]) -> int:
        part, items = work
        reader = Reader()
        encoded = (encode(reader, self.corpus, item) for item in items)
        self.parts.write(part, (one.to_bytes() for one in encoded))
        return part
