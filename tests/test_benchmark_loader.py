"""The loader's benchmark on a small corpus: that it runs, compares and says so."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.corpora.prepare import prepare

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import benchmark
    from benchmarks import loader

    monkeypatch.setattr(loader, "_torch", lambda: None)  # its processes take seconds to start
    yield benchmark
    for name in [name for name in sys.modules if name.split(".")[0].startswith("benchmark")]:
        sys.modules.pop(name)


def test_loader_when_measured_then_each_way_has_its_throughput_and_share(
    benchmark, tmp_path, capsys, monkeypatch
):
    for number in range(8):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 32_000)
        soundfile.write(tmp_path / f"{number}.wav", noise, 16_000)
    rows = "".join(f"{number}.wav\n" for number in range(8))
    (tmp_path / "own.csv").write_text("path\n" + rows)
    prepare(data_dir=tmp_path / "data", manifest=tmp_path / "own.csv")
    output = tmp_path / "loader.json"
    command = ["benchmark.py", "loader", "--data_dir", str(tmp_path / "data"), "--steps", "1"]
    command += ["--corpora", "own", "--rounds", "1", "--threads", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", command)
    assert benchmark.main() == 0
    said = capsys.readouterr().out
    assert "of soundfile" in said and "pip install 'sersl[bench]'" in said
    results = json.loads(output.read_text())
    assert results["real_share"] >= 0.9
    assert [row["way"] for row in results["rows"]] == ["soundfile", "sersl"]
    for row in results["rows"]:
        assert row["audio_seconds_per_second"] > 0 and row["audio_seconds_per_cpu_second"] > 0
    assert results["rows"][0]["share"] == results["rows"][0]["cpu_share"] == 1.0


def test_loader_when_there_is_no_corpus_then_a_sentence_and_exit_code_two(
    benchmark, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "loader", "--data_dir", str(tmp_path)])
    assert benchmark.main() == 2
    assert "sersl prepare --corpus synthetic" in capsys.readouterr().err
