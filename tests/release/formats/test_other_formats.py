"""Exports in other formats give the same answers, without sersl, and the same bytes twice."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile

import sersl
from sersl.cli.main import main
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "export.md"
FORMATS = ("--onnx", "--int8", "--triton", "--stablehlo")
# A process in which sersl cannot be imported, so that an example needs nothing of it.
ALONE = """
import runpy, sys
sys.modules["sersl"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    soundfile.write(path, make_voice(2.0, 3), RATE)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    fake_model.write_fake(folder / "run")
    words = ["export", "--workdir", str(folder / "run"), "--output", str(folder / "my.model")]
    assert main([*words, *FORMATS]) == 0
    return folder / "my.model"


def scores(text):
    return {name: float(value) for name, value in map(str.split, text.splitlines())}


@pytest.mark.parametrize(
    ("script", "argument"),
    [("onnx_only.py", "onnx/model.onnx"), ("stablehlo_only.py", "")],
)
def test_example_when_run_without_sersl_then_answers_as_sersl(
    exported, recording, script, argument
):
    path = ROOT / "docs" / "examples" / script
    words = [sys.executable, "-c", ALONE, str(path), str(exported / argument), str(recording)]
    answer = subprocess.run(words, capture_output=True, text=True, cwd=exported.parent)
    assert answer.returncode == 0, answer.stderr
    found = scores(answer.stdout)
    expected = sersl.load(exported).predict(recording)
    expected = {**expected["scores"], **expected["dimensions"]}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=6e-5)  # four digits are printed


def test_int8_when_written_then_the_difference_was_measured(exported, recording):
    report = json.loads((exported / "onnx" / "int8.json").read_text())
    assert report["utterances"] == 16 and 0 <= report["category_unchanged"] <= 16
    assert report["largest_difference"].keys() == {"category", "dimensions", "embedding"}
    graph = onnx.load(exported / "onnx" / "model_int8.onnx")
    kinds = {one.data_type for one in graph.graph.initializer if len(one.dims) == 2}
    assert onnx.TensorProto.INT8 in kinds
    # Rounded to 8 bits, filters and heads lose quiet bands and most answers.
    products = [one.name for one in graph.graph.node if one.op_type == "MatMul"]
    rounded = [one.name for one in graph.graph.node if one.op_type == "MatMulInteger"]
    assert any(name.startswith("frontend/") for name in products)
    assert any(name.startswith("heads/") for name in products)
    assert rounded and all(name.startswith("encoder/") for name in rounded)
    waveform, _ = soundfile.read(recording, dtype="float32")
    feed = {"waveform": waveform[None], "num_samples": np.array([len(waveform)])}
    outputs = [
        onnxruntime.InferenceSession(str(exported / "onnx" / name)).run(None, feed)
        for name in ("model.onnx", "model_int8.onnx")
    ]
    largest = max(report["largest_difference"].values())
    for exact, rounded in zip(*outputs, strict=True):
        difference = np.abs(exact - rounded).max()
        assert difference < 3 * largest + 0.01  # this recording was not among those measured
    card = (exported / "README.md").read_text()
    assert "## Other formats" in card and "differ from float32 by at most" in card


def entries(text, part):
    """Reads {name: (data type, dimensions)} of a part of a config.pbtxt."""
    block = re.search(rf"^{part} \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
    pattern = r'name: "(\w+)"\s+data_type: (\w+)\s+dims: \[ ([-0-9, ]+) \]'
    return {
        name: (kind, [int(one) for one in dims.split(",")])
        for name, kind, dims in re.findall(pattern, block)
    }


def test_triton_when_written_then_its_config_describes_the_graph(exported):
    folder = exported / "triton" / "my_model"
    text = (folder / "config.pbtxt").read_text()
    assert 'name: "my_model"' in text and 'backend: "onnxruntime"' in text
    assert "max_batch_size: 0" in text
    assert [path.name for path in (folder / "1").iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"))
    kinds = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}
    for part, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        expected = {
            value.name: (
                kinds[value.type],
                [size if isinstance(size, int) else -1 for size in value.shape],
            )
            for value in values
        }
        assert entries(text, part) == expected and expected


def test_folder_when_it_has_all_formats_then_it_is_checked_and_written_alike_twice(
    exported, tmp_path, capsys
):
    assert main(["export", "--check", str(exported)]) == 0
    assert "triton/my_model/config.pbtxt" in capsys.readouterr().out
    again = tmp_path / "my.model"
    words = ["export", "--workdir", str(exported), "--output", str(again)]
    assert main([*words, *FORMATS]) == 0
    files = {path.relative_to(exported) for path in exported.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    for name in files:
        assert (exported / name).read_bytes() == (again / name).read_bytes(), name
    # Without formats, their section of the card goes too.
    plain = tmp_path / "plain"
    assert main(["export", "--workdir", str(exported), "--output", str(plain)]) == 0
    assert "Other formats" not in (plain / "README.md").read_text()
    assert not (plain / "onnx").exists()


def test_encoder_when_exported_as_stablehlo_then_embeds_alike(tmp_path, recording):
    import jax  # the program needs nothing else
    from safetensors.numpy import load_file

    fake_model.write_fake_encoder(tmp_path / "run")
    words = ["--workdir", str(tmp_path / "run"), "--output", str(tmp_path / "model")]
    assert main(["export", *words, "--licence", "MIT", "--stablehlo"]) == 0
    folder = tmp_path / "model" / "stablehlo"
    program = jax.export.deserialize(bytearray((folder / "program_80000.bin").read_bytes()))
    waveform, _ = soundfile.read(recording, dtype="float32")
    padded = np.zeros((1, 80_000), np.float32)
    padded[0, : len(waveform)] = waveform
    num_samples = np.array([len(waveform)], np.int32)
    found = program.call(load_file(folder / "weights.safetensors"), padded, num_samples)
    expected = sersl.load(tmp_path / "model").embed(recording)
    np.testing.assert_allclose(np.asarray(found["embedding"])[0], expected, atol=1e-4)


def test_guide_when_its_commands_are_run_then_all_succeed(tmp_path, recording, monkeypatch, capsys):
    fake_model.write_fake(tmp_path / "run")
    (tmp_path / "speech.wav").write_bytes(recording.read_bytes())
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 5
    for command in commands:
        program, *words = shlex.split(command)
        if program == "sersl":
            assert main(words) == 0, (command, capsys.readouterr().err)
        else:
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
