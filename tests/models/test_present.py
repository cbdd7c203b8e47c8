"""Drawn frames: as many as asked for, real, in order, the same on any mesh."""

import math

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.models.present import draw_frames

COUNTS = np.array([40, 25, 7, 1, 0, 40, 33, 12])
FRAMES = 40


def drawn(share, seed=0, place=lambda x: x):
    """Draws from states that hold the number of their frame; returns those and what is valid."""
    valid = np.arange(FRAMES) < COUNTS[:, None]
    states = np.broadcast_to(np.arange(FRAMES, dtype=np.float32)[:, None], (2, 8, FRAMES, 3))
    draw = jax.jit(draw_frames, static_argnames="share")
    kept, own = draw(
        place(np.ascontiguousarray(states)), place(valid), share=share, key=jax.random.key(seed)
    )
    return np.asarray(kept), np.asarray(own)


def test_draw_frames_when_a_share_is_asked_for_then_as_many_real_frames_in_order():
    kept, valid = drawn(0.3)
    assert kept.shape == (2, 8, math.ceil(0.3 * FRAMES), 3)
    for row, count in enumerate(COUNTS):
        frames = kept[0, row, valid[row], 0]
        assert len(frames) == math.ceil(0.3 * count - 1e-6)
        assert (np.diff(frames) > 0).all() and (frames < count).all()
    np.testing.assert_array_equal(kept[0], kept[1])


def test_draw_frames_when_drawn_often_then_every_frame_is_as_likely():
    times = np.zeros(FRAMES)
    for seed in range(200):
        kept, valid = drawn(0.3, seed)
        times[kept[0, 0, valid[0], 0].astype(int)] += 1
    # 60 of 200 with a standard deviation of 6.5
    assert (np.abs(times - 60) < 5 * 6.5).all() and times.sum() == 200 * 12


def test_draw_frames_when_rows_are_on_eight_devices_then_the_same():
    mesh = jax.make_mesh((8,), ("data",))

    def place(x):
        rows = P("data") if x.ndim == 2 else P(None, "data")
        return jax.device_put(x, NamedSharding(mesh, rows))

    for one, eight in zip(drawn(0.5), drawn(0.5, place=place), strict=True):
        np.testing.assert_array_equal(one, eight)
