import json
import re

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.eval import plots, report
from tests.eval.fake_run import make_predictions, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    write_run(workdir)
    return workdir, report.score_workdir(workdir), report.write_report(workdir)


def test_report_when_written_then_the_page_needs_nothing_else(run):
    workdir, _, page = run
    text = page.read_text()
    assert page == workdir / "report.html"
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert text.count("data:image/png;base64,") == 4
    assert 'name="viewport"' in text


def test_report_when_written_then_it_has_scores_baselines_checks_and_config(run):
    workdir, result, page = run
    text = page.read_text()
    for part in (
        *("UAR (UA)", "accuracy (WA)", "majority", "chance", "k-fold-by-speaker"),
        *(
            "train.num_steps",
            "runs/pretrain",
            "Apache-2.0",
            "ab" * 32,
            f"{result['metrics']['uar']:.3f}",
        ),
    ):
        assert part in text
    for name in ("confusion", "dimensions", "training", "speakers"):
        assert (workdir / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_report_when_a_name_is_markup_then_it_is_escaped(tmp_path):
    write_run(tmp_path, curves=False)
    corpora = json.loads((tmp_path / "corpora.json").read_text())
    corpora["corpora"][0]["licence"] = "<script>alert(1)</script>"
    (tmp_path / "corpora.json").write_text(json.dumps(corpora))
    report.score_workdir(tmp_path)
    text = report.write_report(tmp_path).read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_report_when_there_is_no_curve_and_no_dimension_then_those_parts_are_left_out(tmp_path):
    write_run(tmp_path, make_predictions(dimensions=False, rows=60), curves=False)
    report.score_workdir(tmp_path)
    text = report.write_report(tmp_path).read_text()
    assert "<h2>Training</h2>" not in text
    assert "<h2>Dimensions</h2>" not in text


def test_table_when_dimensions_are_predicted_but_never_rated_then_there_are_no_rows_of_them(
    tmp_path,
):
    predictions = make_predictions(rows=60)
    predictions.truth[:] = np.nan
    write_run(tmp_path, predictions)
    results = report.score_workdir(tmp_path)
    assert "CCC" not in report.score_table(results)
    text = report.write_report(tmp_path).read_text()
    assert "<h2>Dimensions</h2>" not in text and "CCC arousal" not in text


def test_report_when_speakers_are_shared_then_it_is_marked(tmp_path):
    write_run(tmp_path, make_predictions(rows=60), curves=False)
    folds = json.loads((tmp_path / "folds.json").read_text())
    folds[0]["checks"]["speakers"]["train/test"] = 2
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    report.score_workdir(tmp_path)
    text = report.write_report(tmp_path).read_text()
    assert text.count('<td class="bad">2 in train and test</td>') == 1
    # The other folds' speakers, and every fold's recordings.
    assert text.count('<td class="ok">none</td>') == 7
    assert "8 in train and test" in text


def test_report_when_a_curve_is_damaged_then_it_is_named(tmp_path):
    write_run(tmp_path)
    (tmp_path / "folds" / "2" / "metrics.jsonl").write_text('{"step": 10, "lo')
    report.score_workdir(tmp_path)
    with pytest.raises(UserError, match=r"folds/2/metrics.jsonl is damaged"):
        report.write_report(tmp_path)


def test_table_when_printed_then_model_majority_and_chance_are_rows(run):
    table = report.score_table(run[1])
    assert re.search(r"this model +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", table)
    assert re.search(r"majority +0\.200", table)
    assert re.search(r"chance +0\.200 +0\.200", table)
    assert re.search(r"CCC arousal +0\.\d{3}", table)
    assert max(map(len, table.splitlines())) < 100


def test_plots_when_there_are_many_speakers_or_empty_rows_then_still_drawn(tmp_path):
    names = [f"speaker-{i}" for i in range(200)]
    plots.speakers(
        tmp_path / "s.png", names=names, uar=np.linspace(0, 1, 200), overall=0.5, chance=0.1
    )
    plots.confusion(tmp_path / "c.png", names=["a", "b"], counts=np.array([[3, 0], [0, 0]]))
    assert (tmp_path / "s.png").stat().st_size > 1000
    assert (tmp_path / "c.png").stat().st_size > 1000


HOSTILE = ("<script>x</script>", "$\\frac{1$", "a\nb", "\x1b[31m", "_hidden", "数" * 50)


def test_plots_when_names_are_odd_then_drawn_without_a_warning(tmp_path, recwarn):
    share = np.linspace(0, 1, len(HOSTILE))
    counts = np.ones((len(HOSTILE), len(HOSTILE)), int)
    log = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    plots.speakers(tmp_path / "s.png", names=HOSTILE, uar=share, overall=0.5, chance=0.1)
    plots.confusion(tmp_path / "c.png", names=HOSTILE, counts=counts)
    plots.training(tmp_path / "t.png", logs=dict.fromkeys(HOSTILE, log))
    assert not [str(warning.message) for warning in recwarn]
    for name in "sct":
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_plot_of_dimensions_when_a_score_is_not_defined_then_the_reason_is_drawn(tmp_path):
    truth = np.array([[0.5, 0.1, np.nan]] * 3 + [[0.5, 0.4, np.nan]])
    plots.dimensions(
        tmp_path / "d.png", names=["a", "b", "c"], truth=truth, predicted=np.full((4, 3), 0.2)
    )
    assert (tmp_path / "d.png").stat().st_size > 1000
