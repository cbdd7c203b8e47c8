"""The quality report of a preparation: counts and measures, collected while records are written.

One pass, with memory that grows with the number of speakers and classes, not of utterances:
distributions are histograms, and the worst utterances of each kind of fault are listed.
"""

import collections
import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sersl.audio.decode import AudioInfo
from sersl.audio.levels import CLIPPED_ABOVE, FULL_SCALE, SILENT_BELOW, SILENT_UNDER, Levels
from sersl.core.errors import UserError
from sersl.core.files import read_json, whole_file, write_json
from sersl.corpora.writing.quality_page import render

QUALITY_FILE = "quality.json"
QUALITY_PAGE = "quality.html"

_WORST = 20  # utterances listed for each kind of fault; all are counted
# Beyond these, listen to an utterance before training on it.
LOW_SNR = 10.0  # dB
MOSTLY_SILENT = 0.8  # share of frames
LARGE_OFFSET = 0.01  # of full scale: raises the noise floor and distorts frame energies
COUNTED = ("category", "gender", "language", "speaker")


@dataclass
class Spread:
    """Histogram with bins of one width, on a linear or a logarithmic scale.

    Attributes:
      width: of a bin, in the number's unit; on a logarithmic scale, of its natural logarithm.
      logarithmic: whether bins grow with the number.
    """

    width: float
    logarithmic: bool = False
    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    bins: collections.Counter = field(default_factory=collections.Counter)

    def add(self, value: float) -> None:
        """Counts one value; NaN is ignored."""
        if math.isnan(value):
            return
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.bins[math.floor((math.log(value) if self.logarithmic else value) / self.width)] += 1

    def quantile(self, share: float) -> float:
        """Finds a quantile, to within a bin."""
        wanted, seen = share * self.count, 0
        for number in sorted(self.bins):
            seen += self.bins[number]
            if seen >= wanted:
                return min(max(self._value(number + 0.5), self.low), self.high)
        return math.nan

    def summary(self) -> dict | None:
        """Gives extremes, mean, quantiles and the bins as [left, right, count], for JSON."""
        if not self.count:
            return None
        quantiles = {f"p{round(100 * q):02d}": self.quantile(q) for q in (0.05, 0.25, 0.5, 0.75)}
        summary = {"count": self.count, "min": self.low, "mean": self.total / self.count}
        summary |= quantiles | {"p95": self.quantile(0.95), "max": self.high}
        rounded = {name: round(value, 4) for name, value in summary.items()}
        bins = [
            [round(self._value(n), 4), round(self._value(n + 1), 4), self.bins[n]]
            for n in sorted(self.bins)
        ]
        return rounded | {"bins": bins}

    def _value(self, number: float) -> float:
        value = number * self.width
        return math.exp(value) if self.logarithmic else value


class Faults:
    """Counts utterances with one fault, and lists the worst of them."""

    def __init__(self):
        self.count = 0
        self._heap = []  # the mildest of the worst comes first

    def add(self, badness: float, utterance_id: str, value: float) -> None:
        """Counts one; of equally bad ones the first are kept.

        Args:
          badness: larger is worse.
          utterance_id: of the utterance.
          value: to show.
        """
        item = (badness, -self.count, utterance_id, value)
        self.count += 1
        push = heapq.heappush if len(self._heap) < _WORST else heapq.heappushpop
        push(self._heap, item)

    def summary(self) -> dict:
        """Gives the count, and names and values of the worst, worst first, for JSON."""
        worst = [[name, round(value, 4)] for _, _, name, value in sorted(self._heap, reverse=True)]
        return {"count": self.count, "worst": worst}


class Quality:
    """Counts and measures of one corpus, collected utterance by utterance."""

    def __init__(self):
        self._counts: dict[str, dict[str, list[float]]] = {
            name: collections.defaultdict(lambda: [0, 0.0]) for name in COUNTED
        }
        self._native: dict[str, collections.Counter] = {
            name: collections.Counter() for name in ("sample_rate", "channels", "format")
        }
        self._spreads = {
            "duration": Spread(0.05, logarithmic=True),  # seconds; bins of 5 %
            "level": Spread(1.0),  # dBFS
            "peak": Spread(0.02),
            "silence": Spread(0.02),
            "snr": Spread(1.0),  # dB
        }
        self._faults = {
            name: Faults() for name in ("clipping", "mostly_silent", "dc_offset", "low_snr")
        }
        self._samples = self._clipped = 0

    def add(self, row: Mapping, levels: Levels, info: AudioInfo | None) -> None:
        """Counts one utterance.

        Args:
          row: of the index.
          levels: of its samples.
          info: of its file; None if it was synthesised.
        """
        name = row["utterance_id"]
        for column in COUNTED:
            entry = self._counts[column][row[column]]
            entry[0] += 1
            entry[1] += row["duration"]
        if info is None:
            self._native["format"]["made, not read"] += 1
        else:
            self._native["sample_rate"][info.sample_rate] += 1
            self._native["channels"][info.channels] += 1
            self._native["format"][f"{info.format} {info.subtype}"] += 1
        self._spreads["duration"].add(row["duration"])
        for measure in ("level", "peak", "silence", "snr"):
            self._spreads[measure].add(getattr(levels, measure))
        self._samples += row["num_samples"]
        self._clipped += levels.clipped
        if levels.clipped:
            share = levels.clipped / row["num_samples"]
            self._faults["clipping"].add(share, name, share)
        if levels.silence >= MOSTLY_SILENT:
            self._faults["mostly_silent"].add(levels.silence, name, levels.silence)
        if abs(levels.offset) >= LARGE_OFFSET:
            self._faults["dc_offset"].add(abs(levels.offset), name, levels.offset)
        if levels.snr < LOW_SNR:
            self._faults["low_snr"].add(-levels.snr, name, levels.snr)

    def summary(self) -> dict:
        """Gives all counts and measures, for JSON."""
        counts = {
            column: {
                value: {"utterances": number, "seconds": round(seconds, 3)}
                for value, (number, seconds) in sorted(entries.items())
            }
            for column, entries in self._counts.items()
        }
        native = {
            name: {str(value): counter[value] for value in sorted(counter)}
            for name, counter in self._native.items()
        }
        return {
            "counts": counts,
            "native": native,
            "spreads": {name: spread.summary() for name, spread in self._spreads.items()},
            "faults": {name: faults.summary() for name, faults in self._faults.items()},
            "clipped_share": self._clipped / max(1, self._samples),
            "methods": METHODS,
        }


METHODS = {
    "measured": "the 16-bit samples at 16 kHz that the records hold",
    "clipping": f"runs of 3 or more samples at {CLIPPED_ABOVE / FULL_SCALE:.3f} of full scale or "
    "above; value: share of the samples",
    "silence": f"share of 20-ms frames under {SILENT_BELOW:g} dBFS or {SILENT_UNDER:g} dB under "
    f"the utterance's loudest; mostly silent from {MOSTLY_SILENT:g}",
    "dc_offset": f"mean of the samples; listed from {LARGE_OFFSET:g} of full scale",
    "snr": "10 log10((P - N) / N), P the mean power and N the mean power of the quietest tenth of "
    "the 20-ms frames that are not digital silence, without the DC offset; too low where the "
    "speaker never pauses; "
    f"listed under {LOW_SNR:g} dB",
    "duplicates": "SHA-256 of the 16-bit samples",
}


def write_quality(folder: Path, quality: Quality, summary: Mapping) -> None:
    """Writes `quality.json` and `quality.html` beside the records.

    Args:
      folder: of the corpus.
      quality: counts and measures.
      summary: content of `prepare.json`.
    """
    content = {
        "schema": 1,
        **{key: summary[key] for key in _COPIED},
        **quality.summary(),
        "unreadable": summary["skipped"],
        "left_out": summary["left_out"],
        "silent": summary["silent"],
        "short": summary["short"],
        "duplicates": summary["identical_audio"],
    }
    write_json(folder / QUALITY_FILE, content)
    with whole_file(folder / QUALITY_PAGE) as file:
        file.write(render(content))


_COPIED = (
    *("corpus", "version", "fingerprint", "num_utterances", "expected_utterances", "hours"),
    *("num_speakers", "differences", "licence"),
)


def read_faults(folder: Path) -> list[tuple[str, int]]:
    """Counts the recordings of a prepared corpus with a fault, by its quality report.

    Args:
      folder: `data_dir/<corpus>/<version>`.

    Returns:
      (fault, number of utterances) for the faults that occur.

    Raises:
      UserError: there is no report, or it is damaged.
    """
    remedy = "add --overwrite to `sersl prepare` to prepare it again"
    if not (folder / QUALITY_FILE).exists():
        raise UserError(
            f"{folder} has no {QUALITY_FILE}: it was prepared by an earlier version of sersl; "
            f"{remedy}"
        )
    content = read_json(folder / QUALITY_FILE, what="quality report", remedy=remedy)
    names = {
        "clipping": "clipped",
        "mostly_silent": "mostly silent",
        "dc_offset": "with a DC offset",
        "low_snr": f"under {LOW_SNR:g} dB SNR",
    }
    try:
        counts = {text: int(content["faults"][fault]["count"]) for fault, text in names.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / QUALITY_FILE} is damaged ({error!r}): {remedy}") from error
    return [(text, count) for text, count in counts.items() if count]
