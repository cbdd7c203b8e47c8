"""Conditions against plain NumPy."""

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.data import conditions
from sersl.data.conditions import CONDITIONS, apply_condition, chosen_conditions

RATE = 16_000


def voice(seconds=1.0):
    time = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * 440 * time) + 0.5 * np.sin(2 * np.pi * 1800 * time)
    return (0.2 * tone * (1.2 + np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def changed(name, waveform, *, seed=0, noise=None):
    random = np.random.default_rng(seed)
    return apply_condition(CONDITIONS[name], waveform, random, noise=noise)


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("snr", conditions.SNRS_DB)
def test_noise_when_added_then_the_ratio_of_powers_is_as_named(kind, snr):
    clean = voice()
    added = changed(f"{kind}_{snr}dB", clean).astype(np.float64) - clean
    found = 10 * np.log10(np.mean(np.square(clean, dtype=np.float64)) / np.mean(added**2))
    assert found == pytest.approx(snr, abs=1e-3)
    power = np.square(np.abs(np.fft.rfft(added)))
    octaves = [power[low : 2 * low].mean() for low in (250, 500, 1000, 2000)]
    slope = np.polyfit(np.arange(4), 10 * np.log10(octaves), 1)[0]  # dB per octave
    assert slope == pytest.approx({"white": 0.0, "pink": -3.01}[kind], abs=0.6)


def test_noise_when_it_is_recorded_then_the_given_one_is_scaled():
    clean, own = voice(), np.arange(RATE) % 7 - 3.0
    found = changed("recorded_5dB", clean, noise=lambda generator, length: own[:length])
    scale = np.sqrt(np.mean(clean.astype(float) ** 2) / np.mean(own**2)) * 10 ** (-5 / 20)
    np.testing.assert_allclose(found, clean + scale * own, atol=1e-6)


@pytest.mark.parametrize("seconds", conditions.ROOMS_SECONDS)
def test_room_when_applied_then_a_click_decays_by_60_db_in_its_time(seconds):
    click = np.zeros(2 * RATE, np.float32)
    click[0] = 0.5
    found = changed(f"room_{seconds:g}s", click).astype(np.float64)
    # Schroeder 1965: the energy that is still to come, from 5 to 25 dB below the whole.
    tail = found[int(0.003 * RATE) :]
    energy = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    first, last = (np.flatnonzero(energy < level)[0] for level in (-5, -25))
    assert (last - first) / RATE * 3 == pytest.approx(seconds, rel=0.15)


def test_telephone_when_applied_then_only_300_to_3400_hz_are_left():
    random = np.random.default_rng(0)
    noise = (0.1 * random.normal(size=4 * RATE)).astype(np.float32)
    ratio = np.abs(np.fft.rfft(changed("telephone", noise))) / np.abs(np.fft.rfft(noise))
    hz = np.fft.rfftfreq(4 * RATE, 1 / RATE)

    def gain(low, high):
        return np.median(ratio[(hz > low) & (hz < high)])

    assert gain(500, 3000) == pytest.approx(1.0, abs=0.05)
    assert gain(0, 150) < 0.02 and gain(3900, 8000) < 0.02


def test_mu_law_when_applied_then_as_g711_in_plain_numpy_on_the_telephone_band():
    clean = voice()
    band = conditions.telephone_band(clean)
    # ITU-T G.711: the continuous curve, of which its segments are an approximation.
    curve = np.sign(band) * np.log1p(255 * np.abs(band)) / np.log(256)
    levels = np.round(curve * 127) / 127
    expected = np.sign(levels) * (256 ** np.abs(levels) - 1) / 255
    error = conditions._encoded(band, "mu_law", low=False) - band
    assert np.sqrt(np.mean(error**2)) == pytest.approx(
        np.sqrt(np.mean((expected - band) ** 2)), rel=0.35
    )
    difference = changed("mu_law", clean) - changed("telephone", clean)
    assert 0 < np.abs(difference).max() < 0.02


@pytest.mark.parametrize("name", ["mp3", "mp3_low", "vorbis", "opus", "opus_low", "gsm"])
def test_codec_when_applied_then_the_sound_is_alike_and_not_delayed(name):
    time = np.arange(RATE) / RATE
    clean = (0.3 * np.sin(2 * np.pi * (400 * time + 600 * time**2))).astype(np.float32)
    found = changed(name, clean)
    assert found.shape == clean.shape and found.dtype == np.float32
    assert not np.array_equal(found, clean)
    lag = np.correlate(found, clean, "full").argmax() - len(clean) + 1
    assert abs(lag) <= 2
    assert np.corrcoef(found, clean)[0, 1] > 0.9
    np.testing.assert_array_equal(found, changed(name, clean, seed=5))


def test_codec_when_a_recording_is_louder_than_full_scale_then_it_is_not_clipped():
    loud = 8 * voice()
    found = changed("vorbis", loud)
    assert np.corrcoef(found, loud)[0, 1] > 0.99 and np.abs(found).max() > 1.5


def test_conditions_when_chosen_then_clean_is_first_and_a_group_is_all_of_it():
    assert [c.name for c in chosen_conditions(["pink", "mp3"])] == [
        "clean",
        *(f"pink_{snr}dB" for snr in conditions.SNRS_DB),
        *("mp3", "mp3_low"),
    ]
    assert [c.name for c in chosen_conditions(["mu_law"])] == ["clean", "mu_law"]
    assert len(chosen_conditions([])) == len(CONDITIONS)
    with pytest.raises(UserError, match=r"'pinc'.*pink"):
        chosen_conditions(["pinc"])


@pytest.mark.parametrize("name", [name for name in CONDITIONS if not name.startswith("recorded")])
def test_condition_when_the_recording_is_short_or_silent_then_it_stays_finite(name):
    for waveform in (np.zeros(RATE // 10, np.float32), voice(0.1)):
        found = (
            changed(name, waveform, noise=lambda random, length: random.normal(size=length))
            if name.startswith("babble")
            else changed(name, waveform)
        )
        assert found.shape == waveform.shape and np.isfinite(found).all()
