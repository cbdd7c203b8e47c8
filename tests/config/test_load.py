"""Loading is strict: every mistake in a config is one sentence."""

import dataclasses
import json
import re
import typing

import numpy as np
import pytest

from sersl.config import load
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.training.optimizer import NEVER, by_pattern

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
    """Returns the message of the error that loading raises."""
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
        ("=3", ["unknown configuration key ''", "keys begin with"]),
        ("train.=3", ["unknown configuration key 'train.'"]),
        ("train..seed=3", ["unknown configuration key 'train..seed'"]),
        (".train.seed=3", ["'.train.seed'", "did you mean 'train.seed'?"]),
        (
            "zzzzzz=3",
            ["unknown configuration key 'zzzzzz'", "keys begin with alteration, checkpoint"],
        ),
        ("train.num_steps=" + "9" * 5000, ["'train.num_steps' takes an integer, not '999"]),
        ("train.num_steps=0x" + "f" * 9000, ["takes a number of at most 2147483647, not a very"]),
        ("train.num_steps=" + "9" * 30, ["takes a number of at most 2147483647, not 999"]),
        ("train.seed=4294967296", ["takes a whole number from 0 to 4294967295, not 4294967296"]),
        ("optimizer.learning_rate=1e999", ["takes a number of at most 1000000000, not inf"]),
        ("optimizer.learning_rate=0x" + "f" * 500, ["takes a number, not 1"]),
        ("optimizer.learning_rate=1e-60", ["takes a number above 0, not 1e-60"]),
        ("train.num_steps=" + "(" * 9000, ["takes an integer, not '(((("]),
        ("train.num_steps=" + "-" * 9000 + "1", ["takes an integer, not '----"]),
        ("train.num_steps={[]: 1}", ["takes an integer, not '{[]: 1}'"]),
        ("train.num_steps=\x00", ["takes an integer"]),
        ("data.corpora=" + "a," * 2000, ["'data.corpora' takes at most 1000 items, not 2000"]),
        ("data.weights=-1", ["'data.weights[0]' takes a number above 0, not -1.0"]),
        ("name=" + "n" * 5000, ["'name' takes at most 4096 characters, not 5000"]),
        ("name=a\nb", ["'name' takes printable text, without '\\n'"]),
        ("train.lr=1", ["'train.lr'", "did you mean 'optimizer.learning_rate'?"]),
        ("batch_size=1", ["did you mean 'data.seconds_per_batch'?"]),
        ("freeze=encoder", ["unfreeze sets the step", "freezes the encoder"]),
        ("frozen_teacher=x", ["did you mean 'frozen_teachers'?"]),
    ],
)
def test_override_when_wrong_then_one_sentence_names_key_and_remedy(config_file, override, words):
    text = message(PretrainConfig, config_file, [override])
    for word in words:
        assert word in text
    assert len(text) < 320


@pytest.mark.parametrize("key", ["freeze", "encoder.freeze", "freeze_encoder", "frozen", "Freeze"])
def test_key_when_it_asks_to_freeze_then_the_remedy_freezes(config_file, key):
    text = message(FinetuneConfig, config_file, [f"{key}=True"])
    assert f"unknown configuration key {key!r}" in text
    given = re.search(r'--config\.(unfreeze)="(.*)" freezes the encoder', text)
    settings = load.from_overrides(FinetuneConfig, [f"{given[1]}={given[2]}"])
    params = {"encoder": {"kernel": np.zeros(1)}, "heads": {"kernel": np.zeros(1)}}
    starts = by_pattern(settings.unfreeze, params, setting="unfreeze")
    assert starts == {"encoder": {"kernel": NEVER}, "heads": {"kernel": 0}}


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
        ("return {'train': None}", ["'train' is a group of keys, not None"]),
        ("return {'data': {'corpora': None}}", ["'data.corpora' takes a list, not None"]),
        ("return {'data': {'corpora': {'a': 1}}}", ["'data.corpora' takes a list, not {'a': 1}"]),
        ("return {'encoder': ['gru']}", ["'encoder' is a group of keys, not ['gru']"]),
        ("return {1: 2}", ["unknown configuration key '1'"]),
        ("return 7", ["returns a int: make it return a ConfigDict"]),
        ("return {'train': {'seed': 10**9000}}", ["takes a whole number from 0 to 4294967295"]),
        ("return {'train': {'seed': 1.5}}", ["takes an integer, not 1.5"]),
        ("return get_config()", ["cannot be run: RecursionError"]),
        ("raise SystemExit(3)", ["line 2 cannot be run: SystemExit: 3"]),
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


def test_file_when_its_path_has_a_colon_then_the_preset_is_behind_the_last(tmp_path):
    file = tmp_path / "a:b.py"
    file.write_text(CONFIG)
    assert load.load_config(PretrainConfig, str(file)).name == "run_a"
    assert load.load_config(PretrainConfig, f"{file}:b").name == "run_b"
    assert "'no/such.py' does not exist" in message(PretrainConfig, "no/such.py:b")
    assert "'no/such.py' does not exist" in message(PretrainConfig, "no/such.py")


def test_preset_when_unknown_then_the_known_ones_are_named(tmp_path):
    file = tmp_path / "sizes.py"
    file.write_text(
        "STEPS = {'nano': 1, 'base': 2}\n"
        "def get_config(preset='nano'):\n    return {'train': {'num_steps': STEPS[preset]}}\n"
    )
    assert load.load_config(PretrainConfig, f"{file}:base").train.num_steps == 2
    text = message(PretrainConfig, f"{file}:nanno")
    assert text == "unknown preset 'nanno': did you mean 'nano'? known: base, nano"


def test_override_when_it_is_in_a_group_that_the_file_spoils_then_one_sentence(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text("def get_config():\n    return {'train': 9}\n")
    assert "'train' is a group of keys, not 9" in message(PretrainConfig, file, ["train.seed=1"])


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ("null", "cannot be read"),
        ('{"name": "a", "name": "b"}', "cannot be read"),
        ("[" * 100_000 + "]" * 100_000, "cannot be read"),
        ('{"train": ' * 100_000 + "1" + "}" * 100_000, "cannot be read"),
        ('{"train": {"num_steps": 1e999}}', "cannot be read"),
        ('{"train": {"num_steps": NaN}}', "cannot be read"),
        ('{"train": {"num_steps": ' + "9" * 5000 + "}}", "cannot be read"),
        ('{"name": "\\ud800"}', "'name' takes printable text"),
        ('{"nmae": "x"}', "'nmae': did you mean 'name'"),
        ('{"train": null}', "'train' is a group of keys, not None"),
        ('{"train": [1]}', r"'train' is a group of keys, not \[1\]"),
        ('{"train": {"num_steps": "9"}}', "'train.num_steps' takes an integer, not '9'"),
        ('{"train": {"num_steps": 9.0}}', "'train.num_steps' takes an integer, not 9.0"),
        ('{"data": {"corpora": "a"}}', "'data.corpora' takes a list, not 'a'"),
        ('{"data": {"corpora": {"a": 1}}}', "'data.corpora' takes a list"),
        ('{"data": {"corpora": [null]}}', r"'data.corpora\[0\]' takes a string, not None"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_when_damaged_missing_or_of_another_version_then_one_short_sentence(
    tmp_path, content, words
):
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        load.load_json(PretrainConfig, file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(file))


def test_json_when_it_is_older_than_a_setting_then_the_setting_has_its_default(tmp_path):
    values = load.to_dict(PretrainConfig(name="old"))
    del values["encoder"]["relative_bias"], values["mixing"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert load.load_json(PretrainConfig, tmp_path / "config.json") == PretrainConfig(name="old")


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
