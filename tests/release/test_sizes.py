"""Sizes that a model folder claims are checked before anything is allocated or built."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.release.folder import read_model
from sersl.release.tensors import open_safetensors, open_weights
from tests.release import fake_model
from tests.release.fake_source import CONFIG, make_tensors, write_source

SECONDS, BYTES = 60, 3 << 30

READ = """
import resource, sys
from sersl.cli.main import main
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
raise SystemExit(main(sys.argv[2:]))
"""


def bounded(*arguments):
    """Runs a verb with little time and memory; gives its one sentence."""
    command = [sys.executable, "-c", READ, str(BYTES), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def header(entries, data=b""):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


HUGE = 2**62
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "3,000 huge integers": header({"a": {**ENTRY, "shape": [HUGE] * 3000}}, bytes(8)),
    "zeros and huge integers": header(
        {"a": {**ENTRY, "shape": [0] + [HUGE] * 7, "data_offsets": [0, 0]}}
    ),
    "a huge tensor": header({"a": {**ENTRY, "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}),
    "numbers as text": header({"a": {**ENTRY, "shape": ["2"]}}, bytes(8)),
    "numbers as floats": header({"a": {**ENTRY, "shape": [2.0]}}, bytes(8)),
    "numbers as truth": header({"a": {**ENTRY, "shape": [True, 2]}}, bytes(8)),
    "a number of 5,000 digits": header(b'{"a":' + b"9" * 5000 + b"}"),
    "null": header({"a": None}),
    "a list": header([ENTRY]),
    "null for a shape": header({"a": {**ENTRY, "shape": None}}, bytes(8)),
    "an unknown field": header({"a": {**ENTRY, "stride": 1}}, bytes(8)),
    "nested 100,000 deep": header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a tensor twice": header(b'{"a":' + json.dumps(ENTRY).encode() + b',"a":{}}', bytes(8)),
    "overlapping tensors": header({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12)),
    "one tensor twice": header({"a": ENTRY, "b": ENTRY}, bytes(8)),
    "a gap": header({"a": ENTRY, "b": {**ENTRY, "data_offsets": [12, 20]}}, bytes(20)),
    "a gap before the first": header({"a": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12)),
    "bytes after the last": header({"a": ENTRY}, bytes(9)),
    "bytes of nobody": header({}, bytes(8)),
}


@pytest.mark.parametrize("case", HEADERS)
def test_safetensors_when_the_header_is_hostile_then_a_sentence(tmp_path, case):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HEADERS[case])
    with pytest.raises(UserError, match=r"model\.safetensors.*: copy the model again") as caught:
        open_safetensors(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_safetensors_when_the_header_claims_gigabytes_then_they_are_not_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((4 << 30).to_bytes(8, "little"))
        file.truncate(8 << 30)  # sparse: takes no room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="header of more than 16 MiB"):
        open_safetensors(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("num_layers", 100_000, "num_layers"),
        ("num_layers", 1000, "1000 layers, but there are only"),
        ("width", 65_536, "has shape"),
        ("mlp_width", 1_048_576, "has shape"),
        ("max_frames", 10**9, "max_frames"),
        ("num_layers", 10**30, "num_layers"),
    ],
)
def test_model_when_it_claims_a_size_then_a_sentence_in_little_time_and_memory(
    tmp_path, key, value, words
):
    folder = fake_model.write_fake(tmp_path / "model")
    about = json.loads((folder / "sersl.json").read_text())
    about["encoder"][key] = value
    fake_model.seal(folder, about)
    assert words in bounded("predict", "--model", folder, __file__)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 100_000),
        ("num_hidden_layers", 900),
        ("hidden_size", 2**31),
        ("intermediate_size", 10**20),
        ("num_conv_pos_embeddings", 10**9),
        ("conv_dim", [10**6] * 7),
        ("conv_dim", None),
        ("conv_dim", "512"),
        ("num_attention_heads", 0),
        ("num_attention_heads", "4"),
        ("hidden_size", None),
        ("layerdrop", [0.1]),
        ("architectures", {"a": 1}),
        ("architectures", [["Wav2Vec2ForSequenceClassification"]]),
        ("model_type", ["wav2vec2"]),
        ("model_type", None),
    ],
)
def test_source_when_its_config_claims_a_size_or_type_then_a_sentence(tmp_path, capsys, key, value):
    source = write_source(tmp_path / "source", make_tensors(), config={**CONFIG, key: value})
    if key == "num_hidden_layers":
        bounded("import", "--source", source, "--output", tmp_path / "model")
        return

    assert main(["import", "--source", str(source), "--output", str(tmp_path / "model")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["preprocessor_config.json", "config.json"])
@pytest.mark.parametrize(
    "text", ["null", "[]", "3", "[" * 100_000 + "]" * 100_000, "{", '{"a": 1e999}']
)
def test_source_when_its_json_is_hostile_then_a_sentence(tmp_path, capsys, name, text):

    source = write_source(tmp_path / "source", make_tensors())
    (source / name).write_text(text)
    assert main(["import", "--source", str(source), "--output", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert name in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("places", [None, [], {"a": 3}, {"a": ["x"]}, {"a": "/etc/passwd"}, "x"])
def test_shards_when_the_index_is_hostile_then_a_sentence(tmp_path, places):
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "model-1.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        open_weights(tmp_path)


def test_model_when_a_file_is_a_device_then_a_sentence(tmp_path):
    folder = fake_model.write_fake(tmp_path / "model")
    for name in ("sersl.json", "model.safetensors", "config.json"):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")
        with pytest.raises(UserError, match=f"no {name}"):
            read_model(folder)
        (folder / name).unlink()
        (folder / name).write_bytes(kept)
