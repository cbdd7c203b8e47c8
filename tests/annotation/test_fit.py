"""Fitting annotators from the command line, using them, and what goes wrong."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sersl.annotation.annotate import load_sidecar_info
from sersl.annotation.fitted import open_fitted
from sersl.annotation.sidecar_records import device_tracks
from sersl.annotation.stretches import MAX_FRAMES, make_batches, make_stretches, padded_frames
from sersl.audio.prosody import pitch
from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.corpora.index import INDEX_SCHEMA
from sersl.data.sources import CorpusSource
from tests.data.doubles import prepare

LENGTHS = [8000 + 40 * i for i in range(32)] + [300]
SIZES = {
    "num_mels": 8,
    "width": 6,
    "recurrent": 4,
    "num_convolutions": 1,
    "num_steps": 3,
    "batch": 4,
}
NANO = [f"--config.strength.{key}={value}" for key, value in SIZES.items()]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Two corpora whose odd utterances are strong."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("alpha", "beta"):
        prepare(folder, name, LENGTHS)
        file = folder / name / "1.0.0" / "index.parquet"
        rows = pq.read_table(file).to_pylist()
        for i, row in enumerate(rows):
            row["intensity"] = float(i // 4 % 2) if row["category"] != "neutral" else float("nan")
        pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), file)
    return folder


def annotate(data_dir, *words):
    return main(["annotate", "--data_dir", str(data_dir), *map(str, words)])


@pytest.fixture(scope="module")
def ranker(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted") / "emotional"
    settings = ("--config.ranker.min_utterances=4", "--config.ranker.max_pairs=50")
    words = ("--fit", "ranker", "--corpus", "alpha,beta", "--output", folder, *settings)
    assert annotate(data_dir, *words) == 0
    return folder


def test_fit_of_a_ranker_makes_a_folder_that_annotates_one_intensity_per_utterance(
    data_dir, ranker, capsys
):
    about = json.loads((ranker / "annotator.json").read_text())
    assert about["kind"] == "ranker" and about["rankers"] == ["any", "angry", "sad"]
    assert [c["corpus"] for c in about["trained_on"]] == ["alpha", "beta"]
    assert about["config"]["max_pairs"] == 50
    assert annotate(data_dir, "--annotator", ranker, "--corpus", "alpha", "--check") == 0
    out = capsys.readouterr().out
    assert "annotated by emotional" in out and "ROC area of strong against normal" in out
    source = CorpusSource(data_dir, "alpha", annotator="emotional")
    for row, length in enumerate(LENGTHS):
        frames, _ = source.frames(row, num_frames=num_frames(length))
        assert frames.shape == (num_frames(length),) and (frames == frames[:1]).all()
        assert ((frames > 0) & (frames < 1)).all()
    info = load_sidecar_info("emotional", "alpha", data_dir=data_dir)
    assert info["identity"]["weights"] == open_fitted(ranker)._fitted.fingerprint
    assert annotate(data_dir, "--annotator", ranker, "--corpus", "alpha") == 0
    assert "already annotated by emotional" in capsys.readouterr().out


@pytest.mark.slow
def test_fit_of_a_strength_network_learns_from_a_ranker_or_from_the_corpus(
    data_dir, ranker, tmp_path, capsys
):
    words = ("--fit", "strength", "--corpus", "alpha", *NANO)
    own = (*words, "--output", tmp_path / "own", "--config.strength.supervision=intensity")
    assert annotate(data_dir, *own) == 0
    taught = (*words, "--output", tmp_path / "taught", f"--config.strength.ranker={ranker}")
    assert annotate(data_dir, *taught) == 0
    assert "fit: step 3 of 3" in capsys.readouterr().err
    picture = ("--check", "--output", tmp_path / "check")
    assert annotate(data_dir, "--annotator", tmp_path / "own", "--corpus", "beta", *picture) == 0
    written = {path.suffix for path in (tmp_path / "check").iterdir()}
    assert written == {".json", ".png"}
    source = CorpusSource(data_dir, "beta", annotator="own")
    frames, prosody = source.frames(0, num_frames=num_frames(LENGTHS[0]))
    assert ((frames > 0) & (frames < 1)).all() and frames.std() > 0 and prosody.shape[1] == 6
    # Made again from the same data and seed it is the same, to the bit.
    again = (*own[:-2], tmp_path / "again", own[-1])
    assert annotate(data_dir, *again) == 0
    names = ("own", "again")
    first, second = ((tmp_path / name / "annotator.safetensors").read_bytes() for name in names)
    assert first == second


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--fit rankers --output X/a", "did you mean 'ranker'"),
        ("--fit ranker", "--fit needs --output FOLDER"),
        ("--fit ranker --output X/signal", "cannot be called 'signal'"),
        ("--fit ranker --output X/a --config.ranker.orderweight=1", "ranker.order_weight"),
        ("--fit ranker --output X/a --config.ranker.order_weight=0", "takes a number above 0"),
        ("--fit ranker --output X/a --config.ranker.supervision=self", "ranker.supervision"),
        ("--fit strength --output X/a", "strength.ranker is not given: fit a ranker first"),
        (
            "--fit strength --output X/a --config.strength.ranker=X",
            "is not an annotator: fit",
        ),
        ("--output X/a", "--output belongs to --fit or --check"),
        ("--config.ranker.seed=1", "are settings of --fit"),
        ("--annotator nothing", "unknown annotator 'nothing'"),
        ("--annotator signal --measure arousal", "--measure is for released models"),
        ("--measure arouse", "did you mean 'arousal'"),
        ("--shard 4", "is not I/N"),
        ("--annotator energy --shard 4/4", "--shard 4/4 is not I/N"),
    ],
)
def test_annotate_command_with_a_mistake_answers_in_one_sentence(
    data_dir, tmp_path, capsys, words, sentence
):
    words = words.replace("X", str(tmp_path)).split()
    assert annotate(data_dir, "--corpus", "alpha", *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_open_fitted_of_a_damaged_folder_says_to_fit_it_again(ranker, tmp_path):
    for name, change, sentence in (
        ("version", {"versions": [0]}, "fitted by another version"),
        ("schema", {"schema": 9}, "has schema 9, this version reads 1"),
        ("kind", {"kind": "oracle"}, "unknown kind of annotator"),
        ("features", {"features": []}, "is damaged"),
        ("setting", {"config": {"order_wait": 1}}, "unknown configuration key"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "annotator.safetensors").write_bytes(
            (ranker / "annotator.safetensors").read_bytes()
        )
        about = json.loads((ranker / "annotator.json").read_text()) | change
        (folder / "annotator.json").write_text(json.dumps(about))
        with pytest.raises(UserError, match=sentence):
            open_fitted(folder)
    (folder / "annotator.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"annotator\.safetensors .* cannot be read"):
        open_fitted(folder)


def test_stretches_hold_every_frame_once():
    lengths = [399, 400, 16000, 320 * MAX_FRAMES + 80, 320 * (2 * MAX_FRAMES + 7) + 80]
    stretches = make_stretches(lengths)
    for owner, length in enumerate(lengths):
        mine = [(s.start, s.frames) for s in stretches if s.owner == owner]
        covered = [t for start, frames in mine for t in range(start, start + frames)]
        assert covered == list(range(num_frames(length)))
    sizes = [padded_frames(n) for n in range(1, MAX_FRAMES + 1)]
    assert all(n <= size for n, size in enumerate(sizes, 1)) and sizes == sorted(sizes)
    assert len(set(sizes)) == 11 and all(size % 2 == 0 for size in sizes)


def test_batches_hold_the_samples_of_their_frames():
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(size=n).astype(np.float32) for n in (5000, 480500, 100, 7000)]
    seen = []
    for batch in make_batches(waveforms, seconds=31.0):
        waveform, lengths = np.asarray(batch.waveform), np.asarray(batch.num_samples)
        for row, (owner, start, frames) in enumerate(batch.stretches):
            seen.append((owner, start))
            samples = waveforms[owner][320 * start :][: 320 * frames + 200]
            np.testing.assert_array_equal(waveform[row, : lengths[row]], samples)
            assert not waveform[row, lengths[row] :].any()
        assert not lengths[len(batch.stretches) :].any()
        assert len(waveform) % 8 == 0  # over all devices
    assert sorted(seen) == [(0, 0), (1, 0), (1, 1500), (3, 0)]


def test_device_tracks_are_those_of_the_host():
    t = np.arange(12000) / 16000
    waveform = (0.05 * sum(np.cos(2 * np.pi * 170 * k * t) / k for k in range(1, 9))).astype("f4")
    (found,) = device_tracks([waveform])
    expected = pitch(waveform)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-3)
