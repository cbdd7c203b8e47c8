"""A damaged or edited model folder gives one sentence or the same answers, never others."""

import json
import logging
import shutil

import numpy as np
import pytest

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.release.architecture import flatten
from sersl.release.copying import copy_model
from sersl.release.folder import read_model
from tests.release import fake_model
from tests.release.fake_source import write_source

JSON = ("config.json", "preprocessor_config.json", "sersl.json")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return fake_model.write_fake(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imports")
    source = write_source(folder / "source")
    assert main(["import", "--source", str(source), "--output", str(folder / "model")]) == 0
    return folder / "model"


@pytest.fixture
def model(original, tmp_path):
    shutil.copytree(original, tmp_path / "model")
    return tmp_path / "model"


def meaning(released):
    """All that decides an answer."""
    arrays = {name: array.tobytes() for name, array in flatten(released.params).items()}
    return released.architecture, arrays, released.about["scale"]


def equal_or_sentence(folder, wanted):
    try:
        found = read_model(folder)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    assert meaning(found) == wanted
    return True


def flipped(content, position, bit):
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("name", [*JSON, WEIGHTS])
@pytest.mark.parametrize("which", ["original", "imported"])
def test_model_when_bits_of_a_file_are_flipped_then_a_sentence_or_the_same(
    request, tmp_path, name, which
):
    shutil.copytree(request.getfixturevalue(which), tmp_path / "model")
    path = tmp_path / "model" / name
    content, wanted = path.read_bytes(), meaning(read_model(tmp_path / "model"))
    rng = np.random.default_rng(0)
    places = rng.integers(len(content), size=60)
    refused = 0
    for position, bit in zip(places, rng.integers(8, size=60), strict=True):
        path.write_bytes(flipped(content, position, bit))
        refused += not equal_or_sentence(tmp_path / "model", wanted)
    assert refused >= 50


@pytest.mark.parametrize("name", [*JSON, WEIGHTS, "README.md"])
def test_model_when_a_file_is_cut_emptied_replaced_or_missing_then_a_sentence_or_the_same(
    model, name
):
    wanted, path = meaning(read_model(model)), model / name
    content = path.read_bytes()
    for spoilt in (b"", content[:1], content[: len(content) // 2], content[:-1], content + b"\0"):
        path.write_bytes(spoilt)
        same = equal_or_sentence(model, wanted)
        # Without the end of its last line, sersl.json has the same content.
        assert same == (name == "README.md" or (name, spoilt) == ("sersl.json", content[:-1]))
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    assert equal_or_sentence(model, wanted) == (name == "README.md")
    path.unlink()
    assert equal_or_sentence(model, wanted) == (name == "README.md")
    path.mkdir()
    assert equal_or_sentence(model, wanted) == (name == "README.md")


@pytest.mark.parametrize("name", [*JSON, WEIGHTS])
def test_predict_when_a_file_is_damaged_then_exit_code_2_and_one_line(
    model, tmp_path, capsys, name
):
    content = (model / name).read_bytes()
    (model / name).write_bytes(flipped(content, len(content) - 3, 4))
    (tmp_path / "a.wav").write_bytes(b"")
    assert main(["predict", "--model", str(model), str(tmp_path / "a.wav")]) == 2
    said = capsys.readouterr().err
    assert name in said and len(said.splitlines()) == 1


def edit(about, path, value):
    *parents, last = path.split(".")
    for parent in parents:
        about = about[parent]
    about[last] = value


EDITS = {
    "categories": [
        ["happy", "angry", "sad", "neutral"],
        ["angry", "angry", "sad", "neutral"],
        ["angry", "happy", "sad", ""],
        ["angry", "happy", "sad", 4],
        ["angry", "happy", "sad", None],
        "anger",
        None,
        {},
    ],
    "dimensions": [["arousal", "valence", "valence"], ["a", "b", "c"], [1, 2, 3], 3],
    "encoder": [None, [], "x", 3, {"kind": "lstm"}],
    "encoder.num_heads": [4, 3, 0, -1, 2.0, "2", None, 10**30, True],
    "encoder.num_layers": [100_000, 1000, 1, 0],
    "encoder.width": [10**9, 17, None],
    "encoder.positions": ["none", "learned", "convolution", None, 3],
    "encoder.dtype": ["float16", "int8", None],
    "encoder.mlp_width": [10**6, 2**31],
    "frontend.normalize": ["each", None],
    "frontend.num_mels": [80, 10**6],
    "pooling": [None, [], {"kind": "max"}],
    "pooling.layers": ["last", "first"],
    "heads": [None, {"kind": "swish"}],
    "heads.bounded": [0, "true", None],
    "scale": [{"low": 1.0, "high": 0.0}, {"low": 0}, None, [0, 1]],
    "sample_rate": [8000, 16000.0, "16000", None],
    "schema": [None, "2", 0, 3, 1.0],
    "corpora": [None, {}, [None], [[]], [{"corpus": 3}]],
    "origin": [None, [3]],
    "layout": [[], {"model_type": "bert"}, {"model_type": "wav2vec2"}],
    "results": [[], "good"],
    "imported": [[], {"source": None}],
    "licence": [None, 3, "x" * 100_000],
    "versions": [None, {"jax": 1}],
    "more": [1],
}


@pytest.mark.parametrize("path", EDITS)
@pytest.mark.parametrize("sums", [True, False], ids=["sums", "no sums"])
def test_model_when_a_field_is_edited_then_a_sentence_names_the_file(model, path, sums):
    if not sums:
        fake_model.without_sums(model)
    file = model / "sersl.json"
    content = file.read_text()
    for value in EDITS[path]:
        if not sums and value == "none":  # rotary positions have no parameters
            continue
        about = json.loads(content)
        edit(about, path, value)
        file.write_text(json.dumps(about))
        with pytest.raises(UserError, match=r"sersl\.json|config\.json|model\.safetensors") as said:
            read_model(model)
        assert "\n" not in str(said.value) and len(str(said.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "[" * 100_000 + "]" * 100_000,
        '{"schema": 2, "schema": 2}',
        '{"schema": 1e999}',
        '{"schema": NaN}',
        '{"schema": ' + "9" * 5000 + "}",
    ],
)
@pytest.mark.parametrize("name", JSON)
def test_model_when_json_is_hostile_then_a_sentence(model, name, text):
    (model / name).write_text(text)
    with pytest.raises(UserError, match=name):
        read_model(model)


def test_model_when_it_has_no_sums_then_it_opens_with_a_note_and_a_copy_has_them(
    model, tmp_path, caplog
):
    wanted = meaning(read_model(model))
    assert not caplog.records
    fake_model.without_sums(model)
    with caplog.at_level(logging.WARNING):
        assert meaning(read_model(model)) == wanted
    assert "has no checksums" in caplog.text and "sersl export --workdir" in caplog.text
    copy_model(model, tmp_path / "copy")
    caplog.clear()
    assert meaning(read_model(tmp_path / "copy")) == wanted
    assert not caplog.records
    assert (tmp_path / "copy" / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()


def test_model_when_weights_are_not_verified_then_only_their_sum_is_skipped(model):
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(flipped(content, len(content) - 3, 4))
    with pytest.raises(UserError, match="SHA-256 differs"):
        read_model(model)
    read_model(model, verify_weights=False)
    (model / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        read_model(model, verify_weights=False)


@pytest.mark.parametrize("name", ["README.md", "config.json", WEIGHTS, "sersl.json"])
def test_copy_when_a_file_is_a_link_out_of_the_folder_then_refused(model, tmp_path, name):
    secret = tmp_path / "secret"
    shutil.move(model / name, secret)
    (model / name).symlink_to(secret)
    with pytest.raises(UserError, match=f"{name} is a link to .*secret, outside"):
        copy_model(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_copy_when_links_are_those_of_the_hugging_face_cache_then_followed(model, tmp_path):
    snapshot = tmp_path / "models--me--mine" / "snapshots" / "abc"
    blobs = tmp_path / "models--me--mine" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(model.iterdir())):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    copy_model(snapshot, tmp_path / "copy")
    assert not any(path.is_symlink() for path in (tmp_path / "copy").iterdir())
    assert meaning(read_model(tmp_path / "copy")) == meaning(read_model(model))
    (blobs / "0").unlink()
    (blobs / "0").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"is a link to /etc/hostname, outside"):
        copy_model(snapshot, tmp_path / "again")


def test_model_when_the_folder_is_a_workdir_or_of_hugging_face_then_the_next_command_is_named(
    tmp_path,
):
    (tmp_path / "run" / "folds").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"workdir of a run.*`sersl export --workdir .*run"):
        read_model(tmp_path / "run")
    source = write_source(tmp_path / "source")
    with pytest.raises(UserError, match="`sersl import --source"):
        read_model(source)
