"""The embedded corpus as a builder, for `sersl prepare --corpus synthetic`."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sersl.audio.flac import to_pcm16
from sersl.corpora.synthetic.speech import SyntheticUtterance, synthesize, utterances
from sersl.corpora.utterance import About, Utterance
from sersl.corpora.writing.builder import Builder


class SyntheticBuilder(Builder):
    """Synthetic speech with exact labels; needs no download."""

    name = "synthetic"
    about = About(
        description="Speech-like sounds whose emotion is known exactly, made by sersl itself.",
        citation="sersl, sersl/corpora/synthetic/speech.py, which lists the literature behind it",
        licence="Apache-2.0",
        homepage="https://pypi.org/project/sersl",
        folder="nothing: it is made, not read",
    )

    def __init__(
        self,
        *,
        data_dir: str | Path,
        num_speakers: int = 12,
        utterances_per_speaker: int = 60,
        seed: int = 0,
    ):
        self._size = {
            "num_speakers": num_speakers,
            "utterances_per_speaker": utterances_per_speaker,
            "seed": seed,
        }
        super().__init__(data_dir=data_dir)

    def count(self) -> int:
        """Multiplies speakers by utterances: no sound is made to count them."""
        return self._size["num_speakers"] * self._size["utterances_per_speaker"]

    def listing(self) -> Iterator[Utterance]:
        """Makes the corpus, speaker by speaker."""
        for made in utterances(**self._size):
            path = f"{made.speaker}/{made.utterance_id}"
            yield labelled(made, utterance_id=made.utterance_id, path=path)

    def source_fingerprint(self) -> str:
        """Hashes the sizes and the first sounds, which change with the generator."""
        first = synthesize(0, 0, seed=self._size["seed"])
        return fingerprint(self._size, first)


def labelled(
    made: SyntheticUtterance,
    *,
    utterance_id: str,
    path: str,
    session: str = "",
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> Utterance:
    """Describes a synthetic utterance with its labels for a corpus that has it under a name."""
    return Utterance(
        utterance_id=utterance_id,
        source=made.waveform,
        path=path,
        speaker=made.speaker,
        gender=made.gender,
        session=session,
        text=made.text,
        category=made.category,
        category_raw=made.category,
        intensity=made.intensity,
        arousal=made.arousal,
        dominance=made.dominance,
        valence=made.valence,
        scale_low=0.0,
        scale_high=1.0,
        extra=dict(extra),
    )


def fingerprint(sizes: Mapping[str, int], first: SyntheticUtterance) -> str:
    """Hashes the sizes of a synthetic corpus and its first sounds."""
    digest = hashlib.sha256(f"{sorted(sizes.items())} {first.text}".encode())
    digest.update(to_pcm16(first.waveform).tobytes())
    return digest.hexdigest()
