"""The scores of a model for recordings, by name, and their averages over windows."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from sersl.audio.source import IN_MEMORY, display_name
from sersl.config.schema import HeadsConfig
from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.models.heads.category_heads import UNCERTAINTY_OF
from sersl.models.heads.dimension_head import DIMENSION_HEADS
from sersl.release.predict.windows import MIN_SECONDS, Source, Window

# What the heads of some losses give beside scores: of an utterance, and of each dimension.
UNCERTAINTY = ("vacuity", "open_set", "aleatoric", "epistemic")
OK, SILENT, TOO_SHORT, UNREADABLE = "ok", "silent", "too_short", "unreadable"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a model for one window, or for a whole recording.

    Attributes:
      start: seconds.
      end: seconds.
      status: "ok", or "silent" (peak below -80 dBFS), which is not scored.
      category: {name: probability}; empty when silent or without categories.
      dimensions: {name: 0..1}; empty when silent or without dimensions.
      embedding: float32 [E]; [0] when silent.
      uncertainty: {name: value} of losses that give more than a prediction: vacuity or open_set,
        0..1, and of dimensions <name>_aleatoric and <name>_epistemic, standard deviations.
      unknown: whether open_set is above `heads.open_set_threshold`: no category is near.
      frames: {name: float32 [T]} probabilities 50 times a second and "time", seconds of the
        frames' centres; None unless asked for.
      thresholds: {name: probability from which it applies} where several may; {} where one does.
    """

    start: float
    end: float
    status: str
    category: dict[str, float] = field(default_factory=dict)
    dimensions: dict[str, float] = field(default_factory=dict)
    embedding: np.ndarray
    uncertainty: dict[str, float] = field(default_factory=dict)
    unknown: bool = False
    frames: dict[str, np.ndarray] | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Gives everything that was asked for, by name."""
        values = {name: getattr(self, name) for name in Scores.__dataclass_fields__}
        del values["thresholds"]
        if self.thresholds:
            values["applies"] = self.applies
        if self.frames is None:
            del values["frames"]
        return values

    @property
    def applies(self) -> list[str]:
        """Names the categories that apply, where several may."""
        return [name for name, score in self.category.items() if score >= self.thresholds[name]]

    @property
    def best(self) -> str:
        """The most probable category, "unknown", or all that apply joined by ";"; "" for none."""
        if self.unknown:
            return "unknown"
        if self.thresholds:
            return ";".join(self.applies)
        return max(self.category, key=self.category.__getitem__, default="")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result for one source.

    Attributes:
      source: as given.
      status: "ok", "silent", "too_short" or "unreadable: cause".
      end: seconds of audio that were read.
      rows: one per window, or a single one; empty unless something could be read.
    """

    source: Source
    status: str
    end: float
    rows: list[Scores]

    def checked(self) -> "Answer":
        """Returns itself where there are scores.

        Raises:
          UserError: there are none.
        """
        if self.status.startswith(UNREADABLE):
            raise UserError(self.status.removeprefix(f"{UNREADABLE}: "))
        if self.status == TOO_SHORT:
            raise UserError(
                f"{source_name(self.source)} is shorter than {MIN_SECONDS:g} s: give longer audio"
            )
        if self.status == SILENT:
            raise UserError(f"{source_name(self.source)} is silent: there is nothing to score")
        return self


class Recording:
    """A source in progress: the windows that wait for the network, and the scores of the others."""

    def __init__(self, source: Source):
        """Starts without windows."""
        self.source = source
        self.pending: list[Window] = []
        self._done: dict[int, Scores] = {}
        self._end = 0.0
        self._error = ""

    def add(self, window: Window) -> None:
        """Adds a window; a silent one needs no network."""
        start, self._end = _times(window)
        if window.silent:
            nothing = np.zeros(0, np.float32)
            self._done[window.start] = Scores(
                start=start, end=self._end, status=SILENT, embedding=nothing
            )
        else:
            self.pending.append(window)

    def take(self) -> list[Window]:
        """Removes and returns the windows that wait."""
        taken, self.pending = self.pending, []
        return taken

    def fail(self, cause: str) -> None:
        """Drops all windows: scores for half a recording would be misleading."""
        self._error, self.pending, self._done = cause, [], {}

    def finish(
        self,
        window: Window,
        output: Mapping[str, np.ndarray],
        *,
        categories: Sequence[str],
        dimensions: Sequence[str],
        thresholds: Mapping[str, float] = MappingProxyType({}),
        open_set_threshold: float = 1.0,
    ) -> None:
        """Keeps the output of the network for a window.

        Args:
          window: one that `take` returned.
          output: "category" [C] and "dimensions" [D] scores, "embedding" [E], "frames" [T, C] if
            asked for, padding included, and any of `UNCERTAINTY`.
          categories: C names.
          dimensions: D names.
          thresholds: of the categories, where several may apply.
          open_set_threshold: above which no category is near.
        """
        frames = None
        if "frames" in output:
            values = output["frames"][: lengths.num_frames(len(window.waveform))]
            # Frame t is centred on sample 320 t + 200 (sersl.core.lengths).
            centres = window.start + np.arange(len(values)) * lengths.HOP + lengths.WINDOW // 2
            frames = {"time": (centres / lengths.SAMPLE_RATE).astype(np.float32)}
            frames.update({name: values[:, i] for i, name in enumerate(categories)})
        start, end = _times(window)
        uncertainty = _named(output, dimensions)
        self._done[window.start] = Scores(
            start=start,
            end=end,
            status=OK,
            uncertainty=uncertainty,
            unknown=uncertainty.get("open_set", 0.0) > open_set_threshold,
            category=dict(zip(categories, output["category"].tolist(), strict=True)),
            dimensions=dict(zip(dimensions, output["dimensions"].tolist(), strict=True)),
            embedding=output["embedding"],
            frames=frames,
            thresholds=thresholds,
        )

    def answer(self, *, whole: bool) -> Answer:
        """Collects the scores when no window waits.

        Args:
          whole: one row for the recording instead of one per window.

        Returns:
          The answer.
        """
        rows = [self._done[start] for start in sorted(self._done)]
        scored = [row for row in rows if row.status == OK]
        if self._error:
            status = f"{UNREADABLE}: {self._error}"
        elif not rows:
            status = TOO_SHORT
        else:
            status = OK if scored else SILENT
        if whole and scored:
            rows = [mean_scores(scored, start=0.0, end=self._end)]
        elif whole:
            rows = []
        return Answer(source=self.source, status=status, end=self._end, rows=rows)


def mean_scores(rows: Sequence[Scores], *, start: float, end: float) -> Scores:
    """Averages scores by the duration of their windows.

    Args:
      rows: at least one, none silent.
      start: seconds, of the result.
      end: seconds, of the result.

    Returns:
      The mean; frames are concatenated.
    """
    weights = [row.end - row.start for row in rows]

    def mean(values: Iterable[np.ndarray | float]) -> np.ndarray:
        return np.average(np.array(list(values)), axis=0, weights=weights)

    of_rows = [row.frames for row in rows if row.frames is not None]
    frames = None
    if of_rows:
        frames = {name: np.concatenate([one[name] for one in of_rows]) for name in of_rows[0]}
    return Scores(
        start=start,
        end=end,
        status=OK,
        category={name: float(mean(r.category[name] for r in rows)) for name in rows[0].category},
        dimensions={
            name: float(mean(r.dimensions[name] for r in rows)) for name in rows[0].dimensions
        },
        uncertainty={
            name: float(mean(r.uncertainty[name] for r in rows)) for name in rows[0].uncertainty
        },
        # Where most of the time is near no category.
        unknown=bool(mean(float(r.unknown) for r in rows) > 0.5),
        embedding=mean(row.embedding for row in rows).astype(np.float32),
        frames=frames,
        thresholds=rows[0].thresholds,
    )


def uncertainty_names(
    heads: HeadsConfig, categories: Sequence[str], dimensions: Sequence[str]
) -> tuple[str, ...]:
    """Names what a model with these heads gives beside scores."""
    names = []
    if categories and heads.category_loss in UNCERTAINTY_OF:
        names.append(UNCERTAINTY_OF[heads.category_loss])
    if dimensions and DIMENSION_HEADS[heads.dimensions_loss]:
        names += [f"{name}_{kind}" for kind in UNCERTAINTY[2:] for name in dimensions]
    return tuple(names)


def _named(output: Mapping[str, np.ndarray], dimensions: Sequence[str]) -> dict[str, float]:
    """Names what a model gives beside scores; what dimensions have, after each of them."""
    found = {}
    for kind in UNCERTAINTY:
        if kind in output and np.ndim(output[kind]):
            for name, value in zip(dimensions, output[kind].tolist(), strict=True):
                found[f"{name}_{kind}"] = value
        elif kind in output:
            found[kind] = float(output[kind])
    return found


def source_name(source: Source) -> str:
    """Names a source in a message."""
    return display_name(source) if isinstance(source, str | os.PathLike) else IN_MEMORY


def _times(window: Window) -> tuple[float, float]:
    """Gives start and end in seconds."""
    end = window.start + len(window.waveform)
    return window.start / lengths.SAMPLE_RATE, end / lengths.SAMPLE_RATE
