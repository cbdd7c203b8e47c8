"""Scores of a run of several seeds, from the runs of its seeds."""

import dataclasses
import json

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.eval import bootstrap, metrics, over_seeds
from sersl.eval.predictions import read_predictions, write_predictions
from sersl.eval.report import write_report
from sersl.eval.report_tables import score_table
from tests.eval.fake_run import write_run


def write_seeds(workdir, numbers=(0, 5, 7)):
    """Writes runs whose rows are in another order, and whose answers differ, by seed."""
    found = []
    for number in numbers:
        folder = workdir / "seeds" / str(number)
        folder.mkdir(parents=True)
        predictions = write_run(folder)
        order = np.random.default_rng(number).permutation(len(predictions))
        moved = order[: 10 * number]
        scores = predictions.scores.copy()
        scores[moved] = scores[moved][:, ::-1]
        text = {**predictions.text, "predicted": np.array(predictions.names)[scores.argmax(1)]}
        changed = dataclasses.replace(predictions, scores=scores, text=text).take(order)
        write_predictions(folder / "predictions.csv", changed)
        found.append(read_predictions(folder / "predictions.csv"))
    config = json.loads((workdir / "seeds" / str(numbers[0]) / "config.json").read_text())
    config.setdefault("train", {})["seeds"] = list(numbers)
    (workdir / "config.json").write_text(json.dumps(config))
    return found


def uar(predictions, rows=slice(None)):
    truth, answers = (
        metrics.indices(predictions.text[name][rows], predictions.names)
        for name in ("category", "predicted")
    )
    return metrics.uar(metrics.confusion_matrix(truth, answers, len(predictions.names)))


def test_run_of_seeds_when_scored_then_means_deviations_and_paired_intervals(tmp_path):
    found = write_seeds(tmp_path)
    result = over_seeds.score_run(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == result
    values = [uar(one) for one in found]
    assert result["metrics"]["uar"] == pytest.approx(np.mean(values))
    assert result["over_seeds"]["uar"]["values"] == pytest.approx(values)
    assert result["over_seeds"]["uar"]["std"] == pytest.approx(np.std(values, ddof=1))
    assert result["seeds"] == [0, 5, 7]
    assert sum(map(sum, result["metrics"]["confusion"]["counts"])) == 3 * 240
    # The same speakers are drawn for all seeds.
    names = found[0].text["utterance_id"].tolist()
    rows = [{n: i for i, n in enumerate(one.text["utterance_id"].tolist())} for one in found]
    order = [np.array([place[name] for name in names]) for place in rows]
    draws = [
        np.mean([uar(one, at[drawn]) for one, at in zip(found, order, strict=True)])
        for drawn in bootstrap.resamples(found[0].groups, seed=0)
    ]
    expected = np.quantile(draws, [0.025, 0.975])
    assert result["confidence"]["uar"] == pytest.approx(expected.tolist(), abs=1e-6)


def test_run_of_seeds_when_reported_then_table_and_page_have_each_seed(tmp_path):
    write_seeds(tmp_path)
    result = over_seeds.score_run(tmp_path)
    table = score_table(result)
    assert "mean of seeds" in table and "seed 7" in table
    page = write_report(tmp_path).read_text()
    assert "seeds 0, 5, 7" in page and "seed 5" in page
    assert "Mean over the folds of each seed." in page
    assert (tmp_path / "plots" / "training.png").read_bytes().startswith(b"\x89PNG")


def test_run_of_seeds_when_a_seed_has_other_utterances_then_one_sentence(tmp_path):
    found = write_seeds(tmp_path)
    folder = tmp_path / "seeds" / "7"
    for seed in (0, 5, 7):
        over_seeds.score_workdir(tmp_path / "seeds" / str(seed))
    write_predictions(folder / "predictions.csv", found[2].take(np.arange(10)))
    with pytest.raises(UserError, match="other utterances or categories"):
        over_seeds.score_seeds(tmp_path, (0, 5, 7))


def test_verb_for_one_run_when_there_are_seeds_then_it_names_their_folders(tmp_path):
    write_seeds(tmp_path)
    with pytest.raises(UserError, match="give the folder of one of them"):
        over_seeds.refuse_seeds(tmp_path)
