"""Which checkpoints stay."""

import datetime
import resource
import signal

import jax.numpy as jnp
import pytest

from sersl.config.schema import CheckpointConfig
from sersl.core.errors import UserError
from sersl.runs.checkpoint import Checkpoints, newest_step
from sersl.runs.retention import Retention

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def stays(losses: dict, *, minutes: int = 30, **settings) -> list[int]:
    """Steps that stay of checkpoints written one after the other."""
    retention = Retention(losses.get, **settings)
    kept: list[int] = []
    when = {s: START + i * datetime.timedelta(minutes=minutes) for i, s in enumerate(losses)}
    for step in losses:
        kept.append(step)
        decided = retention.stays([(s, when[s]) for s in kept])
        assert decided[-1], "the one being written always stays"
        kept = [s for s, keep in zip(kept, decided, strict=True) if keep]
    return kept


LOSSES = {1: 5.0, 2: 3.0, 3: 4.0, 4: None, 5: 2.0, 6: 6.0, 7: 2.5, 8: 7.0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"keep_last": 1}, [8]),
        ({"keep_last": 3}, [6, 7, 8]),
        ({"keep_last": 1, "keep_best": 1}, [5, 8]),
        ({"keep_last": 2, "keep_best": 2}, [5, 7, 8]),
        ({"keep_last": 1, "keep_best": 3}, [2, 5, 7, 8]),
        # half an hour apart: the first, and one every hour and a half
        ({"keep_last": 1, "keep_every_hours": 1.5}, [1, 4, 7, 8]),
        ({"keep_last": 1, "keep_best": 1, "keep_every_hours": 2.0}, [1, 5, 8]),
    ],
)
def test_checkpoints_when_written_in_turn_then_last_best_and_hourly_ones_stay(settings, expected):
    assert stays(LOSSES, **settings) == expected


def test_checkpoints_when_losses_are_equal_then_the_newest_is_the_best():
    assert stays({1: 1.0, 2: 1.0, 3: 2.0}, keep_last=1, keep_best=1) == [2, 3]


def test_folder_when_opened_again_then_the_best_of_before_is_still_known(tmp_path):
    config = CheckpointConfig(keep_last=1, keep_best=1)
    for steps in ([(1, 3.0), (2, 1.0), (3, 2.0)], [(4, 1.5), (5, None)]):
        checkpoints = Checkpoints.of(tmp_path, config)
        for step, loss in steps:
            checkpoints.save(step, {"params": {"w": jnp.ones(3)}}, config={"loss": loss})
        checkpoints.close()
    assert checkpoints.steps() == [2, 5]


@pytest.fixture
def full_disk():
    """Limits how large a file may grow: what goes beyond fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_folder_when_a_save_fails_then_the_only_good_one_stays(tmp_path, full_disk):
    params = {"params": {"w": jnp.ones(3)}}
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(1, params, config={})
    checkpoints.wait()
    full_disk(300)
    with pytest.raises(UserError, match=r"could not be written .* checkpoint 1 is still"):
        checkpoints.save(2, params, config={})
        checkpoints.wait()
    full_disk(1 << 30)
    assert newest_step(tmp_path) == 1
    again = Checkpoints(tmp_path, keep_last=1)
    again.save(2, params, config={})
    again.close()
    assert again.steps() == [2]
