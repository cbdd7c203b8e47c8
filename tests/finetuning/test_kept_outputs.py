"""Outputs of a frozen encoder, kept beside the corpus: made, found, made anew, and trained on."""

import dataclasses
import json
import re
import resource
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from sersl.annotation.sidecar_parts import SidecarParts
from sersl.config.load import load_config
from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.data.sources import CorpusSource
from sersl.eval.answers import Answers
from sersl.eval.evaluator import validation_scores
from sersl.finetuning import from_outputs
from sersl.finetuning.from_outputs import standardize_groups
from sersl.finetuning.run import finetune
from sersl.models.encoder import SpeechEncoder
from sersl.runs import kept_outputs
from sersl.runs.checkpoint import load_params
from sersl.runs.initial_weights import InitialWeights, with_sizes
from sersl.training.loop import Preempted
from tests.tiny_runs import ROOT, never, values_of

NANO = str(ROOT / "configs" / "finetune" / "frozen.py") + ":nano"
# Scales come from kept outputs; without them there is nothing to compare with.
UNSCALED = (
    "pooling.standardize_outputs=false",
    "pooling.layers=weighted",
    "unfreeze=(('encoder/.*',-1),('.*',0))",
)
HALF = 2e-3  # relative: float16 has 11 bits, and training adds up


SMALL = ("num_layers=2", "width=16", "num_heads=2", "mlp_width=32")


def weights_of(seed=0, frontend=None, **changes) -> InitialWeights:
    config = load_config(FinetuneConfig, NANO, [f"encoder.{setting}" for setting in SMALL])
    encoder = dataclasses.replace(config.encoder, **changes)
    frontend = config.frontend if frontend is None else frontend
    model = SpeechEncoder(frontend, encoder, key=jax.random.key(seed))
    params = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.split(model)[1]))
    return InitialWeights(
        params={"encoder": params}, frontend=frontend, encoder=encoder, source="a test"
    )


def fine_tuned(config, workdir, *, weights=None, devices=1, preempted=never, **views) -> Path:
    """Fine-tunes from `weights_of()` unless others are given; the folder of the first fold."""
    finetune(
        config,
        workdir,
        score=validation_scores,
        preempted=preempted,
        weights=weights_of() if weights is None else weights,
        view_weights=views,
        devices=jax.devices()[:devices],
    )
    return workdir / "folds" / "fold1"


def config_of(data_dir, *settings) -> FinetuneConfig:
    own = (f"data.data_dir={data_dir}", "protocol.num_folds=2", "protocol.final_model=false")
    return load_config(FinetuneConfig, NANO, [*own, "train.log_every_steps=5", *settings])


def run(config, workdir, weights):
    fine_tuned(config, workdir, weights=weights)
    folds = sorted((workdir / "folds").iterdir())
    return [values_of(fold) for fold in folds], [Answers.load(f / "answers.npz") for f in folds]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(kept_outputs, "_PART_SECONDS", 20)
    monkeypatch.setattr(kept_outputs, "_BATCH_SECONDS", 8.0)


def open_store(config, weights, data_dir, said=None):
    source = CorpusSource(data_dir, "synthetic")
    made = kept_outputs.OutputStore(with_sizes(config, weights), weights)
    return source, made.open(source, [].append if said is None else said.append)


def stores(data_dir):
    return sorted(data_dir.glob("synthetic/*/outputs/*"))


@pytest.mark.parametrize("kind", ["statistics", "max", "multi_head_attention"])
def test_finetune_when_outputs_are_kept_then_as_with_the_encoder_in_every_step(
    own_data, tmp_path, kind
):
    settings = (f"pooling.kind={kind}", "protocol.folds=('fold1',)", *UNSCALED)
    config, weights = config_of(own_data, *settings), weights_of()
    logged, answers = run(config, tmp_path / "kept", weights)
    assert len(stores(own_data)) == 1
    plain = dataclasses.replace(config, store="off")
    expected, expected_answers = run(plain, tmp_path / "plain", weights)
    losses, plain_losses = ([line["loss"] for line in log[0]] for log in (logged, expected))
    np.testing.assert_allclose(losses, plain_losses, rtol=HALF)
    np.testing.assert_array_equal(answers[0].rows, expected_answers[0].rows)
    np.testing.assert_allclose(answers[0].scores, expected_answers[0].scores, atol=HALF)


@pytest.mark.parametrize("kind", ["statistics", "attention"])
def test_finetune_when_outputs_are_standardized_then_by_the_training_side(own_data, tmp_path, kind):
    frames = () if kind == "statistics" else ("pooling.kind=attention", "pooling.layers=weighted")
    settings = ("protocol.folds=('fold1',)", "unfreeze=(('encoder/.*',-1),('.*',0))", *frames)
    config, weights = config_of(own_data, *settings), weights_of()
    run(config, tmp_path / "run", weights)
    source, reader = open_store(config, weights, own_data)
    (fold,) = json.loads((tmp_path / "run" / "folds.json").read_text())
    speaker, tested = source.index.column("speaker"), set(fold["test_speakers"])
    held_out = tested | set(fold["validation_speakers"])
    rows = [row for row in range(len(source)) if speaker[row] not in held_out]
    read = [reader.read(row).astype(np.float64) for row in rows]
    if kind == "statistics":
        kept = np.stack(read)
    else:  # frames, as they are summed over layers
        kept = np.concatenate(read, axis=1).swapaxes(0, 1)[:, :, None]
        kept = kept - kept.mean(-1, keepdims=True)
        kept /= np.sqrt(np.square(kept).mean(-1, keepdims=True) + 1e-5)
    params = load_params(tmp_path / "run" / "folds" / "fold1")
    # The frozen encoder is saved once, beside the folds.
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], weights.params["encoder"])
    assert (tmp_path / "run" / "shared" / "0" / "params").is_dir()
    np.testing.assert_allclose(params["pooling"]["center"], kept.mean(0), rtol=1e-3, atol=1e-4)
    scale = np.maximum(kept.std(0), 1e-3)
    np.testing.assert_allclose(params["pooling"]["scale"], scale, rtol=1e-3, atol=1e-4)


def test_finetune_when_outputs_to_standardize_are_not_kept_then_user_error(own_data, tmp_path):
    config = config_of(own_data, "store=off")
    with pytest.raises(UserError, match=r"standardize_outputs needs .*\s?none \(store=off\)"):
        run(config, tmp_path / "run", weights_of())


def test_store_when_opened_then_it_holds_the_statistics_of_every_utterance(own_data):
    config, weights = config_of(own_data, "pooling.standardize_layers=false"), weights_of()
    source, reader = open_store(config, weights, own_data)
    model = SpeechEncoder(weights.frontend, weights.encoder, key=jax.random.key(0))
    for row in (0, len(source) - 1):
        waveform = source.waveform(row)[None]
        states = model(waveform, np.ones(waveform.shape, bool)).hidden_states[:, 0]
        assert states.shape[1] == num_frames(waveform.shape[1])
        kept = reader.read(row)
        assert kept.shape == (3, 2, 16) and kept.dtype == np.float16
        np.testing.assert_allclose(kept[:, 0], states.mean(1), rtol=HALF, atol=HALF)
        np.testing.assert_allclose(kept[:, 1], states.std(1), rtol=HALF, atol=HALF)


@pytest.mark.parametrize("kind", ["statistics", "attention"])
def test_store_when_standardized_by_speaker_then_each_has_mean_zero_and_deviation_one(
    own_data, kind
):
    by_speaker = ("domain.normalize=speaker", f"pooling.kind={kind}")
    config = config_of(own_data, *by_speaker, *UNSCALED)
    source, reader = open_store(config, weights_of(), own_data)
    source.outputs = reader
    standardize_groups([source], config)
    speaker = source.index.column("speaker")
    for name in np.unique(speaker)[:2]:
        read = [reader.read(row).astype(np.float64) for row in np.flatnonzero(speaker == name)]
        values = np.concatenate(read, axis=1) if kind == "attention" else np.stack(read)
        axis = 1 if kind == "attention" else 0
        np.testing.assert_allclose(values.mean(axis), 0.0, atol=HALF)
        np.testing.assert_allclose(values.std(axis), 1.0, atol=0.02)


def test_finetune_when_outputs_of_speakers_are_not_kept_then_user_error(own_data, tmp_path):
    config = config_of(own_data, "store=off", "domain.normalize=speaker", *UNSCALED)
    with pytest.raises(UserError, match=r"domain\.normalize needs the kept outputs.*store=off"):
        run(config, tmp_path / "run", weights_of())


def test_store_when_made_before_then_found_and_for_other_weights_or_settings_made_anew(own_data):
    config, said = config_of(own_data), []
    open_store(config, weights_of(), own_data, said)
    assert len(said) == 1 and "MB, kept in" in said[0]
    open_store(config, weights_of(), own_data, said)
    assert "found in" in said[1] and len(stores(own_data)) == 1
    open_store(config, weights_of(seed=1), own_data, said)
    assert "kept in" in said[2] and len(stores(own_data)) == 2
    open_store(config_of(own_data, "pooling.kind=mean", *UNSCALED), weights_of(), own_data, said)
    assert len(stores(own_data)) == 3


def test_store_when_a_setting_is_newer_and_has_its_default_then_it_is_not_in_the_fingerprint():
    plain = FrontendConfig()
    found = kept_outputs._identity_of(plain)
    assert set(dataclasses.asdict(plain)) - set(found) == {"num_coefficients", "projection"}
    other = dataclasses.replace(plain, projection=False)
    assert kept_outputs._identity_of(other) == found | {"projection": False}
    encoder = EncoderConfig()
    found = kept_outputs._identity_of(encoder)
    newer = {"side_layers", "side_from", "side_onto", "final_norm"}
    assert set(dataclasses.asdict(encoder)) - set(found) == newer
    other = dataclasses.replace(encoder, final_norm=False)
    assert kept_outputs._identity_of(other) == found | {"final_norm": False}


@pytest.mark.parametrize("window", [0.0, 4.0])
def test_store_when_audio_is_padded_to_a_window_then_said_and_fewer_utterances_at_once(
    own_data, monkeypatch, window
):
    frontend = ("frontend.kind=whisper", f"frontend.window_seconds={window}")
    config = config_of(own_data, *frontend, *[f"encoder.{setting}" for setting in SMALL])
    said: list[str] = []

    def stop(*arguments, buckets, **named):
        raise InterruptedError(max(bucket.rows for bucket in buckets))

    monkeypatch.setattr(kept_outputs, "evaluation_batches", stop)
    with pytest.raises(InterruptedError) as stopped:
        open_store(config, weights_of(frontend=config.frontend), own_data, said)
    assert any("padded to 4 s" in line for line in said) == bool(window)
    # 8 s of audio at once on each device: two windows, or more utterances without.
    (rows,), windows = stopped.value.args, 2 * jax.local_device_count()
    assert rows == windows if window else rows > windows


def test_store_when_its_making_was_interrupted_then_only_the_rest_is_computed(
    own_data, monkeypatch
):
    config, weights, rows = config_of(own_data), weights_of(), []
    compute = kept_outputs.OutputStore._records

    def noted(self, source, part, mesh, **settings):
        rows.append(part)
        if len(rows) == 2:
            raise KeyboardInterrupt
        return compute(self, source, part, mesh, **settings)

    monkeypatch.setattr(kept_outputs.OutputStore, "_records", noted)
    with pytest.raises(KeyboardInterrupt):
        open_store(config, weights, own_data)
    assert not [folder for folder in stores(own_data) if not folder.name.startswith(".")]
    source, _ = open_store(config, weights, own_data)
    done = [part for part in rows if part == rows[0]]
    assert len(done) == 1 and rows[1] == rows[2]
    assert sum(len(part) for part in rows[2:]) == len(source) - len(rows[0])


def test_store_when_told_to_stop_then_stops_before_the_next_batch_and_keeps_whole_parts(
    own_data, tmp_path
):
    config, weights, said, asked = config_of(own_data), weights_of(), [], []
    source = CorpusSource(own_data, "synthetic")
    made = kept_outputs.OutputStore(with_sizes(config, weights), weights)

    def preempted(step):
        asked.append(step)
        (partial,) = own_data.glob("synthetic/*/outputs/.*.partial")
        return len(list(partial.glob("part-*"))) == 1 and len(asked) % 2 == 0

    with pytest.raises(Preempted):
        made.open(source, said.append, preempted=preempted)
    assert len(asked) < len(source)
    (partial,) = own_data.glob("synthetic/*/outputs/.*.partial")
    assert [file.name for file in partial.iterdir()] == ["part-000000.array_record"]
    assert any(re.search(r"outputs of \d+ of \d+ utterances .*are kept", line) for line in said)
    left = shutil.copytree(partial, tmp_path / partial.name)
    made.open(source, said.append)
    shutil.copytree(left, partial)  # as of a kill while parts are removed
    made.open(source, said.append)
    assert not list(own_data.glob("synthetic/*/outputs/.*"))


def test_store_when_its_records_are_damaged_then_made_anew(own_data):
    config, weights = config_of(own_data), weights_of()
    _, reader = open_store(config, weights, own_data)
    expected = reader.read(3)
    (records,) = stores(own_data)[0].glob("*.array_record")
    content = bytearray(records.read_bytes())
    content[len(content) // 2] ^= 0xFF
    records.write_bytes(content)
    said = []
    _, reader = open_store(config, weights, own_data, said)
    assert "kept in" in said[0]
    np.testing.assert_array_equal(reader.read(3), expected)


def test_store_when_of_other_weights_under_its_name_then_made_anew(own_data):
    config = config_of(own_data)
    _, expected = open_store(config, weights_of(), own_data)
    values = expected.read(0)
    (own,) = stores(own_data)
    open_store(config, weights_of(seed=1), own_data)
    (other,) = [folder for folder in stores(own_data) if folder != own]
    shutil.rmtree(own)
    other.rename(own)
    said = []
    _, reader = open_store(config, weights_of(), own_data, said)
    assert "kept in" in said[0]
    np.testing.assert_array_equal(reader.read(0), values)


def test_store_when_the_disk_is_full_then_one_sentence_and_what_is_done_stays(
    own_data, monkeypatch
):
    config, weights = config_of(own_data), weights_of()
    full = dataclasses.make_dataclass("Usage", ["free"])(1000)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda folder: full)
        with pytest.raises(UserError, match=r"need .* MB in .* are free: make room"):
            open_store(config, weights, own_data)
    write, parts = SidecarParts.write, []

    def failing(self, part, records):
        parts.append(part)
        if len(parts) == 2:
            next(iter(records))
            raise UserError("the encoder outputs cannot be written")
        write(self, part, records)

    with monkeypatch.context() as patched:
        patched.setattr(SidecarParts, "write", failing)
        with pytest.raises(UserError, match="the encoder outputs cannot be written"):
            open_store(config, weights, own_data)
    (partial,) = own_data.glob("synthetic/*/outputs/.*.partial")
    assert [file.name for file in partial.glob("part-*")] == ["part-000000.array_record"]
    open_store(config, weights, own_data)
    assert not list(own_data.glob("synthetic/*/outputs/.*"))


def test_store_when_its_file_cannot_grow_then_one_sentence_and_a_rerun_makes_it(own_data):
    config, weights = config_of(own_data), weights_of()
    source = CorpusSource(own_data, "synthetic")
    made = kept_outputs.OutputStore(with_sizes(config, weights), weights)
    expected = made.open(source, [].append).read(3)  # compiled: no cache is written below
    shutil.rmtree(stores(own_data)[0])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"the encoder outputs cannot be written in .*: free"):
            made.open(source, [].append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert all(folder.name.startswith(".") for folder in stores(own_data))
    np.testing.assert_array_equal(made.open(source, [].append).read(3), expected)
    assert not list(own_data.glob("synthetic/*/outputs/.*"))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("store=off", "store=off"),
        ("augment.gain_db=6.0", "augment"),
        ("distortion.noise_probability=0.5", "distortion"),
        ("combine.mixup_probability=0.5", "combine"),
        ("data.max_seconds=0.5", "cropped at random"),
    ],
)
def test_store_when_the_input_of_the_encoder_changes_then_there_is_none(data_dir, setting, reason):
    config, source = config_of(data_dir, setting), CorpusSource(data_dir, "synthetic")
    found = from_outputs.why_not(config, [source], weights_of())
    assert found is not None and reason in found
    assert from_outputs.why_not(config_of(data_dir), [source], None) == "its weights are random"
    assert from_outputs.why_not(config_of(data_dir), [source], weights_of()) is None
