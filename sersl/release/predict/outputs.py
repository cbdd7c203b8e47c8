"""The scores of a model for recordings, by name, and their averages over windows."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from sersl.audio.source import IN_MEMORY, display_name
from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.release.predict.turns import Turn
from sersl.release.predict.windows import MIN_SECONDS, Source, Window

# What the heads of some losses give beside scores: of an utterance, and of each dimension.
UNCERTAINTY = ("vacuity", "open_set", "aleatoric", "epistemic")
OK, SILENT, NO_SPEECH = "ok", "silent", "no_speech"
TOO_SHORT, NO_TURNS, UNREADABLE = "too_short", "no_turns", "unreadable"
STATUSES = (OK, NO_SPEECH, SILENT, TOO_SHORT, NO_TURNS, UNREADABLE)
SCORED = (OK, NO_SPEECH)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a model for one window, or for a whole recording.

    Attributes:
      start: seconds.
      end: seconds.
      status: "ok"; "no_speech", scored, though no speech was found in it; or "silent" (peak below
        -80 dBFS), which is not scored.
      speaker: of the turn; "" without turns.
      category: {name: probability}; empty when silent or without categories.
      dimensions: {name: 0..1}; empty when silent or without dimensions.
      embedding: float32 [E]; [0] when silent, or not asked for.
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
    speaker: str = ""
    category: dict[str, float] = field(default_factory=dict)
    dimensions: dict[str, float] = field(default_factory=dict)
    embedding: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    uncertainty: dict[str, float] = field(default_factory=dict)
    unknown: bool = False
    frames: dict[str, np.ndarray] | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

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

    @property
    def named(self) -> str | list[str]:
        """`best`, or the list of those that apply, where several may."""
        return self.applies if self.thresholds and not self.unknown else self.best


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result for one source.

    Attributes:
      source: as given.
      status: one of STATUSES.
      error: why it could not be read, if it is "unreadable".
      end: seconds of audio that were read.
      rows: one per window, or a single one; empty unless something could be read.
    """

    source: Source
    status: str
    error: str = ""
    end: float
    rows: list[Scores]

    @property
    def scored(self) -> bool:
        """Whether there are scores."""
        return self.status in SCORED

    @property
    def problem(self) -> str:
        """One sentence with the reason for missing scores; "" where there are."""
        name = source_name(self.source)
        match self.status:
            case "unreadable":
                return self.error
            case "too_short":
                return f"{name} is shorter than {MIN_SECONDS:g} s: give longer audio"
            case "silent":
                return f"{name} is silent: there is nothing to score"
            case "no_turns":
                return f"{name} has no turns: the RTTM file does not name it"
            case "no_speech" if not self.rows:
                return f"{name} has no stretch of speech: leave it out, or score it as a whole"
        return ""

    def checked(self) -> "Answer":
        """Returns itself where there are scores.

        Raises:
          UserError: there are none.
        """
        if self.problem:
            raise UserError(self.problem)
        return self

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Gives each row as a dict, or one with "error" where there are none."""
        about = {"file": file_name(self.source)}
        for row in self.rows:
            values: dict[str, Any] = {
                **about,
                "status": row.status,
                "start": row.start,
                "end": row.end,
                "category": row.named,
                "scores": row.category,
                "dimensions": row.dimensions,
                "embedding": row.embedding,
            }
            if row.uncertainty:
                values |= {"uncertainty": row.uncertainty, "unknown": row.unknown}
            if row.thresholds:
                values["applies"] = row.applies
            if row.speaker:
                values["speaker"] = row.speaker
            if row.frames is not None:
                values["frames"] = row.frames
            yield values
        if not self.rows:
            times = {"start": 0.0, "end": 0.0 if self.status == UNREADABLE else self.end}
            empty = {"category": "", "scores": {}, "dimensions": {}}
            nothing = {"embedding": np.zeros(0, np.float32), "error": self.problem}
            yield {**about, "status": self.status, **times, **empty, **nothing}


class Recording:
    """A source in progress: the scores of its windows so far."""

    def __init__(self, source: Source, *, turns: Sequence[Turn] | None = None):
        """Starts without windows."""
        self.source = source
        self._turns = turns
        self._rows: list[tuple[int | None, Scores]] = []
        self._end = 0.0
        self._error = ""

    def fail(self, cause: str) -> None:
        """Drops all windows: scores for half a recording would be misleading."""
        self._error, self._rows = self._error or cause, []

    def add(
        self,
        window: Window,
        output: Mapping[str, np.ndarray] | None,
        *,
        categories: Sequence[str],
        dimensions: Sequence[str],
        speech: bool,
        thresholds: Mapping[str, float] = MappingProxyType({}),
        open_set_threshold: float = 1.0,
    ) -> None:
        """Keeps the output of the network for the next window.

        Args:
          window: in order.
          output: "category" [C] and "dimensions" [D] scores, "embedding" [E] unless it is not
            wanted, "frames" [T, C] if asked for, padding included, and any of `UNCERTAINTY`; None:
            it is silent.
          categories: C names.
          dimensions: D names.
          speech: whether there is speech in it.
          thresholds: of the categories, where several may apply.
          open_set_threshold: above which no category is near.
        """
        start = window.start / lengths.SAMPLE_RATE
        self._end = max(self._end, start + len(window.waveform) / lengths.SAMPLE_RATE)
        if self._error:
            return
        end = start + len(window.waveform) / lengths.SAMPLE_RATE
        speaker = ""
        if self._turns is not None and window.turn is not None:
            speaker = self._turns[window.turn].speaker
        scores = Scores(start=start, end=end, status=SILENT, speaker=speaker)
        if output is not None:
            uncertainty = named_uncertainty(output, dimensions)
            scores = Scores(
                start=start,
                end=end,
                uncertainty=uncertainty,
                unknown=uncertainty.get("open_set", 0.0) > open_set_threshold,
                status=OK if speech else NO_SPEECH,
                speaker=speaker,
                category=dict(zip(categories, output["category"].tolist(), strict=True)),
                dimensions=dict(zip(dimensions, output["dimensions"].tolist(), strict=True)),
                embedding=output.get("embedding", np.zeros(0, np.float32)).copy(),
                thresholds=thresholds,
                frames=_frames(window, output.get("frames"), categories),
            )
        self._rows.append((window.turn, scores))

    def answer(self, *, whole: bool, speech_only: bool = False) -> Answer:
        """Collects the scores.

        Args:
          whole: one row for the recording instead of one per window.
          speech_only: the windows are the stretches with speech.
        """
        rows = [row for _, row in self._rows]
        statuses = {row.status for row in rows}
        if self._error:
            status = UNREADABLE
        elif rows:
            status = next(one for one in (OK, NO_SPEECH, SILENT) if one in statuses)
        elif speech_only:
            status = NO_SPEECH
        else:
            status = TOO_SHORT if self._turns is None else NO_TURNS
        scored = [row for row in rows if row.status in SCORED]
        if whole:
            rows = [mean_scores(scored, start=0.0, end=self._end)] if scored else []
        elif self._turns is not None:
            rows = list(self._by_turn())
        return Answer(
            source=self.source, status=status, error=self._error, end=self._end, rows=rows
        )

    def _by_turn(self) -> Iterator[Scores]:
        """Averages the parts of each turn."""
        parts: dict[int | None, list[Scores]] = {}
        for turn, row in self._rows:
            parts.setdefault(turn, []).append(row)
        for rows in parts.values():
            scored = [row for row in rows if row.status in SCORED] or rows[:1]
            start, end = rows[0].start, rows[-1].end
            yield mean_scores(scored, start=start, end=end) if len(rows) > 1 else rows[0]


def mean_scores(rows: Sequence[Scores], *, start: float, end: float) -> Scores:
    """Averages scores by the duration of their windows.

    Args:
      rows: at least one, of one speaker, all silent or none.
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
    statuses = [row.status for row in rows]
    return Scores(
        start=start,
        end=end,
        status=OK if OK in statuses else statuses[0],
        speaker=rows[0].speaker,
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


def named_uncertainty(
    output: Mapping[str, np.ndarray], dimensions: Sequence[str]
) -> dict[str, float]:
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


def file_name(source: Source) -> str:
    """Names a source in a row: its path as given, "-" for audio in memory."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "-"


def check_asked(frames: bool, *, has_heads: bool, gives_frames: bool) -> None:
    """Raises UserError if a model has no heads, or no scores of frames where they are asked for."""
    if not has_heads:
        raise UserError(
            "this model is an encoder without heads, which predicts nothing: fine-tune it "
            "(`sersl finetune --config.init_from=...`), or take its embeddings"
        )
    if frames and not gives_frames:
        raise UserError(
            "this model pools by the correlation of channels, fuses views or reads dialogues, "
            "which gives no scores per frame: ask without frames, or with a window"
        )


def _frames(
    window: Window, values: np.ndarray | None, categories: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """Names the probabilities [T, C] of the frames of a window, without padding."""
    if values is None:
        return None
    values = values[: lengths.num_frames(len(window.waveform))]
    # Frame t is centred on sample 320 t + 200 (sersl.core.lengths).
    centres = window.start + np.arange(len(values)) * lengths.HOP + lengths.WINDOW // 2
    frames = {"time": (centres / lengths.SAMPLE_RATE).astype(np.float32)}
    return frames | {name: values[:, i].copy() for i, name in enumerate(categories)}
