"""Libri-Light: sixty thousand hours of English audiobooks, cut at pauses; no labels."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sersl.core.errors import UserError
from sersl.core.files import read_json
from sersl.corpora.listing import printable
from sersl.corpora.tables.values import MOST_SECONDS
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_LONGEST = 30.0  # seconds; neighbouring pieces of speech are joined up to here
_REMEDY = "take the file of the release"


class Librilight(FolderBuilder):
    """Pieces of Libri-Light's recordings, from the voice activity in the file beside each.

    Source: layout and fields as in lhotse `recipes/librilight.py`. The release's own
    `cut_by_vad.py` removes the pauses when it joins; here they stay, so that a piece is one
    stretch of the recording.
    """

    name = "librilight"
    EXTENSIONS = (".flac",)
    about = About(
        description="Libri-Light: unlabelled English of audiobooks.",
        citation=(
            "Kahn J, Riviere M, Zheng W, et al. (2020). Libri-Light: A Benchmark for ASR with "
            "Limited or No Supervision. ICASSP: 7669-7673. doi:10.1109/ICASSP40776.2020.9052942"
        ),
        licence="public domain recordings; lists under MIT",
        homepage="https://github.com/facebookresearch/libri-light",
        folder="small/100/BOOK/CHAPTER.flac with CHAPTER.json beside it and so on",
    )

    def parse(self, file: str) -> LeftOut | list[Utterance]:
        """Cuts one recording by the `voice_activity` of its JSON file."""
        source = self.audio_dir / file
        beside = source.with_suffix(".json")
        if not beside.is_file():
            return LeftOut(printable(file), f"{beside.name} is not beside it")
        about, pieces = _read_activity(beside)
        if not pieces:
            return LeftOut(printable(file), "without speech: its voice activity is empty")
        stem = printable(str(PurePosixPath(file).with_suffix("")))
        return [
            Utterance(
                utterance_id=f"{stem}#{start:.2f}-{end:.2f}",
                source=source,
                path=printable(file),
                start=start,
                end=end,
                speaker=str(about["speaker"]),
                language="en",
                session=PurePosixPath(file).parent.name,
                extra={"snr": about["snr"]} if "snr" in about else {},
            )
            for start, end in join(pieces, longest=_LONGEST)
        ]


def _read_activity(path: Path) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Reads the file beside a recording: its content, and its pieces of speech."""
    about = read_json(path, what="voice activity of Libri-Light", remedy=_REMEDY)
    missing = [key for key in ("speaker", "voice_activity") if key not in about]
    if missing:
        raise UserError(f"{path} has no {missing[0]!r}: {_REMEDY}")
    pieces = about["voice_activity"]
    for piece in pieces if isinstance(pieces, list) else [None]:
        if not (
            isinstance(piece, list)
            and len(piece) == 2
            and all(isinstance(x, int | float) and not isinstance(x, bool) for x in piece)
            and 0 <= piece[0] < piece[1] <= MOST_SECONDS
        ):
            raise UserError(f"{path}: voice_activity is not a list of [start, end]: {_REMEDY}")
    return about, [(start, end) for start, end in pieces]


def join(pieces: Sequence[tuple[float, float]], *, longest: float) -> list[tuple[float, float]]:
    """Joins neighbouring pieces of speech, with the pauses between them.

    Args:
      pieces: (start, end) in seconds, in order.
      longest: seconds of a joined piece; one that is longer by itself stays whole.
    """
    joined: list[tuple[float, float]] = []
    for start, end in pieces:
        if joined and end - joined[-1][0] <= longest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
