"""Evaluation sets of any size on two processes: none hangs, and every utterance comes once."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from sersl.config.schema import DataConfig, MeshConfig
from sersl.corpora.labels import LabelView
from sersl.data.buckets import evaluation_buckets
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import SpeedView
from sersl.eval.answers import Answerer, Truth
from sersl.parallel import distributed
from sersl.parallel.mesh import make_mesh
from tests.multi_process.processes import found_by_two
from tests.tolerances import LOSS_ACROSS_MESHES

SPEED = 1.1
NONE = np.zeros(0, np.int64)
SIZES = (0, 1, 2, 7, 9, 33, 64)  # of 64 utterances; batches have 4 rows or 8


class Loudness:
    """Answers with what it hears, so that a row in the place of another shows."""

    def answer(self, params, batch):
        energy = jnp.where(batch["valid"], batch["waveform"] ** 2, 0.0).sum(1)
        scores = jnp.stack([energy, batch["valid"].sum(1).astype(jnp.float32)], 1) * params
        return {
            "scores": scores,
            "dimensions": jnp.zeros((len(scores), 0)),
            "utterance_index": batch["utterance_index"],
        }


def answer_all(folder, mesh) -> list:
    """Asks about the first utterances of a shuffled corpus, for every size, alone and averaged."""
    source = CorpusSource(folder, "synthetic")
    fast = SpeedView(source, SPEED)
    rows = np.random.default_rng(0).permutation(len(source))
    asked = [([source], rows[:size], NONE) for size in SIZES]
    asked += [([source, fast], rows[:size], len(source) + rows[:size]) for size in SIZES]
    return answers_of(mesh, asked)


def answers_of(mesh, asked) -> list:
    """The answers for (sources, rows, rows of copies): rows and scores of each."""
    first = asked[0][0][0]
    buckets = evaluation_buckets(
        first.num_samples, num_buckets=2, seconds_per_batch=8.0, row_multiple=4
    )
    answerer = Answerer(Loudness(), buckets=buckets, mesh=mesh, dimensions=())
    truth = Truth(
        category=np.zeros(len(first), np.int32),
        categories=np.zeros((len(first), 0), np.float32),
        dimensions=np.zeros((len(first), 0)),
        dimension_names=(),
    )
    found = []
    with jax.set_mesh(mesh):
        for sources, rows, copies in asked:
            answers = answerer(
                jnp.float32(1.0),
                sources,
                rows,
                LabelView(("happy",)),
                truth=truth,
                data=DataConfig(),
                copies=copies,
            )
            found.append([answers.rows.tolist(), answers.scores.tolist()])
    return found


def main() -> None:
    """One process of the two."""
    distributed.initialize(timeout_seconds=120)
    distributed.watch(timeout_seconds=45)
    print("FOUND " + json.dumps(answer_all(sys.argv[1], make_mesh(MeshConfig()))), flush=True)


def test_sets_of_any_size_when_two_processes_answer_then_both_know_every_row_as_one_does(
    data_dir,
):
    module = "tests.multi_process.test_evaluation"
    both = found_by_two(module, str(data_dir), devices=2, timeout=240)
    expected = answer_all(data_dir, make_mesh(MeshConfig(), jax.devices()[:1]))
    assert [len(rows) for rows, _ in expected] == [*SIZES, *SIZES]
    for found, _ in both:
        for (rows, scores), (own_rows, own_scores) in zip(expected, found, strict=True):
            assert rows == own_rows
            np.testing.assert_allclose(scores, own_scores, **LOSS_ACROSS_MESHES)


def test_copies_when_they_count_then_answers_are_the_means_of_single_ones(data_dir):
    source = CorpusSource(data_dir, "synthetic")
    fast, rows = SpeedView(source, SPEED), np.array([5, 0, 63, 17])
    asked = [([source, fast], rows, len(source) + rows[[2, 0]]), ([source], rows, NONE)]
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    (found_rows, found), (_, plain) = answers_of(mesh, asked)
    ((_, copies),) = answers_of(mesh, [([fast], rows, NONE)])
    assert found_rows == rows.tolist()
    expected = np.where([[True], [False], [True], [False]], np.mean([plain, copies], 0), plain)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(np.subtract(found, plain)).max() > 1


if __name__ == "__main__":
    main()
