"""Settings come in strictly: every mistake is one sentence, every default is in one place."""

import dataclasses
import json
import typing

import pytest

from sersl.config import load
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError

CONFIG = """
from ml_collections import ConfigDict

def get_config(preset: str = "a"):
    config = ConfigDict()
    config.name = f"run_{preset}"
    config.train = {"num_steps": 7}
    config.data = {"corpora": ("ravdess", "nemo"), "max_seconds": 4}
    return config
"""


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "experiment.py"
    file.write_text(CONFIG)
    return file


def message(cls, spec, overrides=()) -> str:
    """Gives the sentence that loading ends in."""
    with pytest.raises(UserError) as caught:
        load.load_config(cls, str(spec), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_config_when_loaded_then_given_keys_change_and_the_rest_are_defaults(config_file):
    config = load.load_config(PretrainConfig, str(config_file))
    assert config.name == "run_a"
    assert config.train.num_steps == 7
    assert config.data.corpora == ("ravdess", "nemo")
    assert config.data.max_seconds == 4.0
    assert isinstance(config.data.max_seconds, float)
    changed = dataclasses.replace(
        config, name="pretrain", train=PretrainConfig().train, data=PretrainConfig().data
    )
    assert changed == PretrainConfig()


def test_config_when_preset_is_given_then_the_file_gets_it(config_file):
    assert load.load_config(PretrainConfig, f"{config_file}:b").name == "run_b"


def test_config_when_file_gives_a_plain_dict_then_is_read_too(tmp_path):
    file = tmp_path / "plain.py"
    file.write_text("def get_config():\n    return {'train': {'seed': 3}}\n")
    assert load.load_config(PretrainConfig, str(file)).train.seed == 3
    assert "takes no preset" in message(PretrainConfig, f"{file}:tiny")


@pytest.mark.parametrize(
    ("overrides", "read", "expected"),
    [
        (["train.num_steps=200"], lambda c: c.train.num_steps, 200),
        (["train.num_steps=200", "train.num_steps=300"], lambda c: c.train.num_steps, 300),
        (["data.corpora=ravdess"], lambda c: c.data.corpora, ("ravdess",)),
        (["data.corpora=ravdess,nemo"], lambda c: c.data.corpora, ("ravdess", "nemo")),
        (["data.corpora=('ravdess', 'nemo')"], lambda c: c.data.corpora, ("ravdess", "nemo")),
        (["data.weights=0.25,0.75"], lambda c: c.data.weights, (0.25, 0.75)),
        (["data.weights=1"], lambda c: c.data.weights, (1.0,)),
        (["data.weights=()"], lambda c: c.data.weights, ()),
        (["optimizer.learning_rate=1e-4"], lambda c: c.optimizer.learning_rate, 1e-4),
        (["optimizer.learning_rate=1"], lambda c: c.optimizer.learning_rate, 1.0),
        (["optimizer.decay=(('.*', True),)"], lambda c: c.optimizer.decay, ((".*", True),)),
        (["encoder.scan_layers=true"], lambda c: c.encoder.scan_layers, True),
        (["encoder.scan_layers=False"], lambda c: c.encoder.scan_layers, False),
        (["objectives.prosody.weight=0"], lambda c: c.objectives.prosody.weight, 0.0),
        (["data.data_dir=/data/a b=c"], lambda c: c.data.data_dir, "/data/a b=c"),
        (["data.data_dir=123"], lambda c: c.data.data_dir, "123"),
        (["init_from="], lambda c: c.init_from, ""),
    ],
)
def test_override_when_given_then_is_read_by_the_type_of_its_field(
    config_file, overrides, read, expected
):
    value = read(load.load_config(PretrainConfig, str(config_file), overrides))
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.num_step=3", ["unknown configuration key", "'train.num_steps'"]),
        ("trian.num_steps=3", ["'trian.num_steps'", "'train.num_steps'"]),
        ("train.learning_rate=3", ["'optimizer.learning_rate'"]),
        ("objectives.contrastive.cods=3", ["'objectives.contrastive.codes'"]),
        ("name.first=3", ["unknown configuration key 'name.first'"]),
        ("train=3", ["'train' is a group", "train.num_steps"]),
        ("train.num_steps", ["has no value", "--config.train.num_steps=VALUE"]),
        ("train.num_steps=ten", ["'train.num_steps' takes an integer, not 'ten'"]),
        ("train.num_steps=1.5", ["takes an integer, not 1.5"]),
        ("train.num_steps=True", ["takes an integer, not True"]),
        ("train.num_steps=", ["takes an integer"]),
        ("optimizer.learning_rate=fast", ["takes a number, not 'fast'"]),
        ("optimizer.learning_rate=True", ["takes a number, not True"]),
        ("encoder.scan_layers=1", ["takes true or false, not 1"]),
        ("encoder.scan_layers=yes", ["takes true or false, not 'yes'"]),
        ("data.weights=much,little", ["'data.weights[0]' takes a number, not 'much'"]),
        ("optimizer.decay=(('.*',),)", ["'optimizer.decay[0]' takes 2 items"]),
        ("optimizer.decay=(('.*', 1),)", ["'optimizer.decay[0][1]' takes true or false"]),
    ],
)
def test_override_when_wrong_then_one_sentence_names_key_and_remedy(config_file, override, words):
    text = message(PretrainConfig, config_file, [override])
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return {'trian': {'seed': 1}}", ["unknown configuration key 'trian'"]),
        ("return {'train': {'sed': 1}}", ["'train.sed'", "'train.seed'"]),
        ("return {'train': {'num_steps': '9'}}", ["takes an integer, not '9'"]),
        ("return {'train': 9}", ["'train' is a group of keys, not 9"]),
        ("return {'data': {'corpora': 'ravdess'}}", ["'data.corpora' takes a list"]),
        ("return {'data': {'corpora': (1,)}}", ["'data.corpora[0]' takes a string, not 1"]),
        ("return {'train': {'seed': None}}", ["takes an integer, not None"]),
    ],
)
def test_file_when_its_values_are_wrong_then_one_sentence_says_where(tmp_path, body, words):
    file = tmp_path / "wrong.py"
    file.write_text(f"def get_config():\n    {body}\n")
    text = message(PretrainConfig, file)
    for word in words:
        assert word in text


def test_file_when_missing_broken_or_without_get_config_then_says_which(tmp_path):
    assert "does not exist" in message(PretrainConfig, tmp_path / "none.py")
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module\n")
    assert "cannot be run: ModuleNotFoundError" in message(PretrainConfig, broken)
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    assert "defines no get_config(preset)" in message(PretrainConfig, empty)


def test_settings_of_one_verb_when_given_to_the_other_then_are_unknown(config_file):
    text = message(PretrainConfig, config_file, ["labels.view=corpus"])
    assert "unknown configuration key 'labels.view'" in text
    assert "did you mean" in message(FinetuneConfig, config_file, ["heads.hiden=3"])


@pytest.mark.parametrize("cls", [PretrainConfig, FinetuneConfig])
def test_json_when_written_and_read_then_is_the_same_config(tmp_path, cls):
    config = dataclasses.replace(cls(), name="räuber", init_from="runs/a b")
    load.save_json(config, tmp_path / "config.json")
    assert load.load_json(cls, tmp_path / "config.json") == config
    assert json.loads((tmp_path / "config.json").read_text()) == load.to_dict(config)


def test_json_when_damaged_missing_or_of_another_version_then_says_so(tmp_path):
    file = tmp_path / "config.json"
    for content, words in (
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ('{"nmae": "x"}', "'nmae': did you mean 'name'"),
    ):
        if content is not None:
            file.write_text(content)
        with pytest.raises(UserError, match=words):
            load.load_json(PretrainConfig, file)


@pytest.mark.parametrize("cls", [PretrainConfig, FinetuneConfig])
def test_schema_when_walked_then_is_frozen_and_every_default_has_its_declared_type(cls):
    def walk(config, path):
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.name = "x"
        for key, hint in typing.get_type_hints(type(config)).items():
            value = getattr(config, key)
            assert isinstance(value, typing.get_origin(hint) or hint), f"{path}{key}"
            if dataclasses.is_dataclass(hint):
                walk(value, f"{path}{key}.")

    walk(cls(), "")
    # Reading the defaults back also checks what is inside the tuples.
    assert load.from_mapping(cls, load.to_dict(cls())) == cls()
