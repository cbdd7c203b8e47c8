"""Names of columns: ours, those of other projects, and those that the user gives."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sersl.core.errors import UserError, unknown_name
from sersl.corpora.dialogues import DIALOGUE_KEYS
from sersl.corpora.labels import DIMENSIONS, check_dimension
from sersl.corpora.ratings import ANNOTATORS
from sersl.corpora.tables.values import Row, nearest, to_number

COLUMNS = (
    *("path", "start", "end", "channel", "utterance_id", "speaker", "gender", "language"),
    *("session", "text", "emotion", "category", "categories", "votes", ANNOTATORS, "intensity"),
    *(*DIMENSIONS, "scale_low", "scale_high", "fold", *DIALOGUE_KEYS),
)
# Names of the column `path` in other projects; the first that a file has is used.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "wav", "audio_filepath", "audio_path")
# Other names, used where a file lacks the column itself.
_ALIASES = {
    "label": "emotion",
    "labels": "categories",
    "emotions": "categories",
    "split": "fold",
}
_LABELS = ("emotion", "category", "categories")  # a file with one of them needs no alias of another
FOLDS = "fold#"  # and a number: columns of further divisions, beside `fold`
_MOST_DIMENSIONS = 100
_CORPUS = ("corpus", "dataset")  # kept in `extra`, and used to read codes of emotions
SAMPLES = ("start_sample", "stop_sample")  # of SpeechBrain: samples at the file's own rate
_SCALED = ("intensity", *DIMENSIONS)
# Names with another meaning in manifests, predictions.csv or the answers of `sersl predict`.
_NOT_SCALED = {
    *(name for name in COLUMNS if name not in _SCALED),
    *(*_ALIASES, *_CORPUS, *SAMPLES, *PATH_COLUMNS),
    *("predicted", "labelled", "status", "scores", "frames", "applies", "embedding", "error"),
}
_MOST_PLANS = 1000  # sets of columns kept


def parse_columns(text: str, *, own: Iterable[str] = ()) -> dict[str, str]:
    """Reads `--columns emotion=my_label,speaker=speaker_id`: column -> its name in the file.

    `fold` may be given several times, for repeated divisions; the further ones are `fold#2` and so
    on.

    Args:
      text: of the option.
      own: names of dimensions that `--scale` adds to the columns.

    Raises:
      UserError: a part without "=", an unknown column, or one that is given twice.
    """
    chosen: dict[str, str] = {}
    known = (*COLUMNS, *own)
    for ours, theirs in _pairs(text, "--columns", "emotion=my_label,speaker=speaker_id"):
        ours, theirs = "emotion" if ours == "category" else ours, _folded(theirs)
        if ours not in known:
            raise unknown_name("column in --columns", ours, known)
        if ours == "fold" and "fold" in chosen and theirs not in chosen.values():
            ours = f"{FOLDS}{1 + sum(name.startswith('fold') for name in chosen)}"
        if ours in chosen:
            raise UserError(f"--columns gives {ours!r} twice: leave one")
        chosen[ours] = theirs
    return chosen


def _folded(name: str) -> str:
    """Folds what the same name of a column may differ in: case, spaces around it and NFD."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def parse_scales(text: str) -> dict[str, tuple[float, float]]:
    """Reads `--scale arousal=1..5,warmth=1..7`, or `--scale 1..5` for the three known dimensions.

    A name that is not a known column makes the column of that name a dimension.

    Returns:
      Column -> lowest and highest rating.

    Raises:
      UserError: another form, a column that cannot be a dimension, or limits in the wrong order.
    """
    if text and "=" not in text:
        text = ",".join(f"{name}={text}" for name in DIMENSIONS)
    scales: dict[str, tuple[float, float]] = {}
    for column, limits in _pairs(text, "--scale", "arousal=1..5"):
        if column not in _SCALED:
            check_dimension(column, "--scale")
            if column in _NOT_SCALED:
                raise UserError(
                    f"--scale {column}={limits}: the column {column!r} is not a rating; name that "
                    "of a dimension"
                )
        if column in scales:
            raise UserError(f"--scale gives {column!r} twice: leave one")
        low, dots, high = limits.partition("..")
        if not dots or not low or not high:
            raise UserError(f"--scale {column}={limits}: write LOWEST..HIGHEST, such as 1..5")
        where = f"--scale {column}={limits}"
        scales[column] = (to_number(low.strip(), where), to_number(high.strip(), where))
        if scales[column][0] >= scales[column][1]:
            raise UserError(f"{where}: the highest rating is not above the lowest")
    if len(scales) > _MOST_DIMENSIONS:
        raise UserError(f"--scale names {len(scales)} dimensions; give {_MOST_DIMENSIONS} at most")
    return scales


def own_dimensions(scales: Iterable[str]) -> tuple[str, ...]:
    """Names the dimensions of `--scale` that are not known ones."""
    return tuple(name for name in scales if name not in _SCALED)


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
      own: names of dimensions that are not known ones.
      unused: names of the file's columns that are only kept in `extra`, in their order.
    """

    chosen: Mapping[str, str] = field(default_factory=dict)
    own: tuple[str, ...] = ()
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
            name = _folded(key)
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
            known = set(_LABELS) if ours in _LABELS else {ours}
            if theirs in plan and not known & set(plan):
                plan[ours] = plan.pop(theirs)
        used = {*COLUMNS, *_CORPUS, *SAMPLES, *self.chosen, *self.own}
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
        for name in self.own:
            if name not in self._seen and name not in self.chosen:
                raise UserError(
                    f"--scale {name}=...: {where} has no column {name!r}: columns are "
                    f"{', '.join(sorted(self._seen))}; name it with --columns {name}=NAME"
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
