"""The embedded corpus as a builder, for `sersl prepare --corpus synthetic`."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sersl.audio.flac import to_pcm16
from sersl.corpora.synthetic.speech import synthesize, utterances
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
            yield Utterance(
                utterance_id=made.utterance_id,
                source=made.waveform,
                path=f"{made.speaker}/{made.utterance_id}",
                speaker=made.speaker,
                gender=made.gender,
                text=made.text,
                category=made.category,
                category_raw=made.category,
                intensity=made.intensity,
                arousal=made.arousal,
                dominance=made.dominance,
                valence=made.valence,
                scale_low=0.0,
                scale_high=1.0,
            )

    def source_fingerprint(self) -> str:
        """Hashes the sizes and the first sounds, which change with the generator."""
        first = synthesize(0, 0, seed=self._size["seed"])
        digest = hashlib.sha256(f"{sorted(self._size.items())} {first.text}".encode())
        digest.update(to_pcm16(first.waveform).tobytes())
        return digest.hexdigest()
