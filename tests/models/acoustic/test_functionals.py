import jax.numpy as jnp
import numpy as np
import pytest

from sersl.core.lengths import num_frames, num_samples
from sersl.models.acoustic import functionals as f
from sersl.models.acoustic.descriptors import NAMES, Descriptors, describe
from tests.own_rows import kinds_sent
from tests.tolerances import FP32, FP32_DEEP


def drawn(T=70, seed=0):
    """Descriptors [2, T, D] of random values; the second row has 20 frames of padding."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, T, len(NAMES))).astype(np.float32)
    values[..., NAMES.index("level")] = rng.uniform(-80, -20, (2, T))
    values[..., NAMES.index("loudness")] = rng.uniform(0, 3, (2, T))
    voiced = rng.random((2, T)) < 0.6
    valid = np.arange(T) < np.array([[T], [T - 20]])
    values[~valid] = 0
    return Descriptors(*map(jnp.asarray, (values, voiced & valid, valid)))


def reference(values, voiced):
    """One utterance without padding, [T, D] and [T], in NumPy."""
    column = dict(zip(NAMES, values.T.astype(np.float64), strict=True))
    level = column["level"]
    active = level > np.percentile(level, 95) - 30
    frames = {"active": active, "voiced": active & voiced, "unvoiced": active & ~voiced}
    expected = {}

    def add(name, x):
        got = [x.mean(), x.std(), *np.percentile(x, (20, 50, 80))] if len(x) > 1 else [0] * 5
        expected.update(
            {
                f"{name}_{s}": v
                for s, v in zip(("mean", "std", "p20", "p50", "p80"), got, strict=True)
            }
        )

    for name in ("level", "loudness", "flux", "voicing"):
        add(f"{name}_active", column[name][active])
    spectrum = ("alpha_ratio", "hammarberg", "slope_0_500", "slope_500_1500", "centroid")
    for name in ("f0", "hnr", "h1_h2", *spectrum, "mfcc1", "mfcc2", "mfcc3", "mfcc4"):
        add(f"{name}_voiced", column[name][frames["voiced"]])
    for name in spectrum:
        add(f"{name}_unvoiced", column[name][frames["unvoiced"]])
    for group, names in (("active", ("level", "loudness")), ("voiced", ("f0",))):
        both = frames[group][1:] & frames[group][:-1]
        for name in names:
            add(f"{name}_change_{group}", np.abs(np.diff(column[name]))[both])
    at = np.flatnonzero(active)
    inside = at[-1] - at[0] + 1
    v = frames["voiced"].astype(int)
    segments = (np.diff(np.concatenate([[0], v])) == 1).sum()
    loud = column["loudness"]
    peaks = sum(
        loud[t] > loud[t - 1] and loud[t] >= loud[t + 1] and loud[t] > 0.3 * loud.max()
        for t in range(1, len(loud) - 1)
    )
    return expected | {
        "duration": inside / 50,
        "active_share": active.mean(),
        "voiced_share": v.sum() / active.sum(),
        "voiced_per_second": segments / (inside / 50),
        "voiced_length": v.sum() / segments / 50,
        "unvoiced_length": (inside - v.sum()) / segments / 50,
        "peaks_per_second": peaks / (inside / 50),
        "equivalent_level": 10 * np.log10((10 ** (level / 10)).mean()),
        "top_level": np.percentile(level, 95),
    }


def test_functionals_of_random_descriptors_are_those_of_plain_numpy():
    given = drawn()
    found = np.asarray(f.functionals(given))
    assert found.shape == (2, len(f.FUNCTIONALS)) and len(set(f.FUNCTIONALS)) == found.shape[1]
    for row, frames in enumerate((70, 50)):
        expected = reference(
            np.asarray(given.values[row, :frames]), np.asarray(given.voiced[row, :frames])
        )
        assert set(expected) == set(f.FUNCTIONALS)
        for name, value in expected.items():
            got = found[row, f.FUNCTIONALS.index(name)]
            np.testing.assert_allclose(got, value, err_msg=name, **FP32_DEEP)


def test_masked_statistics_of_few_frames_are_zero():
    values = jnp.asarray([[[1.0], [2.0], [7.0]]])
    where = jnp.asarray([[True, False, True]])[..., None]
    np.testing.assert_allclose(
        f.masked_statistics(values, where)[0, 0], [4, 3, 2.2, 4, 5.8], **FP32
    )
    for chosen in ([True, False, False], [False] * 3):
        assert not f.masked_statistics(values, jnp.asarray([chosen])[..., None]).any()


def test_functionals_do_not_depend_on_padding_and_are_finite_for_any_audio():
    rng = np.random.default_rng(1)
    t = np.arange(num_samples(60)) / 16000
    voice = 0.05 * sum(np.cos(2 * np.pi * 180 * k * t) / k for k in range(1, 20))
    sounds = [voice, np.zeros(8000), rng.normal(size=9000), voice[:400]]
    size = num_samples(128)
    batch = np.zeros((5, size), np.float32)
    for row, sound in enumerate(sounds):
        batch[row, : len(sound)] = sound
    lengths = np.array([*map(len, sounds), 0])  # the last row is padding altogether
    found = np.asarray(f.utterance_functionals(batch, lengths))
    assert np.isfinite(found).all()
    alone = np.asarray(f.utterance_functionals(batch[:1, : len(voice)], lengths[:1]))
    np.testing.assert_allclose(found[0], alone[0], **FP32_DEEP)
    duration = found[:, f.FUNCTIONALS.index("duration")]
    assert duration[0] == pytest.approx(num_frames(len(voice)) / 50)
    louder = np.asarray(f.utterance_functionals(2 * batch, lengths))[0] - found[0]
    assert louder[f.FUNCTIONALS.index("equivalent_level")] == pytest.approx(6.02, abs=0.01)
    assert louder[f.FUNCTIONALS.index("f0_voiced_p50")] == pytest.approx(0, abs=1e-3)
    assert describe(batch, lengths).values.shape == (5, 128, len(NAMES))


def test_functionals_when_rows_are_on_eight_devices_then_nothing_travels():
    rng = np.random.default_rng(0)
    waveform = (0.1 * rng.normal(size=(16, 8000))).astype(np.float32)
    count = rng.integers(4000, 8001, 16)
    assert kinds_sent(lambda rows: f.utterance_functionals(*rows), (waveform, count)) == set()
