import base64
import dataclasses
import json
import re

import numpy as np
import pytest
from markupsafe import escape

from sersl.core.errors import UserError
from sersl.eval import report
from sersl.eval.analysis.training_logs import mean_log
from sersl.eval.comparison.paired import compare
from sersl.eval.comparison.systems import read_systems
from sersl.eval.comparison.tables import table_rows
from sersl.eval.figures import plots
from sersl.eval.report_tables import score_table
from sersl.eval.results import score_workdir
from tests.eval.fake_run import make_predictions, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    write_run(workdir)
    return workdir, score_workdir(workdir), report.write_report(workdir)


def test_report_when_written_then_the_page_needs_nothing_else(run):
    workdir, _, page = run
    text = page.read_text()
    assert page == workdir / "report.html"
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert text.count("data:image/png;base64,") == 5
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
    for name in ("confusion", "dimensions", "training", "speakers", "reliability"):
        assert (workdir / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_report_when_layer_weights_were_learned_then_it_shows_them_and_mistakes(tmp_path):
    write_run(tmp_path)
    (tmp_path / "folds" / "1" / "layers.json").write_text("[0.2, 0.5, 0.3]")
    score_workdir(tmp_path)
    text = report.write_report(tmp_path).read_text()
    assert "<h2>Layers</h2>" in text
    assert "UAR of single speakers: mean" in text
    assert text.count('<th class="long">utterance-') == 10
    assert (tmp_path / "plots" / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_report_when_written_then_only_tables_are_wider_than_a_phone_and_scroll(run):
    text = run[2].read_text()
    tables = text.count("<table>")
    assert tables > 5
    assert len(re.findall(r'<div class="scroll"><table>', text)) == tables
    assert re.search(r"\.scroll { overflow-x:auto", text)
    assert re.search(r"img { [^}]*max-width:100%; height:auto", text)
    # Numbers in the confusion matrix stay readable, and it scrolls too.
    wide = 'img[alt^="Confusion"] { max-width:none; width:580px; }'
    assert wide in text and '<div class="scroll"><img alt="Confusion' in text
    text = text.replace(wide, "")
    widths = [int(width) for width in re.findall(r"(?<!max-)width:\s*(\d+)px", text)]
    assert all(width < 390 for width in widths), widths


def test_report_when_recordings_are_given_then_those_of_mistakes_are_embedded(tmp_path):
    write_run(tmp_path)
    score_workdir(tmp_path)
    asked = []

    def recording(corpus, utterance_id):
        asked.append((corpus, utterance_id))
        return b"flac of " + utterance_id.encode()

    text = report.write_report(tmp_path, recording=recording).read_text()
    assert len(asked) == 10 and {corpus for corpus, _ in asked} == {"synthetic"}
    for _, utterance_id in asked:
        data = base64.b64encode(b"flac of " + utterance_id.encode()).decode()
        assert text.count(f'src="data:audio/flac;base64,{data}"') == 1
    assert "<audio" not in report.write_report(tmp_path).read_text()


HOSTILE = ("<script>x</script>", "$\\frac{1$", "a\nb", "\x1b[31m", "_hidden", "数" * 50)


def test_report_when_names_are_hostile_then_they_are_escaped(tmp_path):
    predictions = make_predictions(names=HOSTILE, rows=120)
    for column in ("speaker", "gender", "utterance_id"):
        values = predictions.text[column]
        predictions.text[column] = np.array([f"<script>\n\x1b[1m{value}" for value in values])
    write_run(tmp_path, predictions)
    corpora = json.loads((tmp_path / "corpora.json").read_text())
    for name in ("corpus", "version", "licence", "fingerprint"):
        corpora["corpora"][0][name] = f"<script>{name}</script>\x1b"
    (tmp_path / "corpora.json").write_text(json.dumps(corpora))
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"name": "<script>", "init_from": "<script>"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    folds = json.loads((tmp_path / "folds.json").read_text())
    folds[0]["checks"]["warnings"] = ["<script>"]
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    results = score_workdir(tmp_path)
    text = report.write_report(tmp_path).read_text()
    assert "<script" not in text and "\x1b" not in text
    assert text.count("&lt;script&gt;") > 20
    assert "&lt;script&gt;\\n\\x1b[1m" in text
    assert all(line.isprintable() for line in score_table(results).splitlines())


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/b", "", ".hidden", "a\nb"])
def test_report_when_a_fold_has_the_name_of_another_folder_then_is_refused(tmp_path, name):
    write_run(tmp_path, make_predictions(rows=60), curves=False)
    folds = json.loads((tmp_path / "folds.json").read_text())
    folds[0]["fold"] = name
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    with pytest.raises(UserError, match=r"fold .* cannot be the name of a folder"):
        score_workdir(tmp_path)


def test_report_when_there_is_no_curve_and_no_dimension_then_those_parts_are_left_out(tmp_path):
    write_run(tmp_path, make_predictions(dimensions=False, rows=60), curves=False)
    score_workdir(tmp_path)
    text = report.write_report(tmp_path).read_text()
    assert "<h2>Training</h2>" not in text
    assert "<h2>Dimensions</h2>" not in text


def test_table_when_dimensions_are_predicted_but_never_rated_then_there_are_no_rows_of_them(
    tmp_path,
):
    predictions = make_predictions(rows=60)
    predictions.truth[:] = np.nan
    write_run(tmp_path, predictions)
    results = score_workdir(tmp_path)
    assert "CCC" not in score_table(results)
    text = report.write_report(tmp_path).read_text()
    assert "<h2>Dimensions</h2>" not in text and "CCC arousal" not in text


def test_report_when_speakers_are_shared_then_it_is_marked(tmp_path):
    write_run(tmp_path, make_predictions(rows=60), curves=False)
    folds = json.loads((tmp_path / "folds.json").read_text())
    folds[0]["checks"]["speakers"]["train/test"] = 2
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    score_workdir(tmp_path)
    text = report.write_report(tmp_path).read_text()
    assert text.count('<td class="bad">2 in train and test</td>') == 1
    # The other folds' speakers, and every fold's recordings.
    assert text.count('<td class="ok">none</td>') == 7
    assert "8 in train and test" in text


def test_report_when_a_curve_is_damaged_then_it_is_named(tmp_path):
    write_run(tmp_path)
    log = tmp_path / "folds" / "2" / "metrics.jsonl"
    score_workdir(tmp_path)
    log.write_text('{"step": 10, "loss": 1.0}\n{"step": 20, "lo')  # cut off by a kill
    report.write_report(tmp_path)
    log.write_text('{"step": 10, "lo\n{"step": 20, "loss": 1.0}\n')
    with pytest.raises(UserError, match=r"folds/2/metrics.jsonl .*, line 1 is damaged: .*remove"):
        report.write_report(tmp_path)


def test_table_when_scores_are_not_defined_then_a_dash_and_the_reason(tmp_path):
    predictions = make_predictions(num_speakers=1, rows=60)
    predictions.truth[:, 0] = np.where(np.isnan(predictions.truth[:, 0]), np.nan, 0.5)
    predictions.text["category"][predictions.text["category"] == "fear"] = ""
    write_run(tmp_path, predictions, curves=False)
    results = score_workdir(tmp_path)
    assert results["metrics"]["ccc"]["arousal"] is None
    assert results["metrics"]["undefined"] == {"ccc.arousal": "all ratings are the same"}
    table = score_table(results)
    assert re.search(r"CCC arousal +- +- +Pearson -, RMSE 0.\d+, MAE 0.\d+\n", table)
    assert "CCC arousal is not defined, because all ratings are the same" in table
    assert re.search(r"this model +0\.\d{3} - ", table)
    assert "no intervals: there is only one speaker to draw" in table
    text = report.write_report(tmp_path).read_text()
    assert "CCC arousal is not defined, because all ratings are the same" in text
    assert "fear: the recall is not defined" in text
    assert "over dominance, valence" in text  # the mean of the others


def test_table_when_a_fold_has_no_category_then_the_mean_is_over_the_others(tmp_path):
    predictions = make_predictions()
    predictions.text["category"][predictions.text["fold"] == "2"] = ""
    write_run(tmp_path, predictions, curves=False)
    results = score_workdir(tmp_path)
    assert results["folds"][1]["metrics"]["uar"] is None
    uar = [fold["metrics"]["uar"] for fold in results["folds"] if fold["fold"] != "2"]
    mean = results["mean_over_folds"]["uar"]
    assert (mean["num_folds"], mean["std_kind"]) == (3, "population")
    assert mean["mean"] == pytest.approx(np.mean(uar))
    assert mean["std"] == pytest.approx(np.sqrt(np.mean(np.square(uar - np.mean(uar)))))
    assert "±: population standard deviation over the 3 folds" in score_table(results)
    text = report.write_report(tmp_path).read_text()
    assert "fold 2: UAR (UA), accuracy (WA), macro F1, weighted F1 are not defined" in text


def test_table_when_printed_then_model_majority_and_chance_are_rows(run):
    table = score_table(run[1])
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


def test_report_when_compared_then_it_has_the_table_of_sersl_compare(tmp_path):
    for name, seed in (("a", 0), ("b", 4)):
        made = make_predictions()
        scores = make_predictions(seed=seed).scores
        made = dataclasses.replace(made, scores=scores)
        made.text["predicted"] = np.array(made.names)[scores.argmax(axis=1)]
        write_run(tmp_path / name, made)
        score_workdir(tmp_path / name)
    text = report.write_report(tmp_path / "a", compared=[f"other={tmp_path / 'b'}"]).read_text()
    section = text.partition("<h2>Comparison</h2>")[2].partition("</section>")[0]
    systems = read_systems([f"this run={tmp_path / 'a'}", f"other={tmp_path / 'b'}"])
    _, rows = table_rows(compare(systems), "uar")
    assert len(rows) == 2 and rows[1][2] != rows[0][2]
    words = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", section))
    for cell in (cell for row in rows for cell in row):
        assert f" {escape(cell)} " in words
    assert "<h2>Comparison</h2>" not in report.write_report(tmp_path / "a").read_text()
    with pytest.raises(UserError, match="does not exist"):
        report.write_report(tmp_path / "a", compared=[str(tmp_path / "c")])


def test_logs_when_folds_are_averaged_then_each_number_where_it_is():
    logs = [
        [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "validation_uar": 0.5}],
        [{"step": 1, "loss": 4.0}, {"step": 3, "loss": 6.0}],
        [],
    ]
    assert mean_log(logs) == [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 1.0, "validation_uar": 0.5},
        {"step": 3, "loss": 6.0},
    ]


def test_report_when_the_speakers_are_unknown_then_it_is_not_one_speaker(tmp_path):
    predictions = make_predictions(num_speakers=1, rows=60)
    predictions.text["speaker"][:] = ""
    write_run(tmp_path, predictions, curves=False)
    results = score_workdir(tmp_path)
    assert results["corpus"]["num_speakers"] == 0
    assert "no intervals: the speakers are not known" in score_table(results)
    text = report.write_report(tmp_path).read_text()
    assert "60 utterances of unknown speakers from" in text
    assert not (tmp_path / "plots" / "speakers.png").exists()
