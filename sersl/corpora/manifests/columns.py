"""Names of columns: ours, those of other projects, and those that the user gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sersl.core.errors import UserError, unknown_name
from sersl.corpora.labels import DIMENSIONS
from sersl.corpora.ratings import ANNOTATORS
from sersl.corpora.tables.values import Row, nearest, to_number

COLUMNS = (
    *("path", "start", "end", "channel", "utterance_id", "speaker", "gender", "language"),
    *("session", "text", "emotion", "category", "votes", ANNOTATORS, "intensity", *DIMENSIONS),
    *("scale_low", "scale_high", "fold"),
)
# Names of the column `path` in other projects; the first that a file has is used.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "wav", "audio_filepath", "audio_path")
# Other names, used where a file lacks the column itself.
_ALIASES = {"label": "emotion", "split": "fold"}
_CORPUS = ("corpus", "dataset")  # kept in `extra`, and used to read codes of emotions
SAMPLES = ("start_sample", "stop_sample")  # of SpeechBrain: samples at the file's own rate
_SCALED = ("intensity", *DIMENSIONS)
_MOST_PLANS = 1000  # sets of columns kept


def parse_columns(text: str) -> dict[str, str]:
    """Reads `--columns emotion=my_label,speaker=speaker_id`: column -> its name in the file.

    Raises:
      UserError: a part without "=", an unknown column, or one that is given twice.
    """
    chosen: dict[str, str] = {}
    for ours, theirs in _pairs(text, "--columns", "emotion=my_label,speaker=speaker_id"):
        ours = "emotion" if ours == "category" else ours
        if ours not in COLUMNS:
            raise unknown_name("column in --columns", ours, COLUMNS)
        if ours in chosen:
            raise UserError(f"--columns gives {ours!r} twice: leave one")
        chosen[ours] = theirs.casefold()
    return chosen


def parse_scales(text: str) -> dict[str, tuple[float, float]]:
    """Reads `--scale arousal=1..5,valence=-3..3`, or `--scale 1..5` for all three dimensions.

    Returns:
      Column -> lowest and highest rating.

    Raises:
      UserError: another form, an unknown column, or limits in the wrong order.
    """
    if text and "=" not in text:
        text = ",".join(f"{name}={text}" for name in DIMENSIONS)
    scales: dict[str, tuple[float, float]] = {}
    for column, limits in _pairs(text, "--scale", "arousal=1..5"):
        if column not in _SCALED:
            raise unknown_name("column in --scale", column, _SCALED)
        if column in scales:
            raise UserError(f"--scale gives {column!r} twice: leave one")
        low, dots, high = limits.partition("..")
        if not dots or not low or not high:
            raise UserError(f"--scale {column}={limits}: write LOWEST..HIGHEST, such as 1..5")
        where = f"--scale {column}={limits}"
        scales[column] = (to_number(low.strip(), where), to_number(high.strip(), where))
        if scales[column][0] >= scales[column][1]:
            raise UserError(f"{where}: the highest rating is not above the lowest")
    return scales


def _pairs(text: str, option: str, example: str) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(None, map(str.strip, text.split(","))):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not equals or not ours or not theirs:
            raise UserError(f"{option} {part!r} is not NAME=VALUE: write it as {example}")
        pairs.append((ours.casefold(), theirs))
    return pairs


@dataclass
class Columns:
    """Gives the columns of rows our names, and remembers which were not used.

    Attributes:
      chosen: column -> its name in the file, as the user gives it.
      unused: names of the file's columns that are only kept in `extra`, in their order.
    """

    chosen: Mapping[str, str] = field(default_factory=dict)
    unused: dict[str, None] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _plans: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    def rename(self, row: Row) -> Row:
        """Gives the values of one row our names.

        Raises:
          UserError: two names that differ in case only, or no column with a path.
        """
        keys = tuple(row.values)
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plan(keys, row.header or row.where)
            if len(self._plans) < _MOST_PLANS:  # lines of JSON may all have other keys
                self._plans[keys] = plan
        values = {ours: row.values[key] for ours, key in plan.items()}
        names = {ours: row.names.get(key, key.strip()) for ours, key in plan.items() if ours != key}
        return Row(row.where, values, {**row.names, **names}, row.decimal_comma)

    def _plan(self, keys: tuple[str, ...], where: str) -> dict[str, str]:
        """Finds which key of a row is which column: our name -> key."""
        plan: dict[str, str] = {}
        for key in keys:
            name = key.strip().casefold()
            if name in plan:
                raise UserError(f"{where}: column {name!r} occurs twice; rename one")
            # pandas writes an index without a name of its own.
            if name and not name.startswith(("unnamed: ", "__index_level_")):
                plan[name] = key
        self._seen.update(plan)
        taken = set(self.chosen.values())
        for ours, theirs in self.chosen.items():
            if ours in plan and ours != theirs and ours not in taken:
                plan[f"other_{ours}"] = plan.pop(ours)
        given = {ours: plan[theirs] for ours, theirs in self.chosen.items() if theirs in plan}
        plan = given | {name: key for name, key in plan.items() if name not in taken}
        path = next((name for name in PATH_COLUMNS if name in plan), "")
        if not path:
            raise UserError(
                f"{where}: there is no column 'path'; columns are {', '.join(plan) or 'none'}: add "
                "--columns path=NAME with the one that names the files"
            )
        for theirs, ours in {path: "path", **_ALIASES}.items():
            known = {ours, "category"} if ours == "emotion" else {ours}
            if theirs in plan and not known & set(plan):
                plan[ours] = plan.pop(theirs)
        used = {*COLUMNS, *_CORPUS, *SAMPLES}
        self.unused |= dict.fromkeys(name for name in plan if name not in used)
        return plan

    def check(self, where: str) -> None:
        """Raises UserError where a name that the user gave was in no row."""
        for ours, theirs in self.chosen.items():
            if theirs not in self._seen:
                near = nearest(theirs, self._seen)
                hint = f"is it {near!r}? " if near else ""
                raise UserError(
                    f"--columns {ours}={theirs}: {where} has no column {theirs!r}: {hint}columns "
                    f"are {', '.join(sorted(self._seen))}"
                )

    def describe_unused(self, kept: Iterable[str]) -> list[str]:
        """Lists the columns that were not used, each with the nearest name that is known.

        Args:
          kept: columns that need no mention.
        """
        unused = [name for name in self.unused if name not in kept]
        return [f"columns not used, kept in `extra`: {', '.join(_hints(unused))}"] if unused else []


def _hints(unused: Iterable[str]) -> list[str]:
    known = {**{name: name for name in COLUMNS}, **_ALIASES}
    texts = []
    for name in unused:
        near = known.get(nearest(name, known), "")
        texts.append(f"{name} (for {near}: --columns {near}={name})" if near else name)
    return texts
