"""Uncertainty and the map of embeddings against SciPy, scikit-learn and plain loops."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from sersl.core.errors import UserError
from sersl.eval.analysis import embedding_map, error_detection
from sersl.eval.over_seeds import SEEDS, score_seeds
from sersl.eval.results import score_workdir
from tests.eval.fake_run import write_run
from tests.tolerances import METRIC


@pytest.fixture
def members():
    """Truth [300] and the probabilities of five members, [5, 300, 4]."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 300)
    shared = 1.2 * np.eye(4)[truth] + random.normal(size=(300, 4))
    logits = shared + 0.7 * random.normal(size=(5, 300, 4)) * random.uniform(0, 2, (1, 300, 1))
    return truth, softmax(1.5 * logits, axis=-1)


def test_entropies_when_compared_with_scipy_then_equal(members):
    _, each = members
    np.testing.assert_allclose(
        error_detection.entropy(each), scipy_entropy(each, axis=-1), **METRIC
    )
    mean = each.mean(axis=0)
    # Mutual information as the mean Kullback-Leibler divergence from the mean.
    expected = np.mean([scipy_entropy(one, mean, axis=-1) for one in each], axis=0)
    np.testing.assert_allclose(error_detection.mutual_information(each), expected, **METRIC)
    assert (error_detection.mutual_information(np.stack([mean] * 3)) < 1e-12).all()
    certain = np.eye(4)[[0, 1]]
    np.testing.assert_array_equal(error_detection.entropy(certain), 0)


def test_auroc_of_errors_when_compared_with_scikit_learn_then_equal_with_ties(members):
    truth, each = members
    scores = each.mean(axis=0)
    wrong = scores.argmax(1) != truth
    for measure in (1 - scores.max(1), np.round(1 - scores.max(1), 1)):
        expected = roc_auc_score(wrong, measure)
        np.testing.assert_allclose(error_detection.error_auroc(wrong, measure), expected, **METRIC)
    assert np.isnan(error_detection.error_auroc(np.zeros(3, bool), np.arange(3)))


def test_judged_when_members_are_given_then_each_measure_as_a_plain_loop(members):
    truth, each = members
    scores = each.mean(axis=0)
    own = np.random.default_rng(1).random(300)
    found = error_detection.judged(truth, scores, members=each, others={"vacuity": own})
    wrong = scores.argmax(1) != truth
    assert found["accuracy"] == pytest.approx(1 - wrong.mean())
    assert list(found["measures"]) == [
        *("1 - confidence", "entropy", "mean entropy", "mutual information", "vacuity")
    ]
    order = np.argsort(own)
    expected = np.mean([wrong[order][: n + 1].mean() for n in range(300)])
    assert found["measures"]["vacuity"]["aurc"] == pytest.approx(expected)
    assert found["measures"]["entropy"]["auroc"] > 0.6 > found["measures"]["vacuity"]["auroc"]


def test_results_when_there_are_several_seeds_then_their_ensemble_is_judged_too(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / SEEDS / str(seed)
        folder.mkdir(parents=True)
        write_run(folder, curves=False)
        found = score_workdir(folder)["uncertainty"]
        assert set(found["this model"]["measures"]) == {"1 - confidence", "entropy"}
    found = score_seeds(tmp_path, (0, 1))["uncertainty"]
    assert list(found) == ["seed 0", "seed 1", "ensemble of 2 seeds"]
    # The same answers twice: no disagreement.
    ensemble = found["ensemble of 2 seeds"]
    assert ensemble["measures"]["mutual information"]["mean"] == pytest.approx(0, abs=1e-9)
    assert ensemble["uar"] == found["seed 0"]["uar"]


def test_components_when_compared_with_scikit_learn_then_equal_up_to_the_fixed_sign():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(80, 6)) @ np.diag([5, 3, 1, 1, 0.5, 0.1]) + 4
    places, shares = embedding_map.principal_components(vectors)
    reference = PCA(2).fit(vectors)
    np.testing.assert_allclose(
        np.abs(places), np.abs(reference.transform(vectors)), rtol=1e-7, atol=1e-9
    )
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_, **METRIC)
    again, _ = embedding_map.principal_components(vectors.copy())
    np.testing.assert_array_equal(places, again)
    wide = np.random.default_rng(1).normal(size=(150, 4000)) * np.linspace(2, 1, 4000)
    for some in (wide, wide.T[:, :100]):
        places, shares = embedding_map.principal_components(some)
        reference = PCA(2, svd_solver="full").fit(some)
        found = np.abs(reference.transform(some))
        np.testing.assert_allclose(np.abs(places), found, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(shares, reference.explained_variance_ratio_, rtol=1e-6)
    flat, share = embedding_map.principal_components(np.ones((5, 1)))
    assert flat.shape == (5, 2) and not flat.any() and not share.any()


def test_embeddings_when_they_are_of_other_utterances_or_damaged_then_one_sentence(tmp_path):
    names = np.array(["a", "b"])
    assert embedding_map.read_embeddings(tmp_path, names) is None
    embedding_map.save_embeddings(tmp_path, names, np.eye(2))
    np.testing.assert_array_equal(embedding_map.read_embeddings(tmp_path, names), np.eye(2))
    with pytest.raises(UserError, match="other utterances"):
        embedding_map.read_embeddings(tmp_path, names[::-1])
    (tmp_path / embedding_map.FILE).write_bytes(b"PK damaged")
    with pytest.raises(UserError, match="is damaged"):
        embedding_map.read_embeddings(tmp_path, names)
