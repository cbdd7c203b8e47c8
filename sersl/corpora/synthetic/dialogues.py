"""The embedded corpus as dialogues, whose emotions depend on the turns before.

Two speakers talk with each other. A turn has the emotion of the speaker's own last turn
(inertia), or that of the other's last turn (contagion), or any (Kuppens et al. 2010, Psychol. Sci.
21(7), emotional inertia; Hatfield et al. 1993, Curr. Dir. Psychol. Sci. 2(3), contagion). Emotions
are weak in sound, so that the turns around say something that the sound of one does not.
"""

from collections.abc import Iterator
from pathlib import Path

from sersl.core.seeds import generator
from sersl.corpora.dialogues import DIALOGUE, TURN
from sersl.corpora.synthetic.corpus import fingerprint, labelled
from sersl.corpora.synthetic.speech import CATEGORIES, SyntheticUtterance, synthesize
from sersl.corpora.utterance import About, Utterance
from sersl.corpora.writing.builder import Builder

INERTIA = 0.55  # probability of the speaker's own last emotion
CONTAGION = 0.3  # of the other's last emotion
_SAME_SPEAKER = 0.15  # that a speaker goes on after the end of a turn
_STRENGTH = (0.25, 0.6)  # weaker than in `synthetic`
_FIRST = 10_000  # number of the first utterance: `synthetic` has other sounds


class SyntheticDialogues(Builder):
    """Pairs of synthetic speakers in dialogues; needs no download."""

    name = "synthetic_dialogues"
    about = About(
        description=(
            "Dialogues of speech-like sounds with emotional inertia and contagion, made by sersl "
            "itself."
        ),
        citation="sersl, sersl/corpora/synthetic/dialogues.py",
        licence="Apache-2.0",
        homepage="https://pypi.org/project/sersl",
        folder="nothing: it is made, not read",
    )

    def __init__(
        self,
        *,
        data_dir: str | Path,
        num_pairs: int = 6,
        dialogues_per_pair: int = 12,
        turns: int = 12,
        seed: int = 0,
    ):
        self._size = {
            "num_pairs": num_pairs,
            "dialogues_per_pair": dialogues_per_pair,
            "turns": turns,
            "seed": seed,
        }
        super().__init__(data_dir=data_dir)

    def count(self) -> int:
        """Multiplies pairs, dialogues and turns: no sound is made to count them."""
        size = self._size
        return size["num_pairs"] * size["dialogues_per_pair"] * size["turns"]

    def listing(self) -> Iterator[Utterance]:
        """Makes the corpus, dialogue by dialogue."""
        size = self._size
        for pair in range(size["num_pairs"]):
            for number in range(size["dialogues_per_pair"]):
                yield from self._dialogue(pair, number)

    def _dialogue(self, pair: int, number: int) -> Iterator[Utterance]:
        name = f"pair{pair:02d}-{number:02d}"
        for turn, made in enumerate(self._turns(pair, number)):
            yield labelled(
                made,
                utterance_id=f"{name}-{turn:02d}",
                path=f"{name}/{turn:02d}",
                session=f"pair{pair:02d}",
                extra={DIALOGUE: name, TURN: turn},
            )

    def _turns(self, pair: int, number: int) -> Iterator[SyntheticUtterance]:
        size = self._size
        course = emotions(pair, number, turns=size["turns"], seed=size["seed"])
        for turn, (side, category) in enumerate(course):
            yield synthesize(
                2 * pair + side,
                _FIRST + number * size["turns"] + turn,
                seed=size["seed"],
                category=category,
                strength=_STRENGTH,
            )

    def source_fingerprint(self) -> str:
        """Hashes the sizes and the first turn, which change with the generator."""
        return fingerprint(self._size, next(self._turns(0, 0)))


def emotions(pair: int, number: int, *, turns: int, seed: int = 0) -> list[tuple[int, str]]:
    """Draws the course of a dialogue: who speaks, 0 or 1, and with which emotion.

    Args:
      pair: of speakers.
      number: of the dialogue.
      turns: how many.
      seed: of the corpus.
    """
    rng = generator(seed, "synthetic dialogue", pair, number)
    last = ["", ""]
    side, course = int(rng.integers(2)), list[tuple[int, str]]()
    for turn in range(turns):
        if turn and rng.random() >= _SAME_SPEAKER:
            side = 1 - side
        chance, drawn = rng.random(), CATEGORIES[int(rng.integers(len(CATEGORIES)))]
        if last[side] and chance < INERTIA:
            category = last[side]
        elif last[1 - side] and chance < INERTIA + CONTAGION:
            category = last[1 - side]
        else:
            category = drawn
        last[side] = category
        course.append((side, category))
    return course
