"""The arrays of a batch: name, shape, dtype, value of padding, and which need asks for them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from sersl.audio.prosody import PROSODY_NAMES
from sersl.core.lengths import num_frames
from sersl.corpora.labels import DIMENSIONS

# Needs: what a task may ask for beside the arrays that every batch has.
ANNOTATION = "annotation"  # intensity and prosody
CATEGORIES = "categories"  # which classes apply, where several may
CATEGORY = "category"  # labels among the canonical categories, where they are not always read
CODES = "codes/"  # and the name of a code book: its codes
DISTORTED = "distorted"  # the waveform as the student gets it
RELATIONS = "relations"  # between the turns of a dialogue, whose slots are neighbouring rows
SECOND = "second"  # distorted once more, with other draws
OUTPUTS = "outputs"  # kept outputs of a frozen encoder, instead of the waveform
SECONDS = "seconds"  # name of the array with lengths of utterances, which `RELATIONS` asks for
VIEW = "view/"  # and the name of a view: its kept outputs, or vectors of a table
VIEW_VALID = "view_valid/"  # and the name of a view: which of its vectors are real
VOTES = "votes"  # shares of the raters' votes


@dataclass(frozen=True)
class Array:
    """One array of a batch.

    Attributes:
      name: of the array.
      shape: letters: B rows, N samples, T frames, P prosody values; C categories and E dimensions
        of the run, by name in its `LabelView` and `Targets`; of kept outputs L layers, F vectors
        of each layer, D width; U slots of a dialogue.
      dtype: of the values.
      padding: value in rows without an utterance, after the end of audio, and of unknown labels.
      need: which need asks for it; None: always there.
    """

    name: str
    shape: str
    dtype: type[np.generic]
    padding: float
    need: str | None = None


ARRAYS = (
    Array("waveform", "BN", np.float32, 0.0),
    Array("valid", "BN", np.bool_, False),
    Array("category", "B", np.int32, -1),
    Array("dimensions", "BE", np.float32, np.nan),  # in 0..1
    Array("speaker", "B", np.int32, -1),
    Array("utterance_index", "B", np.int32, -1),  # row in the indexes one after the other
    Array("hidden_states", "BLFD", np.float16, 0.0, OUTPUTS),
    # 1 same speaker, 2 other speaker, 0 no turn, see `sersl.corpora.dialogues.relations`
    Array("relations", "BU", np.int8, 0, RELATIONS),
    # s of the utterance, where `valid` has one frame of it
    Array(SECONDS, "B", np.float32, 0.0, RELATIONS),
    Array("category_probabilities", "BC", np.float32, np.nan, VOTES),
    Array("categories", "BC", np.float32, np.nan, CATEGORIES),  # 1 applies, 0 does not
    Array("intensity", "BT", np.float32, np.nan, ANNOTATION),
    Array("prosody", "BTP", np.float32, np.nan, ANNOTATION),
    Array(CODES, "BT", np.int32, -1, CODES),  # one for each code book, "codes/<name>"
    Array(DISTORTED, "BN", np.float32, 0.0, DISTORTED),
    Array(SECOND, "BN", np.float32, 0.0, SECOND),
)


@dataclass(frozen=True, kw_only=True)
class LabelSizes:
    """Numbers of labels in a batch.

    Attributes:
      categories: C, for `VOTES` and `CATEGORIES`.
      dimensions: E.
      turns: U, for `RELATIONS`.
    """

    categories: int = 0
    dimensions: int = len(DIMENSIONS)
    turns: int = 0


KNOWN_DIMENSIONS = LabelSizes()  # no categories, and arousal, dominance and valence


@dataclass(frozen=True)
class OutputShape:
    """Shape of what is kept of an encoder's outputs for one utterance.

    Attributes:
      layers: L.
      vectors: F, for each layer; 0: one for each frame.
      width: D.
    """

    layers: int
    vectors: int
    width: int

    def of(self, num_frames: int) -> tuple[int, int, int]:
        """Gives (L, F, D) of an utterance, or of a row, of so many frames."""
        return self.layers, self.vectors or num_frames, self.width


@dataclass(frozen=True)
class ViewShape:
    """Shape and dtype of what a batch holds of one view."""

    outputs: OutputShape
    dtype: str


NO_VIEWS: Mapping[str, ViewShape] = MappingProxyType({})


@dataclass(frozen=True)
class Shaped:
    """Shape and dtype of one array of a batch, and its value of padding."""

    shape: tuple[int, ...]
    dtype: np.dtype
    padding: float

    def filled(self) -> np.ndarray:
        """Makes the array, all padding."""
        return np.full(self.shape, self.padding, self.dtype)


def batch_arrays(
    needs: Collection[str],
    *,
    rows: int,
    num_samples: int,
    labels: LabelSizes = KNOWN_DIMENSIONS,
    outputs: OutputShape | None = None,
    views: Mapping[str, ViewShape] = NO_VIEWS,
) -> dict[str, Shaped]:
    """Lists the arrays of a batch.

    Args:
      needs: of the task.
      rows: B.
      num_samples: N.
      labels: numbers of categories and dimensions.
      outputs: for `OUTPUTS`.
      views: by name, those that the batch holds.

    Returns:
      Name to shape, dtype and padding.
    """
    sizes = {"B": rows, "N": num_samples, "T": num_frames(num_samples), "P": len(PROSODY_NAMES)}
    sizes |= {"C": labels.categories, "E": labels.dimensions, "U": labels.turns}
    if outputs is not None:
        sizes |= zip("LFD", outputs.of(num_frames(num_samples)), strict=True)
    found: dict[str, Shaped] = {}
    for array in ARRAYS:
        names = [array.name]
        if array.need == CODES:
            names = sorted(need for need in needs if need.startswith(CODES))
        elif array.need is not None and array.need not in needs:
            continue
        if array.name == "waveform" and OUTPUTS in needs:
            continue
        shape = tuple(sizes[letter] for letter in array.shape)
        found |= dict.fromkeys(names, Shaped(shape, np.dtype(array.dtype), array.padding))
    for name, view in views.items():
        layers, vectors, width = view.outputs.of(sizes["T"])
        shape = (rows, layers, vectors, width)
        found[VIEW + name] = Shaped(shape, np.dtype(view.dtype), 0.0)
        found[VIEW_VALID + name] = Shaped((rows, vectors), np.dtype(bool), False)
    return found


def distorted_names(needs: Collection[str]) -> tuple[str, ...]:
    """Names the distorted waveforms that a task needs beside the clean one."""
    return tuple(name for name in (DISTORTED, SECOND) if name in needs)
