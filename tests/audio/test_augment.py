import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread

from sersl.audio.augment import (
    DISTORTIONS,
    MOVING,
    RECORDED,
    check_distortion,
    chop,
    clip,
    distort,
    drop_band,
    is_on,
    shuffle,
)
from sersl.audio.decode import read_audio
from sersl.audio.prosody import pitch
from sersl.audio.surroundings import (
    NOISE_EXPONENTS,
    add_noise,
    coloured_noise,
    made_up_room,
    recorded_room,
    reverberate,
)
from sersl.audio.warp import change_speed, shift_pitch, stretch, warp_vocal_tract, warped_bins
from sersl.config.schema import DistortionConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.seeds import generator
from sersl.eval.figures.plots import spectrograms


def voice(seconds=1.0, f0=150.0, formants=(700.0, 1800.0)):
    """Harmonics of f0 under two formants."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = 0.0
    for k in range(1, int(7000 / f0)):
        gain = sum(1 / (1 + ((k * f0 - formant) / 120) ** 2) for formant in formants)
        wave = wave + gain * np.sin(2 * np.pi * k * f0 * time + k)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def rms(x):
    return np.sqrt(np.mean(np.square(x, dtype=np.float64)))


def level_db(x, low, high):
    """Power within a band, dB."""
    power = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    return 10 * np.log10(power[(hz >= low) & (hz < high)].sum() + 1e-12)


def median_f0(x):
    return np.nanmedian(pitch(x)[0])


def formant(x, low, high):
    """Centre of power between two frequencies, Hz."""
    power = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    inside = (hz >= low) & (hz < high)
    return (hz[inside] * power[inside]).sum() / power[inside].sum()


def rng(number=0):
    return np.random.default_rng(number)


@pytest.mark.parametrize("factor", [0.9, 1.25])
def test_change_speed_when_faster_then_shorter_and_higher(factor):
    changed = change_speed(voice(), factor)
    assert abs(len(changed) - SAMPLE_RATE / factor) <= 1
    np.testing.assert_allclose(median_f0(changed), 150 * factor, rtol=0.01)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_stretch_when_faster_then_shorter_at_the_same_pitch(factor):
    changed = stretch(voice(), factor)
    assert len(changed) == round(SAMPLE_RATE / factor)
    np.testing.assert_allclose(median_f0(changed), 150, rtol=0.01)
    np.testing.assert_allclose(rms(changed[2000:-2000]), rms(voice()), rtol=0.25)


@pytest.mark.parametrize("semitones", [-3.0, 2.0])
def test_shift_pitch_when_higher_then_pitch_moves_and_length_stays(semitones):
    changed = shift_pitch(voice(), semitones)
    assert changed.shape == voice().shape and changed.dtype == np.float32
    np.testing.assert_allclose(median_f0(changed), 150 * 2 ** (semitones / 12), rtol=0.01)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_warp_vocal_tract_when_warped_then_formants_move_and_pitch_stays(factor):
    before, after = voice(f0=100.0), warp_vocal_tract(voice(f0=100.0), factor)
    assert after.shape == before.shape
    np.testing.assert_allclose(median_f0(after), 100, rtol=0.01)
    moved = formant(after, 1300, 2400) / formant(before, 1300, 2400)
    np.testing.assert_allclose(moved, factor, rtol=0.03)


def test_warp_when_factor_is_one_then_the_waveform_comes_back():
    np.testing.assert_allclose(warp_vocal_tract(voice(), 1.0), voice(), atol=1e-5)
    np.testing.assert_allclose(stretch(voice(), 1.0)[600:-600], voice()[600:-600], atol=1e-4)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.2])
def test_warped_bins_when_drawn_then_they_rise_from_zero_to_the_last(factor):
    bins = warped_bins(factor)
    assert bins[0] == 0 and abs(bins[-1] - 256) < 1e-9 and (np.diff(bins) > 0).all()
    np.testing.assert_allclose(bins[100], 100 * factor)


@pytest.mark.parametrize("snr_db", [-5.0, 10.0])
def test_add_noise_when_added_then_the_ratio_is_exact(snr_db):
    clean = voice()
    noise = add_noise(clean, coloured_noise(len(clean), 1.0, rng()), snr_db=snr_db) - clean
    np.testing.assert_allclose(20 * np.log10(rms(clean) / rms(noise)), snr_db, atol=0.01)


def test_add_noise_when_voice_or_noise_is_silent_then_unchanged():
    silence = np.zeros(800, np.float32)
    np.testing.assert_array_equal(add_noise(silence, voice()[:800], snr_db=0), silence)
    np.testing.assert_array_equal(add_noise(voice()[:800], silence, snr_db=0), voice()[:800])


@pytest.mark.parametrize("colour", NOISE_EXPONENTS)
def test_coloured_noise_when_measured_then_octaves_fall_as_its_colour_says(colour):
    noise = coloured_noise(200_000, NOISE_EXPONENTS[colour], rng())
    low, high = level_db(noise, 250, 500), level_db(noise, 2000, 4000)
    # Per Hz: three octaves up, power falls by 9 dB times the exponent.
    fall = (low - 10 * np.log10(250)) - (high - 10 * np.log10(2000))
    np.testing.assert_allclose(fall, 9.03 * NOISE_EXPONENTS[colour], atol=0.7)


def test_reverberate_when_a_click_then_it_decays_by_60_db_in_the_given_time():
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[0] = 1.0
    wet = reverberate(click, made_up_room(0.5, direct_db=0.0, generator=rng()))
    wet = wet / wet[0]
    assert np.abs(wet[1:40]).max() < 1e-9  # the gap behind the direct sound
    energy = [10 * np.log10(np.square(wet[i : i + 800]).sum()) for i in (800, 4800)]
    np.testing.assert_allclose(energy[0] - energy[1], 60 * 4000 / 8000, atol=2)
    assert np.abs(wet[8100:]).max() < 1e-6
    tail = np.square(wet[1:]).sum()
    np.testing.assert_allclose(10 * np.log10(tail), 0.0, atol=0.01)


def test_reverberate_when_speech_then_level_and_length_stay():
    wet = reverberate(voice(), made_up_room(0.3, direct_db=3.0, generator=rng()))
    assert wet.shape == voice().shape
    np.testing.assert_allclose(rms(wet), rms(voice()), rtol=1e-5)


def test_reverberate_when_the_room_is_recorded_then_its_echoes_come_without_its_delay():
    recording = np.zeros(4000, np.float32)
    recording[[300, 1100]] = -0.5, 0.25  # the direct sound, upside down, and one echo
    wet = reverberate(voice(), recorded_room(recording))
    expected = voice().astype(np.float64)
    expected[800:] -= 0.5 * voice()[:-800]
    expected *= rms(voice()) / rms(expected)
    np.testing.assert_allclose(wet, -expected, atol=1e-6)
    silent = reverberate(voice(), recorded_room(np.zeros(50, np.float32)))
    np.testing.assert_array_equal(silent, voice())


@pytest.mark.parametrize("name", RECORDED)
def test_distort_when_recordings_are_given_then_they_are_what_is_heard(name):
    asked = []

    def recording(generator, num_samples):
        asked.append(num_samples)
        return generator.standard_normal(num_samples or 2000).astype(np.float32)

    config = everything()
    made_up = distort(voice(), config, rng())
    recorded = distort(voice(), config, rng(), recordings={name: recording})
    assert not np.array_equal(made_up, recorded)
    (count,) = asked
    assert (count is None) == (name == "reverb")
    again = distort(voice(), config, rng(), recordings={name: recording})
    np.testing.assert_array_equal(recorded, again)
    off = dataclasses.replace(config, **{f"{name}_probability": 0.0})
    np.testing.assert_array_equal(
        distort(voice(), off, rng(), recordings={name: recording}), distort(voice(), off, rng())
    )


def test_drop_band_when_noise_then_the_band_is_gone_and_the_rest_is_there():
    noise = rng().standard_normal(SAMPLE_RATE)
    dropped = drop_band(noise, 1000, 2000)
    assert level_db(dropped, 1000, 2000) < level_db(noise, 1000, 2000) - 100
    for low, high in ((100, 890), (2110, 7900)):
        np.testing.assert_allclose(level_db(dropped, low, high), level_db(noise, low, high))


def test_clip_when_clipped_then_nothing_is_above_the_share_of_the_peak():
    clipped = clip(voice(), 0.3)
    np.testing.assert_allclose(np.abs(clipped).max(), 0.3 * np.abs(voice()).max(), rtol=1e-6)
    quiet = np.abs(voice()) < 0.3 * np.abs(voice()).max()
    np.testing.assert_array_equal(clipped[quiet], voice()[quiet])


def test_chop_when_chopped_then_pieces_are_silent_and_the_rest_is_untouched():
    chopped = chop(voice(), pieces=3, seconds=0.05, generator=rng())
    gone = chopped != voice()
    assert (chopped[gone] == 0).all()
    assert 0.03 < gone.mean() < 0.3


def test_shuffle_when_shuffled_then_the_same_pieces_in_another_order():
    ramp = np.arange(SAMPLE_RATE, dtype=np.float32)
    shuffled = shuffle(ramp, pieces=4, generator=rng())
    np.testing.assert_array_equal(np.sort(shuffled), ramp)
    breaks = np.flatnonzero(np.diff(shuffled) != 1)
    assert 1 <= len(breaks) <= 3
    assert (shuffled[breaks + 1] % 320 == 0).all()


def test_distort_when_nothing_has_a_probability_then_the_same_array():
    config = DistortionConfig()
    assert not is_on(config)
    assert distort(voice(), config, rng()) is not None
    np.testing.assert_array_equal(distort(voice(), config, rng()), voice())


def test_defaults_when_read_then_every_distortion_is_off():
    off = {f"{name}_probability" for name in DISTORTIONS}
    fields = {f.name for f in dataclasses.fields(DistortionConfig) if "probability" in f.name}
    assert fields == off
    assert all(getattr(DistortionConfig(), name) == 0.0 for name in off)


def everything(probability=1.0, leave_out=()):
    return DistortionConfig(
        **{f"{name}_probability": probability for name in DISTORTIONS if name not in leave_out}
    )


@pytest.mark.parametrize("name", DISTORTIONS)
def test_distort_when_one_is_on_then_it_changes_the_waveform_and_leaves_the_input(name):
    config = DistortionConfig(**{f"{name}_probability": 1.0})
    before = voice(f0=137.0)  # 150 Hz would repeat after 320 samples, and hide a shuffle
    after = distort(before, config, generator(0, "distort", 3, 7))
    np.testing.assert_array_equal(before, voice(f0=137.0))
    assert after.dtype == np.float32 and np.isfinite(after).all()
    assert name == "speed" or after.shape == before.shape
    assert not np.array_equal(after, before)


def test_distort_when_addressed_alike_then_alike_and_otherwise_not():
    config = everything()
    same = [distort(voice(), config, generator(0, "distort", 3, 7)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    for address in ((4, 7), (3, 8)):
        other = distort(voice(), config, generator(0, "distort", *address))
        assert other.shape != same[0].shape or not np.array_equal(other, same[0])


def test_distort_when_another_is_switched_on_then_draws_of_the_first_stay():
    gain = DistortionConfig(gain_probability=1.0)
    both = dataclasses.replace(gain, clip_probability=1.0, clip_min=1.0, clip_max=1.0)
    np.testing.assert_allclose(distort(voice(), gain, rng()), distort(voice(), both, rng()))


def test_distort_when_probability_is_a_half_then_half_are_changed():
    config = DistortionConfig(gain_probability=0.5)
    short = voice(0.05)
    changed = [not np.array_equal(distort(short, config, rng(i)), short) for i in range(400)]
    assert 0.42 < np.mean(changed) < 0.58


@pytest.mark.parametrize("samples", [0, 1, 400, 1000])
def test_distort_when_short_or_silent_then_finite(samples):
    for waveform in (np.zeros(samples, np.float32), voice()[:samples]):
        assert np.isfinite(distort(waveform, everything(), rng())).all()


def test_check_distortion_when_settings_make_no_sense_then_user_error():
    with pytest.raises(UserError, match="did you mean 'pink'"):
        check_distortion(DistortionConfig(noise_colour="pnk"), keep_time=False)
    with pytest.raises(UserError, match="swap them"):
        check_distortion(DistortionConfig(noise_min_snr_db=20.0), keep_time=False)
    for name in RECORDED:
        with pytest.raises(UserError, match=f"{name}_probability is 0: set the probability"):
            check_distortion(DistortionConfig(**{f"{name}_corpora": ("musan",)}), keep_time=True)
    for name in MOVING:
        config = DistortionConfig(**{f"{name}_probability": 0.5})
        check_distortion(config, keep_time=False)
        with pytest.raises(UserError, match="moves sounds in time"):
            check_distortion(config, keep_time=True)


@pytest.mark.corpora
def test_distort_when_drawn_then_a_picture_of_every_distortion(corpora_dir, tmp_path):
    speech = read_audio(corpora_dir / "ravdess" / "Actor_17" / "03-01-06-02-01-01-17.flac")[:48_000]
    drawn = {"undistorted": speech}
    for name in DISTORTIONS:
        config = DistortionConfig(**{f"{name}_probability": 1.0})
        drawn[name] = distort(speech, config, generator(0, "draw", 0))
    spectrograms(tmp_path / "distortions.png", waveforms=drawn, sample_rate=SAMPLE_RATE)
    picture = imread(tmp_path / "distortions.png")
    assert picture.shape[0] > 2000 and picture[..., :3].std() > 0.05


@pytest.mark.corpora
def test_distort_when_real_speech_then_it_is_heard_through_all_of_them(corpora_dir):
    file = sorted((corpora_dir / "ravdess").rglob("*.*"))
    file = next(f for f in file if f.suffix in (".wav", ".flac", ".opus", ".ogg", ".mp3"))
    speech = read_audio(file)
    for number in range(3):
        after = distort(speech, everything(leave_out=("speed",)), rng(number))
        assert after.shape == speech.shape and np.isfinite(after).all() and rms(after) > 1e-4
