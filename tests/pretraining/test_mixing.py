import jax
import numpy as np

from sersl.config.schema import MixingConfig
from sersl.pretraining.mixing import mix_utterances
from tests.tolerances import FP32

B, N = 600, 400
LENGTHS = np.where(np.arange(B) % 3, N, 250)
VALID = np.arange(N) < LENGTHS[:, None]


def example():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(B, N)) * 0.1 * VALID).astype(np.float32)


def mix(waveform, valid=VALID, **settings):
    config = MixingConfig(**settings)
    return np.asarray(mix_utterances(waveform, valid, config=config, key=jax.random.key(0)))


def test_mix_utterances_when_compared_with_loops_then_equal_and_within_the_limits():
    waveform = example()
    mixed = mix(waveform, probability=0.4)
    draws = np.asarray(jax.random.uniform(jax.random.key(0), (6, B)))
    expected, changed = waveform.copy(), 0
    for row, (who, share, where, source, loud, whether) in enumerate(draws.T):
        if whether >= 0.4:
            continue
        changed += 1
        other = (row + 1 + int(who * (B - 1))) % B
        assert other != row
        longest = min(int(0.5 * LENGTHS[row]), LENGTHS[other])
        length = min(int(share * longest) + 1, longest)
        start = int(where * (LENGTHS[row] - length + 1))
        begin = int(source * (LENGTHS[other] - length + 1))
        energies = [np.square(waveform[r, : LENGTHS[r]]).mean() for r in (row, other)]
        ratio = 10 ** ((-5 + 10 * loud) / 10)
        part = waveform[other, begin : begin + length]
        part = part * np.sqrt(energies[0] / energies[1] / ratio)
        assert length <= LENGTHS[row] / 2 and start + length <= LENGTHS[row]
        assert begin + length <= LENGTHS[other]
        expected[row, start : start + length] += part
    np.testing.assert_allclose(changed / B, 0.4, atol=0.06)
    np.testing.assert_allclose(mixed, expected, **FP32)


def test_mix_utterances_when_off_alone_or_silent_then_nothing_changes():
    waveform = example()
    np.testing.assert_array_equal(mix(waveform, probability=0.0), waveform)
    np.testing.assert_array_equal(mix(waveform[:1], VALID[:1], probability=1.0), waveform[:1])
    silent = np.zeros_like(waveform)
    np.testing.assert_array_equal(mix(silent, probability=1.0), silent)
    nothing = np.zeros_like(VALID)
    assert np.isfinite(mix(waveform, nothing, probability=1.0)).all()
