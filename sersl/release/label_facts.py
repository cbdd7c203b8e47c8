"""What a released model's labels mean, beside their names: field "labels" of sersl.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sersl.core.fields import Fields
from sersl.corpora.labels import LabelView

_TEMPERATURE = "temperature"
_LEAST, _MOST = 0.01, 100.0  # temperatures are fitted between 0.05 and 20


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """The meaning of the labels of a model.

    Attributes:
      multi: whether several categories of one recording may apply.
      thresholds: category -> probability from which it applies; {} unless `multi`.
      scales: dimension -> (lowest, highest) rating of the training data, which 0 and 1 stand for.
      classes: (category of the training data, category of the model) where they were renamed or
        merged.
      raw: whether categories are the words as the training data spells them.
      temperature: what the logits of the categories are divided by, fitted on validation answers;
        None for a model that was not calibrated.
    """

    multi: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    classes: tuple[tuple[str, str], ...] = ()
    raw: bool = False
    temperature: float | None = None

    @property
    def uncalibrated(self) -> "LabelFacts":
        """The same without the temperature."""
        return replace(self, temperature=None)

    def to_json(self) -> dict[str, Any]:
        """Gives the fields that are not those of plain labels; {} for those."""
        content = {
            "multi": self.multi,
            "thresholds": dict(self.thresholds),
            "scales": {name: list(scale) for name, scale in self.scales.items()},
            "classes": [list(pair) for pair in self.classes],
            "raw": self.raw,
            "temperature": self.temperature,
        }
        return {name: value for name, value in content.items() if value}

    def view(self, categories: tuple[str, ...]) -> LabelView:
        """Makes the view of the training, of the model's categories."""
        known = tuple((word, name) for word, name in self.classes if name in categories)
        return LabelView(categories, known, raw=self.raw, multi=self.multi)


def read_facts(fields: Fields, categories: tuple[str, ...]) -> LabelFacts:
    """Reads the field "labels" of sersl.json, or the same fields of another file.

    Args:
      fields: of the object.
      categories: of the model.

    Raises:
      UserError: a field has another form.
    """
    fields.check_names((), ("multi", "thresholds", "scales", "classes", "raw", _TEMPERATURE))
    multi = fields.flag("multi") if fields.has("multi") else False
    thresholds = fields.numbers("thresholds") if fields.has("thresholds") else {}
    if set(thresholds) != (set(categories) if multi else set()):
        raise fields.wrong("thresholds", "a number for each category where several may apply")
    scales = {}
    if fields.has("scales"):
        for name, pair in fields.group("scales").items():
            if not _is_scale(pair):
                raise fields.wrong("scales", "an object of pairs, lowest and highest rating")
            scales[name] = (float(pair[0]), float(pair[1]))
    classes = []
    for pair in fields.take_list("classes") if fields.has("classes") else ():
        if not isinstance(pair, list) or [type(one) for one in pair] != [str, str]:
            raise fields.wrong("classes", "a list of pairs of names")
        classes.append((pair[0], pair[1]))
    return LabelFacts(
        multi=multi,
        thresholds=thresholds,
        scales=scales,
        classes=tuple(classes),
        raw=fields.flag("raw") if fields.has("raw") else False,
        temperature=_temperature(fields, categories, multi=multi),
    )


def _temperature(fields: Fields, categories: tuple[str, ...], *, multi: bool) -> float | None:
    if not fields.has(_TEMPERATURE):
        return None
    if multi or not categories:
        raise fields.wrong(_TEMPERATURE, "a number only where one of several categories applies")
    return fields.number(_TEMPERATURE, at_least=_LEAST, at_most=_MOST)


def _is_scale(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    return all(type(one) in (int, float) for one in pair) and pair[0] < pair[1]
