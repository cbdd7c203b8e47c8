"""The figures of a report, as PNG files.

Names of categories, speakers and folds come from outside; `short_label` makes them safe to draw.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sersl.core.display import one_line
from sersl.core.files import whole_path
from sersl.eval import metrics
from sersl.eval.figures.fonts import drawable, families

INK, MUTED, GRID, ACCENT, SECOND = "#1f2937", "#6b7280", "#e5e7eb", "#2563eb", "#d97706"
FOLD_COLOURS = (
    *("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed"),
    *("#0891b2", "#be185d", "#65a30d", "#475569", "#b45309"),
)
BLUES = LinearSegmentedColormap.from_list("sersl", ["#ffffff", "#bfdbfe", "#2563eb", "#1e3a8a"])
STYLE = {
    "text.parse_math": False,  # "$" in a name is not a formula
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}
DPI = 150
MOST_INCHES = 60.0  # on a side; PNG files of more than 2**16 pixels cannot be drawn
MOST_CHARACTERS = 30  # of a name


def confusion(path: Path, *, names: Sequence[str], counts: np.ndarray) -> None:
    """Draws a confusion matrix, coloured by the share of the row.

    Args:
      path: the PNG to write.
      names: C categories.
      counts: integers [C, C], rows are the truth.
    """
    names = [short_label(name) for name in names]
    counts = np.asarray(counts)
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    side = 2.2 + 0.72 * len(names)
    with figure_at(path, side + 0.4, side) as figure:
        axes = figure.subplots()
        axes.imshow(share, cmap=BLUES, vmin=0, vmax=1)
        for i, j in np.ndindex(*counts.shape):
            text = f"{100 * share[i, j]:.0f}%\n{counts[i, j]}" if counts[i, j] else "·"
            colour = "white" if share[i, j] > 0.5 else INK if counts[i, j] else "#9ca3af"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
        ticks = range(len(names))
        axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor")
        labels = [f"{name} ({n})" for name, n in zip(names, total[:, 0], strict=True)]
        axes.set_yticks(ticks, labels)
        axes.tick_params(length=0, labelcolor=INK)
        axes.set(xlabel="predicted", ylabel="truth (utterances)")
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=2)
        axes.tick_params(which="minor", length=0)


def dimensions(
    path: Path, *, names: Sequence[str], truth: np.ndarray, predicted: np.ndarray
) -> None:
    """Draws prediction against truth, one panel per dimension, with its CCC.

    Args:
      path: the PNG to write.
      names: names of the D dimensions.
      truth: floats [N, D] in 0..1, NaN where there is none.
      predicted: floats [N, D] in 0..1.
    """
    with figure_at(path, 3.4 * len(names), 4.1) as figure:
        panels = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        for i, (axes, name) in enumerate(zip(panels, names, strict=True)):
            known = ~np.isnan(truth[:, i])
            alpha = float(np.clip(60 / max(1, known.sum()) ** 0.7, 0.08, 0.7))
            axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", zorder=3)
            axes.scatter(
                truth[known, i],
                predicted[known, i],
                s=14,
                color=ACCENT,
                alpha=alpha,
                linewidth=0,
                zorder=2,
            )
            reason = metrics.undefined_ccc(truth[:, i], predicted[:, i])
            value = metrics.ccc(truth[:, i], predicted[:, i])
            axes.set_title(f"{name}   CCC {value:.3f}" if not reason else f"{name}\n{reason}")
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="truth", aspect="equal")
            axes.grid(True)
        panels[0].set_ylabel("predicted")


def training(path: Path, *, logs: Mapping[str, Sequence[Mapping]], of: str = "fold") -> None:
    """Draws training loss and validation scores over the steps, one colour per fold or seed.

    Args:
      path: the PNG to write.
      logs: {name: records with "step" and any of "loss", "validation_uar" and keys that start
        with "validation_ccc", which are averaged}.
      of: what the names are of, above the legend.
    """
    wanted = {
        "loss": "training loss",
        "validation_uar": "validation UAR",
        "validation_ccc": "validation CCC, mean over dimensions",
    }
    curves = {
        key: {fold: _points(log, key) for fold, log in logs.items() if _points(log, key)}
        for key in wanted
    }
    present = [key for key in wanted if curves[key]]
    with figure_at(path, 5.2 * max(1, len(present)), 3.5) as figure:
        panels = figure.subplots(1, max(1, len(present)), squeeze=False)[0]
        for axes, key in zip(panels, present, strict=False):
            for i, fold in enumerate(logs):
                if fold in curves[key]:
                    points = curves[key][fold]
                    axes.plot(
                        *zip(*points, strict=True),
                        color=FOLD_COLOURS[i % len(FOLD_COLOURS)],
                        linewidth=1.6,
                        marker="o" if len(points) < 30 else None,
                        markersize=3,
                        label=short_label(fold),
                    )
            axes.set_title(wanted[key])
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.grid(True)
        if len(logs) > 1 and present:
            lines = panels[0].get_lines()
            figure.legend(
                lines,
                [str(line.get_label()) for line in lines],
                loc="outside lower center",
                ncols=min(len(lines), 8),
                fontsize=8,
                title=of,
            )


def speakers(
    path: Path, *, names: Sequence[str], uar: np.ndarray, overall: float, chance: float
) -> None:
    """Draws the UAR of every speaker, best first, with the overall UAR and chance as lines.

    Args:
      path: the PNG to write.
      names: S speakers.
      uar: floats [S] in 0..1.
      overall: UAR over all utterances.
      chance: UAR of guessing.
    """
    order = np.argsort(-np.asarray(uar), kind="stable")
    many = len(names) > 60  # labels would overlap
    with figure_at(path, float(np.clip(2 + 0.32 * len(names), 6, 14)), 3.6) as figure:
        axes = figure.subplots()
        axes.bar(range(len(order)), np.asarray(uar)[order], color="#93b4f5", width=0.78)
        axes.axhline(overall, color=ACCENT, linewidth=1.6, label=f"all utterances {overall:.3f}")
        axes.axhline(
            chance, color=SECOND, linewidth=1.4, linestyle="--", label=f"chance {chance:.3f}"
        )
        if many:
            axes.set_xticks([])
            axes.set_xlabel(f"{len(names)} speakers, best first")
        else:
            labels = [short_label(names[i]) for i in order]
            axes.set_xticks(range(len(order)), labels, fontsize=8)
            if len(names) > 30 or max(map(len, labels)) > 4:
                for text in axes.get_xticklabels():
                    text.set(rotation=60, ha="right", rotation_mode="anchor")
            axes.set_xlabel("speaker")
        axes.tick_params(axis="x", length=0)
        axes.set(ylim=(0, 1), xlim=(-0.7, len(order) - 0.3), ylabel="UAR")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(True, axis="y")
        figure.legend(loc="outside upper right", ncols=2, fontsize=9)


def intervals(
    path: Path,
    *,
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[Sequence[float] | None],
    title: str,
) -> None:
    """Draws a score of every system with its interval, first system on top.

    Args:
      path: the PNG to write.
      names: S systems.
      values: S scores, NaN where undefined.
      intervals: S pairs of ends, None where there is none.
      title: of the score.
    """
    with figure_at(path, 7.5, 1.2 + 0.36 * len(names)) as figure:
        axes = figure.subplots()
        for row, (value, ends) in enumerate(zip(values, intervals, strict=True)):
            if ends is not None:
                axes.plot(ends, [row, row], color="#93b4f5", linewidth=5, solid_capstyle="round")
            axes.plot([value], [row], marker="o", markersize=6, color=ACCENT)
        axes.set_yticks(range(len(names)), [short_label(name, most=48) for name in names])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.axvline(values[0], color=MUTED, linewidth=1, linestyle="--")
        axes.set_title(title)
        axes.grid(True, axis="x")


def frame_intensity(
    path: Path, *, log_mel: np.ndarray, intensity: np.ndarray, frame_rate: float, title: str
) -> None:
    """Draws the intensity of every frame over the spectrogram of an utterance.

    Args:
      path: the PNG to write.
      log_mel: [T, M], natural logarithm of power.
      intensity: [T] in 0..1, NaN where there is none.
      frame_rate: frames per second.
      title: of the figure.
    """
    decibel = np.asarray(log_mel).T * (10 / np.log(10))
    seconds = len(intensity) / frame_rate
    with figure_at(path, 8.0, 3.2) as figure:
        axes = figure.subplots()
        axes.imshow(
            decibel,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, 1),
            cmap=BLUES,
            vmin=decibel.max() - 70,
            vmax=decibel.max(),
        )
        time = (np.arange(len(intensity)) + 0.5) / frame_rate
        axes.plot(time, intensity, color=SECOND, linewidth=1.8)
        axes.set_xlim(0, seconds)
        axes.set_ylim(0, 1)
        axes.set_xlabel("time, s")
        axes.set_ylabel("intensity", color=SECOND)
        bands = axes.secondary_yaxis("right")
        bands.set_yticks([0, 1], ["20 Hz", "8 kHz"])
        bands.set_ylabel("mel band")
        axes.set_title(short_label(title, most=2 * MOST_CHARACTERS))


def spectrograms(path: Path, *, waveforms: Mapping[str, np.ndarray], sample_rate: int) -> None:
    """Draws spectrograms of waveforms below each other, e.g. of distortions of a recording.

    Args:
      path: the PNG to write.
      waveforms: title to float [N]; at least one, each of 512 samples or more.
      sample_rate: Hz.
    """
    longest = max(len(waveform) for waveform in waveforms.values()) / sample_rate
    with figure_at(path, 8.0, 1.5 * len(waveforms)) as figure:
        rows = figure.subplots(len(waveforms), sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, (title, waveform) in zip(rows, waveforms.items(), strict=True):
            # A range of 60 dB below the peak of each, so that levels do not hide shapes.
            level = 20 * np.log10(max(np.abs(waveform).max(), 1e-5)) - 30
            with np.errstate(divide="ignore"):  # silence is white
                axes.specgram(
                    waveform,
                    NFFT=512,
                    noverlap=384,
                    Fs=sample_rate,
                    cmap=BLUES,
                    vmin=level - 60,
                    vmax=level,
                )
            axes.set_title(short_label(title))
            axes.set_ylabel("Hz")
        rows[-1].set_xlim(0, longest)
        rows[-1].set_xlabel("seconds")


def _points(log: Sequence[Mapping], key: str) -> list[tuple[int, float]]:
    points = []
    for record in log:
        found = [
            value
            for name, value in record.items()
            if (name == key or (key == "validation_ccc" and name.startswith(key)))
            and isinstance(value, int | float)  # null where a score is not defined
        ]
        if found:
            points.append((record["step"], sum(found) / len(found)))
    return points


def short_label(name: str, *, most: int = MOST_CHARACTERS) -> str:
    """Makes a name from outside safe to draw, and short."""
    name = drawable(one_line(str(name)))
    return name if len(name) <= most else f"{name[: most - 1]}…"


@contextmanager
def figure_at(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Gives a figure of this many inches to draw on, and writes it as PNG at the end."""
    # A bare Figure draws with Agg whatever the user's backend is, and needs no display.
    size = (min(width, MOST_INCHES), min(height, MOST_INCHES))
    style = matplotlib.RcParams({**STYLE, "font.family": families()})
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A name may be very long.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        yield figure
        with whole_path(path) as partial:
            figure.savefig(partial, dpi=DPI, metadata={"Software": None})
