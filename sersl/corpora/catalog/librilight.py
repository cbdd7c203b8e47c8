"""Libri-Light: sixty thousand hours of English audiobooks, cut where nobody speaks; no labels."""

import json
from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_LONGEST = 30.0  # seconds; neighbouring pieces of speech are joined up to here, as evaluation takes


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
        about = json.loads(beside.read_text(encoding="utf-8"))
        missing = [key for key in ("speaker", "voice_activity") if key not in about]
        if missing:
            raise UserError(f"{beside} has no {missing[0]!r}: take the file of the release")
        if not about["voice_activity"]:
            return LeftOut(printable(file), "nobody speaks, says its voice activity")
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
            for start, end in join(about["voice_activity"], longest=_LONGEST)
        ]


def join(pieces: list[list[float]], *, longest: float) -> list[tuple[float, float]]:
    """Joins neighbouring pieces of speech, with the pauses between them.

    Args:
      pieces: (start, end) in seconds, in order.
      longest: seconds of a joined piece; one that is longer by itself stays whole.

    Returns:
      (start, end) of each joined piece.
    """
    joined = []
    for start, end in pieces:
        if joined and end - joined[-1][0] <= longest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
