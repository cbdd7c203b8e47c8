"""`sersl annotate`: frame intensity and prosody of a prepared corpus, once, beside its records."""

import sys
import time

from tqdm import tqdm

from sersl.core.errors import unknown_name
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.index import load_index
from sersl.knowledge.annotate import ANNOTATORS, annotate_corpus, find_sidecar, sidecar_folder

_LINE_SECONDS = 10.0  # between progress lines where there is no terminal


def run(arguments) -> int:
    """Annotates one corpus and prints one line.

    Args:
      arguments: `annotator`, `corpus`, `data_dir` and `processes`.

    Returns:
      The exit code, 0.
    """
    if arguments.annotator not in ANNOTATORS:
        raise unknown_name("annotator", arguments.annotator, ANNOTATORS)
    index = load_index(arguments.data_dir, arguments.corpus)
    if find_sidecar(arguments.annotator, index) is not None:
        folder = sidecar_folder(index, arguments.annotator)
        print(f"corpus {index.corpus} was already annotated by {arguments.annotator}: {folder}")
        return 0
    started = time.monotonic()
    with tqdm(
        total=len(index), unit="utterance", desc="annotate", disable=not sys.stderr.isatty()
    ) as bar:
        folder = annotate_corpus(
            arguments.annotator,
            arguments.corpus,
            data_dir=arguments.data_dir,
            processes=arguments.processes,
            progress=_Progress(bar),
        )
    seconds = time.monotonic() - started
    audio_seconds = index.column("num_samples").sum() / SAMPLE_RATE
    print(
        f"corpus {index.corpus} is annotated by {arguments.annotator}: {len(index)} utterances, "
        f"{audio_seconds / 3600:.2f} h in {seconds:.1f} s "
        f"({audio_seconds / max(seconds, 1e-3):.0f} x real time): {folder}"
    )
    return 0


class _Progress:
    """Moves the bar of a terminal; elsewhere prints a line now and then. On standard error."""

    def __init__(self, bar: tqdm):
        self._bar = bar
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if not self._bar.disable:
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last >= _LINE_SECONDS or done == total:
            self._last = time.monotonic()
            print(f"annotate: {done} of {total} utterances", file=sys.stderr, flush=True)
