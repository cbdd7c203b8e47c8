"""Every setting is declared with its default, meaning and allowed values, and is checked."""

import dataclasses
import typing

import pytest

from sersl.config import annotation, load, schema
from sersl.config.objectives import Objective, ObjectivesConfig
from sersl.config.setting import MOST_INTEGER, Settings, setting, settings_of
from sersl.core.errors import UserError
from tools.settings_page import PAGE, page


def groups(cls: type) -> list[type]:
    """Lists a group and the groups in it."""
    nested = [h for h in typing.get_type_hints(cls).values() if dataclasses.is_dataclass(h)]
    return [cls, *(one for group in nested for one in groups(group))]


GROUPS = list(
    dict.fromkeys(
        group
        for cls in (schema.PretrainConfig, schema.FinetuneConfig, annotation.FitConfig)
        for group in groups(cls)
    )
)
NUMBERS = (int, float, tuple[int, ...], tuple[float, ...])
ANY_NUMBER = {"lowest_db", "highest_db", "reverb_direct_db", "noise_min_snr_db", "noise_max_snr_db"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Settings):
    share: float = setting(0.5, "A share.", at_least=0, at_most=1)
    beta: float = setting(0.9, "A decay.", at_least=0, below=1)
    rate: float = setting(0.1, "A rate.", above=0)
    devices: int = setting(-1, "Devices.", at_least=1, also=(-1, "the rest"))
    offset: float = setting(0.0, "Any number.")
    norm: str = setting("pre", "Where.", choices=("pre", "post"))
    codes: tuple[int, ...] = setting((), "Numbers.", at_least=2)
    names: tuple[str, ...] = setting((), "Names.", choices=("a", "b"))


@pytest.mark.parametrize("cls", GROUPS, ids=lambda cls: cls.__name__)
def test_group_when_listed_then_every_setting_is_declared_and_every_number_bounded(cls):
    declared = settings_of(cls)
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            continue
        assert name in declared, f"{cls.__name__}.{name} is not declared by setting()"
        allowed = declared[name]
        assert allowed.doc.endswith("."), f"{cls.__name__}.{name}: its meaning is a sentence"
        low = allowed.at_least is not None or allowed.above is not None
        assert low or hint not in NUMBERS or name in ANY_NUMBER, f"{cls.__name__}.{name}"
    assert issubclass(cls, Settings)
    cls()  # every default is allowed


def test_objectives_when_listed_then_none_has_a_weight_by_default():
    for field in dataclasses.fields(ObjectivesConfig):
        objective = getattr(ObjectivesConfig(), field.name)
        assert isinstance(objective, Objective)
        assert objective.weight == 0.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"share": 1.5}, "'share' takes a number from 0 to 1, not 1.5"),
        ({"share": float("nan")}, "'share' takes a number from 0 to 1, not nan"),
        ({"beta": 1.0}, "'beta' takes a number from 0 to below 1, not 1.0"),
        ({"beta": 0.99999999999}, "'beta' takes a number from 0 to below 1, not 0.99999999999"),
        ({"rate": 0}, "'rate' takes a number above 0, not 0.0"),
        ({"rate": 1e-50}, "'rate' takes a number above 0, not 1e-50"),
        ({"rate": 1e300}, "'rate' takes a number of at most 1000000000, not 1e+300"),
        ({"rate": 10**400}, "'rate' takes a number, not 1000"),
        ({"offset": float("inf")}, "'offset' takes a number from -1000000000 to 1000000000"),
        ({"offset": -1e30}, "'offset' takes a number from -1000000000 to 1000000000, not -1e+30"),
        ({"rate": -1e30}, "'rate' takes a number above 0, not -1e+30"),
        ({"devices": 0}, "'devices' takes 1 or more, or -1 for the rest, not 0"),
        ({"devices": 10**4000}, "'devices' takes a number of at most 2147483647, not 1000"),
        ({"norm": "prae"}, "unknown norm 'prae': did you mean 'pre'? known: post, pre"),
        ({"norm": ""}, "unknown norm '': known: post, pre"),
        ({"codes": (2, 1)}, "'codes[1]' takes 2 or more, not 1"),
        ({"codes": (2,) * 1001}, "'codes' takes at most 1000 items, not 1001"),
        ({"names": ("a", "c")}, "unknown names[1] 'c': known: a, b"),
    ],
)
def test_value_when_not_allowed_then_the_sentence_names_key_allowed_values_and_value(values, words):
    with pytest.raises(UserError) as caught:
        load.from_mapping(Example, values)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


def test_value_when_at_a_bound_then_is_taken():
    values = {"share": 1.0, "beta": 0.0, "rate": 1e-6, "devices": MOST_INTEGER, "codes": (2,)}
    assert load.from_mapping(Example, values) == Example(**values)


def test_group_when_made_in_python_then_its_values_are_checked_too():
    with pytest.raises(UserError, match=r"'encoder\.num_layers' takes a whole number from 1"):
        schema.EncoderConfig(num_layers=0)
    with pytest.raises(UserError, match=r"unknown encoder\.norm 'middle'"):
        dataclasses.replace(schema.EncoderConfig(), norm="middle")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train": {"num_steps": 0}}, "'train.num_steps' takes 1 or more, not 0"),
        ({"train": {"seed": -1}}, "'train.seed' takes a whole number from 0 to 4294967295, not -1"),
        ({"encoder": {"dropout": 1.0}}, "'encoder.dropout' takes a number from 0 to below 1, not"),
        ({"encoder": {"num_layers": 100_000}}, "takes a whole number from 1 to 1000, not 100000"),
        ({"data": {"seconds_per_batch": float("nan")}}, "takes a number above 0, not nan"),
        ({"mesh": {"data": 0}}, "'mesh.data' takes 1 or more, or -1 for the devices that remain"),
        ({"objectives": {"npc": {"codes": 1}}}, "'objectives.npc.codes' takes a whole number from"),
        ({"masking": {"replace": "embeding"}}, "unknown masking.replace 'embeding': did you mean"),
        ({"name": "a\x1b[31mb"}, r"'name' takes printable text, without '\x1b'"),
        ({"name": "a\ud800"}, r"'name' takes printable text, without '\ud800'"),
        ({"name": "a" * 5000}, "'name' takes at most 4096 characters, not 5000"),
    ],
)
def test_setting_when_not_allowed_then_one_short_sentence_names_it(values, words):
    with pytest.raises(UserError) as caught:
        load.from_mapping(schema.PretrainConfig, values)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


def test_settings_page_when_written_anew_then_is_the_same():
    assert PAGE.read_text() == page(), "run python tools/settings_page.py"
