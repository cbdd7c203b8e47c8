import pickle

import pytest

from sersl.core.errors import UserError
from sersl.corpora.index import find_corpus, load_index
from sersl.corpora.prepare import prepare


def test_load_index_when_nothing_is_prepared_then_error_names_the_command(tmp_path):
    with pytest.raises(
        UserError, match=r"run `sersl prepare --corpus ravdess --data_dir .*` first"
    ):
        load_index(tmp_path, "ravdess")


def test_load_index_when_misspelt_then_error_names_the_nearest_prepared(make_manifest, tmp_path):
    prepare(data_dir=tmp_path / "data", manifest=make_manifest([{"path": "a.wav"}]))
    with pytest.raises(UserError, match="did you mean 'own'"):
        load_index(tmp_path / "data", "ownn")


def test_index_when_pickled_then_reads_its_columns_again(make_manifest, tmp_path):
    rows = [{"path": "a.wav", "speaker": "x"}, {"path": "b.wav", "speaker": "y"}]
    prepare(data_dir=tmp_path / "data", manifest=make_manifest(rows))
    index = load_index(tmp_path / "data", "own")
    assert index.column("speaker") is index.column("speaker")
    copy = pickle.loads(pickle.dumps(index))
    assert copy == index and len(copy) == 2
    assert copy.column("speaker").tolist() == ["x", "y"]
    with pytest.raises(ValueError, match="read-only"):
        copy.column("duration")[0] = 1.0


def test_column_when_unknown_then_error_names_the_nearest(make_manifest, tmp_path):
    prepare(data_dir=tmp_path / "data", manifest=make_manifest([{"path": "a.wav"}]))
    with pytest.raises(UserError, match="did you mean 'speaker'"):
        load_index(tmp_path / "data", "own").column("speakr")


def test_find_corpus_when_two_versions_then_the_newer_by_number(tmp_path):
    for version in ("1.9.0", "1.10.0"):
        (tmp_path / "x" / version).mkdir(parents=True)
        (tmp_path / "x" / version / "prepare.json").write_text("{}")
    assert find_corpus(tmp_path, "x").name == "1.10.0"
    assert find_corpus(tmp_path, "y") is None
