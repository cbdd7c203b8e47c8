import numpy as np
import pytest

from sersl.annotation.annotators import Recording
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.release.model_annotator import MEASURES, ModelAnnotator, is_model
from sersl.release.predict.predictor import load
from tests.release.fake_model import NAMES, write_fake, write_fake_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_fake(tmp_path_factory.mktemp("model") / "fake")


def sounds():
    rng = np.random.default_rng(0)
    return [0.1 * rng.normal(size=n).astype(np.float32) for n in (9000, 300, 14000)]


def test_model_annotator_measures_what_the_model_predicts_for_frames(folder):
    waveforms = sounds()
    frames = load(folder).predict(waveforms[2], sample_rate=16000, frames=True)["frames"]
    share = np.stack([frames[name] for name in NAMES], axis=1)
    entropy = -(share * np.log(share)).sum(1) / np.log(len(NAMES))
    expected = {"neutral": 1 - share[:, NAMES.index("neutral")], "entropy": 1 - entropy}
    answers = {}
    for measure in MEASURES:
        annotator = ModelAnnotator(folder, measure=measure)
        assert annotator.name == f"fake-{measure}" and annotator.on_device
        unvoiced = (np.zeros(0), np.zeros(0))
        found = annotator.intensities([Recording("a", "", "", w, unvoiced) for w in waveforms])
        for waveform, values in zip(waveforms, found, strict=True):
            assert values.shape == (num_frames(len(waveform)),) and values.dtype == np.float32
            assert ((values >= 0) & (values <= 1)).all()
        answers[measure] = found[2]
    for measure, values in expected.items():
        np.testing.assert_allclose(answers[measure], values, atol=2e-3)
    assert answers["arousal"].std() > 0


def test_model_annotator_is_known_by_its_weights_and_measure(folder, tmp_path):
    one, two = (ModelAnnotator(folder, measure=m).identity() for m in ("neutral", "entropy"))
    assert one["weights"] == two["weights"] and one != two
    other = write_fake(tmp_path / "fake", seed=1)
    assert ModelAnnotator(other, measure="neutral").identity()["weights"] != one["weights"]
    assert is_model(folder) and not is_model(tmp_path)


def test_model_annotator_without_the_output_names_what_there_is(folder, tmp_path):
    with pytest.raises(UserError, match="did you mean 'arousal'"):
        ModelAnnotator(folder, measure="arousel")
    encoder = write_fake_encoder(tmp_path / "encoder")
    with pytest.raises(UserError, match="cannot measure 'entropy', because it predicts nothing"):
        ModelAnnotator(encoder, measure="entropy")
