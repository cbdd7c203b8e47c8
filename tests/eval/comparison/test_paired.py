import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from sersl.cli.main import main
from sersl.config.load import save_json
from sersl.config.schema import FinetuneConfig
from sersl.core import seeds
from sersl.core.errors import UserError
from sersl.eval.comparison import tables
from sersl.eval.comparison.paired import compare
from sersl.eval.comparison.systems import align, ensemble, read_systems
from sersl.eval.results import score_workdir
from tests.eval.fake_run import NAMES, make_predictions, write_run
from tests.tolerances import METRIC


def _worse(predictions, *, share, seed):
    """Replaces a share of the answers by random ones."""
    random = np.random.default_rng(seed)
    chosen = random.random(len(predictions)) < share
    logits = random.normal(size=predictions.scores.shape)
    other = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = np.where(chosen[:, None], other, predictions.scores)
    text = {**predictions.text, "predicted": np.array(NAMES)[scores.argmax(1)]}
    return dataclasses.replace(predictions, scores=scores, text=text)


def _scored(folder, predictions):
    write_run(folder, predictions, curves=False)
    score_workdir(folder)
    return predictions


@pytest.fixture
def runs(tmp_path):
    """A run, and a worse system of two seeds with its rows in another order."""
    good = _scored(tmp_path / "good", make_predictions())
    for seed in (0, 1):
        worse = _worse(good, share=0.5, seed=seed)
        order = np.random.default_rng(seed).permutation(len(worse))
        worse = dataclasses.replace(
            worse,
            text={name: values[order] for name, values in worse.text.items()},
            scores=worse.scores[order],
            truth=worse.truth[order],
            predicted=worse.predicted[order],
        )
        _scored(tmp_path / "worse" / "seeds" / str(seed), worse)
    return tmp_path


def test_compare_when_one_system_is_better_then_the_paired_interval_excludes_zero(runs):
    comparison = compare(read_systems([str(runs / "good"), str(runs / "worse")]), num_resamples=300)
    good, worse, both = comparison.entries
    assert (good.name, worse.name, both.name) == ("good", "worse", "worse, ensemble of 2")
    assert (worse.seeds, worse.is_ensemble, both.is_ensemble) == ((0, 0), False, True)
    uar = worse.values["uar"]
    assert uar.difference == pytest.approx(uar.mean - good.values["uar"].mean)
    assert uar.difference_interval[0] < uar.difference < uar.difference_interval[1] < 0
    assert uar.p == pytest.approx(2 / 301)
    # Guesses of the dimensions are the same in both, so their paired difference is exactly 0.
    ccc = worse.values["ccc.valence"]
    assert ccc.difference_interval == pytest.approx([0, 0], abs=1e-12)
    assert ccc.interval[1] - ccc.interval[0] > 0.01


def test_compare_when_together_then_the_mean_of_all_runs_is_one_more_entry(runs, capsys):
    systems = read_systems([f"a={runs / 'good'}", f"b={runs / 'worse'}"])
    *_, both = compare(systems, num_resamples=100, together=True).entries
    assert (both.name, both.is_ensemble) == ("a + b, ensemble of 3", True)
    found = [run.predictions for system in align(systems) for run in system.runs]
    mean = sum(one.scores for one in found) / 3
    expected = balanced_accuracy_score(
        found[0].text["category"], np.array(found[0].names)[mean.argmax(1)]
    )
    np.testing.assert_allclose(both.values["uar"].mean, expected, **METRIC)
    assert both.values["uar"].difference_interval is not None
    words = [f"a={runs / 'good'}", f"b={runs / 'worse'}", "--draws", "100"]
    assert main(["compare", *words, "--together", "--output", str(runs / "out")]) == 0
    assert "a + b, ensemble of 3" in capsys.readouterr().out
    assert "a + b, ensemble of 3" in (runs / "out" / "comparison.md").read_text()


def test_compare_when_together_of_one_system_then_one_sentence(runs, capsys):
    assert main(["compare", str(runs / "worse"), "--together"]) == 2
    assert "needs two systems" in capsys.readouterr().err


def test_compare_when_there_are_seeds_then_mean_and_deviation_are_those_of_scikit_learn(runs):
    worse = read_systems([str(runs / "worse")])
    expected = [
        balanced_accuracy_score(r.predictions.text["category"], r.predictions.text["predicted"])
        for r in worse[0].runs
    ]
    value = compare(worse, num_resamples=100).entries[0].values["uar"]
    np.testing.assert_allclose(value.mean, np.mean(expected), **METRIC)
    np.testing.assert_allclose(value.deviation, np.std(expected, ddof=1), **METRIC)
    assert value.difference is None and value.p is None


def test_intervals_when_compared_with_a_plain_paired_bootstrap_then_equal(runs):
    systems = read_systems([f"a={runs / 'good'}", f"b={runs / 'worse' / 'seeds' / '0'}"])
    value = compare(systems, num_resamples=200).entries[1].values["accuracy"]
    first, second = (system.runs[0].predictions for system in align(systems))
    right = [p.text["category"] == p.text["predicted"] for p in (first, second)]
    members = [np.flatnonzero(first.groups == name) for name in sorted(set(first.groups))]
    random = seeds.generator(0, "bootstrap")
    drawn = random.integers(0, len(members), (200, len(members)))
    apart = []
    for draw in drawn:
        rows = np.concatenate([members[i] for i in draw])
        apart.append(right[1][rows].mean() - right[0][rows].mean())
    expected = np.quantile(apart, [0.025, 0.975])
    np.testing.assert_allclose(value.difference_interval, expected, **METRIC)


def test_ensemble_when_categories_are_in_another_order_then_averaged_by_name(runs):
    (system,) = align(read_systems([str(runs / "worse")]))
    first, second = system.runs
    turned = dataclasses.replace(
        second.predictions,
        names=second.predictions.names[::-1],
        scores=second.predictions.scores[:, ::-1],
    )
    mean = ensemble([first, dataclasses.replace(second, predictions=turned)])
    expected = (first.predictions.scores + second.predictions.scores) / 2
    np.testing.assert_allclose(mean.scores, expected, **METRIC)
    assert (mean.text["predicted"] == np.array(mean.names)[expected.argmax(1)]).all()


def test_compare_when_asked_for_files_then_all_forms_hold_the_same_table(runs, capsys):
    output = runs / "out"
    words = ["compare", str(runs / "good"), f"its_rival={runs / 'worse'}", "--output", str(output)]
    assert main([*words, "--draws", "100", "--metric", "accuracy"]) == 0
    printed = capsys.readouterr().out
    assert "accuracy (WA) minus good" in printed and "240 utterances of 12 speakers" in printed
    markdown = (output / "comparison.md").read_text()
    latex = (output / "comparison.tex").read_text()
    assert "| its_rival, ensemble of 2 | 2 |" in markdown
    assert r"its\_rival" in latex and latex.count(r"\\") == 4
    with open(output / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((output / "comparison.json").read_text())
    for row in rows:
        entry = next(e for e in content["entries"] if e["name"] == row["system"])
        assert float(row["mean"]) == pytest.approx(entry["values"][row["metric"]]["mean"], rel=1e-5)
    page = (output / "comparison.html").read_text()
    assert "its_rival" in page and "data:image/png;base64," in page and 'src="http' not in page
    assert (output / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def _change_protocol(folder):
    config = json.loads((folder / "config.json").read_text())
    config["protocol"]["name"] = "leave-one-speaker-out"
    (folder / "config.json").write_text(json.dumps(config))
    score_workdir(folder)


def _change_corpus(folder):
    corpora = json.loads((folder / "corpora.json").read_text())
    corpora["corpora"][0]["fingerprint"] = "ef" * 32
    (folder / "corpora.json").write_text(json.dumps(corpora))
    score_workdir(folder)


def _drop_rows(folder):
    shutil.rmtree(folder)
    _scored(folder, make_predictions(rows=120))


def _change_truth(folder):
    shutil.rmtree(folder)
    predictions = make_predictions()
    predictions.text["category"][0] = "fear" if predictions.text["category"][0] != "fear" else "sad"
    _scored(folder, predictions)


def _other_categories(folder):
    shutil.rmtree(folder)
    _scored(folder, make_predictions(names=NAMES[:4]))


def _not_scored(folder):
    (folder / "results.json").unlink()


def _edited(folder):
    path = folder / "predictions.csv"
    path.write_text(path.read_text().replace("utterance-0001", "utterance-9001"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_change_protocol, "under protocol 'k-fold-by-speaker' and .* 'leave-one-speaker-out'"),
        (_change_corpus, "corpus synthetic in two preparations that differ"),
        (_drop_rows, "tested 240 utterances and .* 120, of which 120 are in one of them only"),
        (_change_truth, "disagree about the true category of 1 utterances"),
        (_other_categories, "tell different categories apart"),
        (_not_scored, "has no results.json: let `sersl finetune` finish"),
        (_edited, "has changed since it was scored"),
        (shutil.rmtree, "does not exist: give the folder of a fine-tuning run"),
    ],
)
def test_compare_when_runs_do_not_match_then_one_sentence_and_exit_code_2(
    tmp_path, capsys, change, sentence
):
    for name in ("a", "b"):
        _scored(tmp_path / name, make_predictions())
    change(tmp_path / "b")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error) and error.count("\n") == 1


def test_compare_when_there_is_one_speaker_then_no_interval_and_a_note(tmp_path):
    _scored(tmp_path / "a", make_predictions(num_speakers=1, rows=40))
    comparison = compare(read_systems([str(tmp_path / "a")]))
    assert all(value.interval is None for value in comparison.entries[0].values.values())
    assert "no intervals: there is only one speaker to draw" in comparison.notes


def test_compare_when_heads_are_in_closed_form_then_no_seed_is_counted(runs, capsys):
    settings = FinetuneConfig()
    solver = dataclasses.replace(settings.solver, kind="ridge")
    save_json(dataclasses.replace(settings, solver=solver), runs / "good" / "config.json")
    assert score_workdir(runs / "good")["solver"] == "ridge"
    comparison = compare(read_systems([str(runs / "good"), str(runs / "worse")]), num_resamples=20)
    assert [entry.seeds for entry in comparison.entries[:2]] == [(), (0, 0)]
    assert any("heads of good in closed form" in note for note in comparison.notes)
    assert not any("one seed" in note for note in comparison.notes)
    assert main(["compare", str(runs / "good"), str(runs / "worse"), "--draws", "100"]) == 0
    assert re.search(r"^good +- ", capsys.readouterr().out, re.MULTILINE)


def test_compare_when_a_target_is_constant_then_ccc_stays_undefined_and_never_wins(tmp_path):
    predictions = make_predictions()
    predictions.truth[:, 0] = np.where(np.isnan(predictions.truth[:, 0]), np.nan, 0.5)
    _scored(tmp_path / "a", predictions)
    comparison = compare(read_systems([str(tmp_path / "a")]), num_resamples=100)
    value = comparison.entries[0].values["ccc.arousal"]
    assert np.isnan(value.mean) and value.interval is None
    assert tables.best_of(comparison.entries, "ccc.arousal") is None
    header, rows = tables.table_rows(comparison, "uar")
    assert rows[0][header.index("CCC arousal")] == "-"


def test_compare_when_a_run_is_given_twice_or_the_score_is_unknown_then_refused(runs, capsys):
    good = str(runs / "good")
    with pytest.raises(UserError, match="is given twice"):
        read_systems([good, good])
    with pytest.raises(UserError, match="2 runs are called 'x'"):
        read_systems([f"x={good}", f"x={runs / 'worse'}"])
    assert main(["compare", good, "--metric", "ccc.valense", "--draws", "100"]) == 2
    assert "did you mean 'ccc.valence'?" in capsys.readouterr().err
