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
from sersl.eval.answers import Answerer, Truth
from sersl.parallel import distributed
from sersl.parallel.mesh import make_mesh
from tests.multi_process.processes import found_by_two
from tests.tolerances import LOSS_ACROSS_MESHES

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
    """Asks about the first utterances of a shuffled corpus, for every size."""
    source = CorpusSource(folder, "synthetic")
    buckets = evaluation_buckets(
        source.num_samples, num_buckets=2, seconds_per_batch=8.0, row_multiple=4
    )
    answerer = Answerer(Loudness(), buckets=buckets, mesh=mesh, dimensions=())
    order = np.random.default_rng(0).permutation(len(source))
    found = []
    with jax.set_mesh(mesh):
        for size in SIZES:
            answers = answerer(
                jnp.float32(1.0),
                [source],
                order[:size],
                LabelView(("happy",)),
                truth=Truth(
                    category=np.zeros(len(source), np.int32),
                    categories=np.zeros((len(source), 0), np.float32),
                    dimensions=np.zeros((len(source), 0)),
                    dimension_names=(),
                ),
                data=DataConfig(),
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
    assert [len(rows) for rows, _ in expected] == list(SIZES)
    for found, _ in both:
        for (rows, scores), (own_rows, own_scores) in zip(expected, found, strict=True):
            assert rows == own_rows
            np.testing.assert_allclose(scores, own_scores, **LOSS_ACROSS_MESHES)


if __name__ == "__main__":
    main()
