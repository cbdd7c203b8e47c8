import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sersl.annotation.annotate import annotate_corpus
from sersl.core.errors import UserError
from sersl.data.sources import CorpusSource
from sersl.eval import intensity_agreement
from tests.data.doubles import prepare


def test_roc_area_when_there_are_ties_then_equals_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    score, strong = rng.integers(0, 6, 200).astype(float), rng.random(200) < 0.4
    found = intensity_agreement.roc_area(score[strong], score[~strong])
    assert found == pytest.approx(roc_auc_score(strong, score))
    assert intensity_agreement.roc_area(np.ones(3), np.ones(5)) == 0.5
    assert np.isnan(intensity_agreement.roc_area(np.ones(3), np.ones(0)))


def test_compare_when_intensities_are_missing_then_counts_the_others():
    found = [0.9, 0.2, 0.8, 0.1, 0.5, np.nan]
    truth = [1.0, 0.0, 0.0, 1.0, np.nan, 1.0]
    result = intensity_agreement.compare(
        found, truth, ["a", "a", "b", "b", "neutral", "a"], annotator="x", corpus="y"
    )
    assert result.area == {"all": 0.5, "a": 1.0, "b": 0.0}
    assert result.num == {"all": (2, 2), "a": (1, 1), "b": (1, 1)}
    text = intensity_agreement.as_text(result)
    one_side = intensity_agreement.compare([0.9], [1.0], ["a"], annotator="x", corpus="y")
    assert "  a                -   1 strong, 0 normal" in intensity_agreement.as_text(one_side)
    assert "by x on y" in text and "all          0.500   2 strong, 2 normal" in text


def test_is_active_when_frames_are_silent_then_false():
    level = np.concatenate([np.full(10, -9.0), np.linspace(-3, -2, 30)])
    assert intensity_agreement.is_active(level).tolist() == [False] * 10 + [True] * 30


def test_check_when_a_corpus_has_no_intensities_then_one_sentence(tmp_path):
    prepare(tmp_path, "alpha", [8000, 9000])
    annotate_corpus("energy", "alpha", data_dir=tmp_path)
    source = CorpusSource(tmp_path, "alpha", annotator="energy")
    assert 0 <= intensity_agreement.utterance_intensity(source, 0) <= 1
    with pytest.raises(UserError, match="'alpha' has no intensities to compare with"):
        intensity_agreement.check(source)


@pytest.mark.parametrize("name", ["a/../../b", "$x$", "a\nb", "ü" * 300])
def test_file_name_when_an_utterance_has_any_id_then_stays_in_the_folder(name):
    found = intensity_agreement._file_name(name, 7)
    assert "/" not in found and "\n" not in found and found.endswith("-7") and len(found) < 70
    assert intensity_agreement._file_name("03-01.wav", 7) == "03-01.wav"


def test_draw_when_given_an_utterance_then_writes_a_figure(tmp_path):
    prepare(tmp_path, "alpha", [8000], annotator="signal")
    path = intensity_agreement.draw(
        CorpusSource(tmp_path, "alpha", annotator="signal"), 0, tmp_path / "p"
    )
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000
