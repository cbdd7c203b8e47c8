"""A manifest's own split is the protocol of a fine-tuning run, unless the user names another."""

import dataclasses

import pytest

from sersl.cli.finetune import use_own_split
from sersl.config.load import save_json
from sersl.config.schema import DataConfig, FinetuneConfig
from sersl.corpora.prepare import prepare
from tests.corpora.conftest import write_tone


@pytest.fixture
def config_of(tmp_path):
    """Prepares a manifest whose column `fold` (or another) has some words; gives a config."""

    def make(words, column="fold", **options):
        lines = [f"path,emotion,{column}"]
        for number, word in enumerate(words):
            write_tone(tmp_path / f"{number}.wav", hertz=200 + 20 * number)
            lines.append(f"{number}.wav,sad,{word}")
        (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
        prepare(data_dir=tmp_path / "data", manifest=tmp_path / "own.csv", **options)
        data = DataConfig(data_dir=str(tmp_path / "data"), corpora=("own",))
        return FinetuneConfig(data=data)

    return make


@pytest.mark.parametrize("column", ["fold", "Split"])
def test_own_split_when_a_manifest_has_train_and_test_then_official(
    config_of, tmp_path, capsys, column
):
    config = use_own_split(config_of(["Train", "test", "nan"], column), tmp_path / "run", [])
    assert config.protocol.name == "official"
    assert "protocol: official, the column fold of own has" in capsys.readouterr().out


def test_own_split_when_the_column_has_another_name_then_columns_say_so(config_of, tmp_path):
    config = config_of(["dev", "train", "test"], "part", columns="fold=part")
    assert use_own_split(config, tmp_path / "run", []).protocol.name == "official"


def test_own_split_when_the_user_names_a_protocol_then_that_one(config_of, tmp_path):
    config = config_of(["train", "test"])
    asked = use_own_split(config, tmp_path / "run", ["protocol.name=k-fold-by-speaker"])
    assert asked == config
    few = dataclasses.replace(config.protocol, name="few-shot")
    config = dataclasses.replace(config, protocol=few)
    assert use_own_split(config, tmp_path / "run", []) == config


@pytest.mark.parametrize("words", [["1", "2"], ["train", "train"], ["", ""], ["train", "holdout"]])
def test_own_split_when_there_is_no_test_side_then_the_default(config_of, tmp_path, capsys, words):
    config = config_of(words)
    capsys.readouterr()
    assert use_own_split(config, tmp_path / "run", []) == config
    said = ", ".join(sorted(set(words) - {""}))
    assert (f"not used: the column fold of own ({said})" in capsys.readouterr().out) == bool(said)


def test_own_split_when_a_run_began_with_the_default_then_it_goes_on_with_it(config_of, tmp_path):
    config = config_of(["train", "test"])
    (tmp_path / "run").mkdir()
    save_json(config, tmp_path / "run" / "config.json")
    assert use_own_split(config, tmp_path / "run", []) == config
