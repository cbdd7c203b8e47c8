import jax.numpy as jnp
import numpy as np

from sersl.annotation.codebooks import kmeans
from sersl.annotation.codebooks.kmeans import Iteration
from tests.tolerances import FP32

D = 3
CENTRES = np.array([[0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6]], np.float32)


def blobs(per_centre=60):
    rng = np.random.default_rng(0)
    values = CENTRES.repeat(per_centre, 0) + rng.normal(size=(4 * per_centre, D)) * 0.3
    return rng.permutation(values).astype(np.float32)


def lloyd(values, centroids):
    distances = np.square(values[:, None] - centroids).sum(-1)
    codes = distances.argmin(1)
    means = np.stack([values[codes == k].mean(0) for k in range(len(centroids))])
    return means, distances.min(1).mean()


def test_iterate_when_compared_with_numpy_then_the_same_centroids_and_inertia():
    values = blobs(per_centre=75)[:293]  # not a whole number of rows for eight devices
    expected = values[:5]
    steps = kmeans.iterate(
        kmeans.place(values), Iteration(0, expected, np.inf), max_iterations=6, tolerance=0.0
    )
    for step in steps:
        expected, inertia = lloyd(values, expected)
        np.testing.assert_allclose(step.centroids, expected, **FP32)
        np.testing.assert_allclose(step.inertia, inertia, rtol=1e-4)


def test_nearest_when_compared_with_numpy_then_equal():
    values, centroids = blobs(), blobs()[:7]
    codes, distances = kmeans.nearest(jnp.asarray(values), jnp.asarray(centroids))
    expected = np.square(values[:, None] - centroids).sum(-1)
    np.testing.assert_array_equal(codes, expected.argmin(1))
    np.testing.assert_allclose(distances, expected.min(1), atol=1e-4)


def test_start_and_iterate_when_there_are_clear_clusters_then_they_are_found():
    values = blobs()
    begin = Iteration(0, kmeans.start(values, 4, seed=1), np.inf)
    assert all((begin.centroids[k] == values).all(1).any() for k in range(4))
    *_, last = kmeans.iterate(kmeans.place(values), begin, max_iterations=50, tolerance=1e-4)
    assert last.number < 10
    found = last.centroids[np.argsort(last.centroids @ [1, 2, 3])]
    np.testing.assert_allclose(found, CENTRES[[0, 1, 2, 3]], atol=0.15)


def test_iterate_when_a_cluster_is_empty_then_it_moves_to_a_far_frame():
    values = blobs()
    begin = np.concatenate([CENTRES[:3], [[500.0, 0, 0]]]).astype(np.float32)
    *_, last = kmeans.iterate(
        kmeans.place(values), Iteration(0, begin, np.inf), max_iterations=20, tolerance=1e-4
    )
    assert last.inertia < 0.5
    np.testing.assert_allclose(last.centroids[3], CENTRES[3], atol=0.15)


def test_kmeans_when_all_frames_are_alike_then_finite():
    values = np.ones((40, D), np.float32)
    begin = Iteration(0, kmeans.start(values, 3, seed=0), np.inf)
    *_, last = kmeans.iterate(kmeans.place(values), begin, max_iterations=9, tolerance=1e-4)
    assert np.isfinite(last.centroids).all() and last.inertia == 0.0
