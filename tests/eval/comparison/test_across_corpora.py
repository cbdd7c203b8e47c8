"""Matrices across corpora, and curves over the number of training utterances."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from sersl.cli.main import main
from sersl.eval.comparison.curve import curves_of
from sersl.eval.comparison.matrix import matrix_notes, matrix_table, read_matrix
from sersl.eval.comparison.paired import compare
from sersl.eval.comparison.systems import read_systems
from sersl.eval.results import score_workdir
from tests.eval.fake_run import NAMES, make_predictions, write_run


def _cross(folder, *, train, test, seed, names=NAMES, protocol="cross-corpus"):
    """A scored run that was trained on one corpus and tested on another, or within one."""
    predictions = make_predictions(seed=seed, dimensions=False, names=names)
    text = {**predictions.text, "corpus": np.full(len(predictions), test)}
    predictions = dataclasses.replace(predictions, text=text)
    write_run(folder, predictions, curves=False)
    config = json.loads((folder / "config.json").read_text())
    config["protocol"] |= {"name": protocol, "test_corpora": [test] * (train != test)}
    (folder / "config.json").write_text(json.dumps(config))
    corpora = json.loads((folder / "corpora.json").read_text())
    (one,) = corpora["corpora"]
    corpora["corpora"] = [one | {"corpus": name} for name in dict.fromkeys((train, test))]
    (folder / "corpora.json").write_text(json.dumps(corpora))
    score_workdir(folder)
    return predictions


def _uar(predictions):
    return balanced_accuracy_score(predictions.text["category"], predictions.text["predicted"])


@pytest.fixture
def runs(tmp_path):
    """Corpora a and b: each within itself, a to b with two seeds, b to a with fewer classes."""
    return tmp_path, {
        ("a", "a"): [_cross(tmp_path / "aa", train="a", test="a", seed=1, protocol="official")],
        ("b", "b"): [_cross(tmp_path / "bb", train="b", test="b", seed=2, protocol="official")],
        ("a", "b"): [
            _cross(tmp_path / "ab" / "seeds" / str(s), train="a", test="b", seed=3 + s)
            for s in (0, 1)
        ],
        ("b", "a"): [_cross(tmp_path / "ba", train="b", test="a", seed=5, names=NAMES[:3])],
    }


def test_matrix_when_runs_are_given_then_each_cell_is_the_mean_of_its_runs(runs, capsys):
    folder, expected = runs
    words = [str(folder / name) for name in ("aa", "bb", "ab", "ba")]
    cells = read_matrix(words)
    header, rows, values = matrix_table(cells, "uar")
    assert header == ["UAR (UA), trained on", "a", "b"] and [r[0] for r in rows] == ["a", "b"]
    for i, trained in enumerate("ab"):
        for j, tested in enumerate("ab"):
            wanted = np.mean([_uar(one) for one in expected[trained, tested]])
            assert values[i, j] == pytest.approx(wanted, abs=1e-9)
    assert "±" in rows[0][2] and "±" not in rows[1][1]
    notes = " ".join(matrix_notes(cells))
    assert "b to a: angry, happy, sad;" in notes + ";" and "different classes" in notes
    output = folder / "matrix"
    assert main(["compare", *words, "--matrix", "--output", str(output)]) == 0
    assert f"{values[0, 0]:.3f}" in capsys.readouterr().out
    assert (output / "matrix.png").stat().st_size > 1000
    with open(output / "matrix.csv", newline="") as file:
        lines = [row for row in csv.DictReader(file) if row["metric"] == "uar"]
    assert len(lines) == 5 and lines[0]["categories"] == ";".join(NAMES)
    assert len(json.loads((output / "matrix.json").read_text())["cells"]) == 4
    assert "Scores across corpora" in (output / "matrix.html").read_text()


def test_matrix_when_a_pair_is_missing_then_a_dash_and_an_unknown_score_is_a_sentence(runs, capsys):
    folder, _ = runs
    words = [str(folder / name) for name in ("aa", "ab")]
    _, rows, values = matrix_table(read_matrix([*words, str(folder / "ba")]), "uar")
    assert rows[1][2] == "-" and np.isnan(values[1, 1])
    assert main(["compare", *words, "--matrix", "--metric", "uaar"]) == 2
    said = capsys.readouterr().err
    assert "'uaar'" in said and "Traceback" not in said


def test_curve_when_runs_have_other_sizes_then_points_are_sorted_and_named(tmp_path, capsys):
    sizes = {"few:10": 10, "few:2": 2, "all:10": 12}
    words = []
    for number, (name, size) in enumerate(sizes.items()):
        folder = tmp_path / f"run{number}"
        write_run(folder, make_predictions(), curves=False)
        folds = json.loads((folder / "folds.json").read_text())
        (folder / "folds.json").write_text(json.dumps([f | {"num_train": size} for f in folds]))
        score_workdir(folder)
        words.append(f"{name}={folder}")
    curves = curves_of(compare(read_systems(words), num_resamples=100), "uar")
    assert [point[0] for _, point in curves["few"]] == [2, 10]
    (entry, (size, score, ends)) = curves["all"][0]
    assert entry.name == "all:10" and size == 12 and ends[0] <= score <= ends[1]
    assert score == pytest.approx(_uar(make_predictions()), abs=1e-9)
    output = str(tmp_path / "out")
    words = [*words, "--curve", "--draws", "100", "--output", output]
    assert main(["compare", *words]) == 0
    assert "training utterances" in capsys.readouterr().out
    for name in ("curve.md", "curve.tex", "curve.png", "curve.html", "comparison.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 100
