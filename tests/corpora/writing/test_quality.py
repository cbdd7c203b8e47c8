import json
import re

import numpy as np
import pytest
import soundfile

from sersl.audio.levels import measure
from sersl.cli.prepare import run
from sersl.core.errors import UserError
from sersl.corpora.prepare import prepare
from sersl.corpora.writing.quality import Faults, Spread, read_faults

RATE = 16_000


def speech(seconds=2.0, snr=40.0, rate=RATE):
    """A tone that comes and goes every half second, in steady noise: [N] float64."""
    time = np.arange(round(seconds * rate)) / rate
    voice = 0.3 * np.sin(2 * np.pi * 200 * time) * (time % 1 < 0.5)
    noise = np.random.default_rng(0).standard_normal(len(time))
    return voice + noise * np.sqrt(np.mean(voice**2) / 10 ** (snr / 10))


def measured(waveform):
    return measure(np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16))


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0, 40.0, 60.0])
def test_snr_when_noise_of_known_power_is_added_then_it_is_found(snr):
    assert measured(speech(seconds=4.0, snr=snr)).snr == pytest.approx(snr, abs=1.0)


def test_snr_when_it_cannot_be_told_then_it_is_nan():
    assert np.isnan(measured(np.zeros(RATE)).snr)
    assert np.isnan(measured(speech(seconds=0.1)).snr)
    gated = speech(seconds=4.0, snr=20.0)
    gated[: 2 * RATE] = 0  # an editor's zeros say nothing of the room
    assert measured(gated).snr == pytest.approx(20.0, abs=1.0)


@pytest.mark.parametrize("offset", [0.001, 0.05, -0.3])
def test_snr_and_silence_when_there_is_an_offset_then_are_those_of_the_sound(offset):
    waveform = speech(seconds=4.0, snr=60.0)
    plain, shifted = measured(waveform), measured(waveform + offset)
    assert shifted.snr == pytest.approx(plain.snr, abs=0.1)
    assert shifted.silence == pytest.approx(plain.silence, abs=0.01)


def test_levels_when_measured_then_are_those_of_plain_numpy():
    waveform = speech(seconds=1.0) + 0.05
    levels = measured(waveform)
    assert levels.level == pytest.approx(10 * np.log10(np.mean(waveform**2)), abs=0.01)
    assert levels.offset == pytest.approx(waveform.mean(), abs=1e-4)
    assert levels.peak == pytest.approx(np.abs(waveform).max(), abs=1e-4)
    assert measured(speech(seconds=4.0, snr=60.0)).silence == pytest.approx(0.5, abs=0.02)


def test_clipping_when_samples_touch_full_scale_then_only_runs_of_three_count():
    waveform = np.zeros(RATE)
    waveform[[10, 20, 21]] = 1.0
    assert measured(waveform).clipped == 0
    waveform[100:103], waveform[200:210], waveform[-3:] = 1.0, -1.0, 1.0
    assert measured(waveform).clipped == 16


def test_spread_when_values_are_counted_then_quantiles_are_right_to_within_a_bin():
    values = np.random.default_rng(0).gamma(2.0, 2.0, 5000) + 0.03
    spread = Spread(0.05, logarithmic=True)
    for value in [*values, float("nan")]:
        spread.add(float(value))
    summary = spread.summary()
    for name, share in (("p05", 5), ("p50", 50), ("p95", 95)):
        assert summary[name] == pytest.approx(np.percentile(values, share), rel=0.05)
    assert (summary["count"], sum(n for _, _, n in summary["bins"])) == (5000, 5000)
    assert summary["mean"] == pytest.approx(values.mean(), abs=1e-3)
    assert len(spread.bins) < 200 and Spread(1.0).summary() is None


def test_faults_when_there_are_many_then_all_are_counted_and_the_worst_named():
    faults = Faults()
    for number in np.random.default_rng(0).permutation(1000):
        faults.add(float(number), f"u{number}", float(number))
    summary = faults.summary()
    assert summary["count"] == 1000
    assert [name for name, _ in summary["worst"]] == [f"u{n}" for n in range(999, 979, -1)]


@pytest.fixture
def manifest(tmp_path):
    """Recordings with one fault each; `good` has none."""
    files = {
        "good.wav": (speech(), RATE),
        "same.wav": (speech(), RATE),
        "clip.wav": (np.clip(9 * speech(), -1, 1), RATE),
        "offset.wav": (speech() + 0.1, RATE),
        "noisy.wav": (speech(snr=3.0), RATE),
        "pause.flac": (np.concatenate([speech(), np.zeros(9 * RATE)]), RATE),
        "stereo.wav": (np.stack([speech(rate=44_100)] * 2, 1), 44_100),
    }
    for name, (samples, rate) in files.items():
        soundfile.write(tmp_path / name, samples, rate)
    (tmp_path / "<b>.wav").write_text("not audio")
    rows = [f"{name},{'ann' if 'o' in name else 'bob'},sad" for name in [*files, "<b>.wav"]]
    (tmp_path / "own.csv").write_text("path,speaker,emotion\n" + "\n".join(rows) + "\n")
    return tmp_path / "own.csv"


def test_prepare_when_recordings_have_faults_then_the_report_counts_and_names_them(
    manifest, tmp_path
):
    folder = prepare(data_dir=tmp_path / "data", manifest=manifest).folder
    content = json.loads((folder / "quality.json").read_text())
    found = {name: [w for w, _ in fault["worst"]] for name, fault in content["faults"].items()}
    assert found["clipping"] == ["clip"] and found["dc_offset"] == ["offset"]
    assert found["mostly_silent"] == ["pause"] and "noisy" in found["low_snr"]
    assert "good" not in {name for names in found.values() for name in names}
    assert [item["path"] for item in content["unreadable"]] == ["<b>.wav"]
    assert content["duplicates"] == [["good", "same"]]
    assert content["native"]["sample_rate"] == {"16000": 6, "44100": 1}
    assert content["native"]["channels"] == {"1": 6, "2": 1}
    assert content["native"]["format"] == {"FLAC PCM_16": 1, "WAV PCM_16": 6}
    assert content["counts"]["category"] == {"sad": {"utterances": 7, "seconds": 23.0}}
    assert content["counts"]["speaker"]["ann"]["utterances"] == 4
    assert content["spreads"]["duration"]["max"] == 11.0
    assert ("clipped", 1) in read_faults(folder)


def test_page_when_written_then_it_needs_no_other_file_and_trusts_no_name(manifest, tmp_path):
    folder = prepare(data_dir=tmp_path / "data", manifest=manifest).folder
    page = (folder / "quality.html").read_text()
    assert "&lt;b&gt;.wav" in page and "<b>.wav" not in page
    assert page.count("<svg") == 5 and not re.search(r"(src|href)=", page)
    assert "10 log10((P - N) / N)" in page


def test_report_when_made_twice_then_it_is_the_same(manifest, tmp_path):
    folders = [prepare(data_dir=tmp_path / d, manifest=manifest).folder for d in ("one", "two")]
    for name in ("quality.json", "quality.html"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_run_when_done_then_the_report_is_named(manifest, tmp_path, arguments, capsys):
    given = arguments(manifest=str(manifest), data_dir=str(tmp_path / "data"))
    assert run(given) == 0
    out = capsys.readouterr().out
    page = tmp_path / "data" / "own" / "1.0.0" / "quality.html"
    assert f"quality      {page}" in out and "look at      clipped 1, mostly silent 1" in out


def test_read_faults_when_prepared_before_there_were_reports_then_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"no quality\.json.*--overwrite"):
        read_faults(tmp_path)
