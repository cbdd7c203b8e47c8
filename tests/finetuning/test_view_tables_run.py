"""Text beside audio, from the script of the guide to predictions with a table."""

import runpy
import sys

import numpy as np
import pytest

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.corpora.index import load_index
from sersl.corpora.synthetic.sentences import recognized, sentence, word_vectors
from sersl.data.sources import CorpusSource
from sersl.release.predict import predictor
from sersl.release.predict.with_views import WithViews
from sersl.release.starting_weights import read_view_weights
from tests.finetuning.test_kept_outputs import config_of
from tests.finetuning.test_view_fusion import KEPT, fused, train
from tests.tiny_runs import ROOT

SUMMED = 1e-3  # of probabilities: devices add up in another order for 20 steps
SCRIPT = str(ROOT / "docs" / "examples" / "sentences.py")
# Not frozen: attention needs the frames, and trains.
TRAINED = (
    *("pooling.kind=attention", "pooling.layers=last", "pooling.standardize_outputs=false"),
    *("unfreeze=(('encoder/.*',-1),('.*',0))", "fusion.width=8", "fusion.num_heads=2"),
    *("heads.output_deviation=0.02", "train.num_steps=20", "train.log_every_steps=5"),
)


def write(monkeypatch, data_dir, path, *options):
    given = ["sentences.py", "--data_dir", str(data_dir), "--output", str(path), *options]
    monkeypatch.setattr(sys, "argv", given)
    runpy.run_path(SCRIPT, run_name="__main__")
    return path


def test_sentences_when_made_again_then_the_words_tell_the_tone_and_nothing_else():
    ids = [f"u{number}" for number in range(300)]
    categories = ("angry", "sad", "happy", "neutral")
    words = {one: [sentence(utterance, one) for utterance in ids] for one in categories}
    assert words["angry"] == words["sad"]  # the same words for the same id
    assert words["angry"] != words["happy"]
    tone = {word for own in words["angry"] for word in own} - {
        word for own in words["neutral"] for word in own
    }
    share = np.mean([word in tone for own in words["angry"] for word in own])
    assert 0.25 < share < 0.35 and len(tone) == 8
    assert not any(word in tone for own in words["happy"] for word in own)
    wrong = [recognized(own, utterance, error_rate=0.4) for own, utterance in
             zip(words["angry"], ids, strict=True)]  # fmt: skip
    assert abs(np.mean([len(own) for own in wrong]) / 6 - (1 - 0.4 / 3)) < 0.03
    vectors = word_vectors(["a", "b", "a"])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert vectors.shape == (3, 32) and word_vectors([]).shape == (0, 32)


def test_finetune_when_text_is_beside_audio_then_it_trains_exports_and_predicts_with_the_table(
    own_data, tmp_path, monkeypatch, capsys
):
    table = write(monkeypatch, own_data, tmp_path / "t.parquet", "--states", "--missing", "0.2")
    config = fused(
        own_data, "cross_attention", f"text={table}", "spectrum=mfcc",
        settings=(*TRAINED, "fusion.view_dropout=0.2", "fusion.contrast_weight=0.1"),
    )  # fmt: skip
    answers = train(config, tmp_path / "run")
    output = ["--output", str(tmp_path / "model"), "--licence=MIT", "--fold", "fold1"]
    assert main(["export", "--workdir", str(tmp_path / "run"), *output]) == 0
    ids = load_index(own_data, "synthetic").column("utterance_id")[answers.rows]
    source = CorpusSource(own_data, "synthetic")
    waveforms = [source.waveform(row) for row in answers.rows.tolist()]
    model = predictor.load(tmp_path / "model", tables={"text": table})
    named = [WithViews(one, f"some/{name}.wav") for one, name in zip(waveforms, ids, strict=True)]
    scores = dict(model.network.scores(waveforms, named))
    found = np.stack([scores[row]["category"] for row in range(len(ids))])
    logits, expected = np.log(found), np.log(answers.scores)
    np.testing.assert_allclose(
        logits - logits.mean(1, keepdims=True),
        (expected - expected.mean(1, keepdims=True)) / (model.labels.temperature or 1.0),
        atol=10 * KEPT,
    )
    without = dict(model.network.scores(waveforms))
    assert np.abs(np.stack([without[row]["category"] for row in range(len(ids))]) - found).max() > 0
    wav = tmp_path / "a.wav"
    wav.write_bytes(b"")
    capsys.readouterr()
    for option, message in (("txt=t.npz", "no view 'txt'"), ("text", "is not NAME=FILE")):
        words = ["predict", "--model", str(tmp_path / "model"), "--table", option, str(wav)]
        assert main(words) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_finetune_when_views_are_contrasted_on_eight_devices_then_as_on_one(
    own_data, tmp_path, monkeypatch
):
    table = write(monkeypatch, own_data, tmp_path / "t.parquet", "--missing", "0.2")
    config = fused(
        own_data, "gated", f"text={table}", "spectrum=mfcc",
        settings=(*TRAINED, "fusion.view_dropout=0.2", "fusion.contrast_weight=0.1"),
    )  # fmt: skip
    one = train(config, tmp_path / "one")
    eight = train(config, tmp_path / "eight", devices=8)
    np.testing.assert_allclose(eight.scores, one.scores, atol=SUMMED)
    np.testing.assert_allclose(eight.dimensions, one.dimensions, atol=SUMMED)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("fusion.kind=early",), r"fusion\.kind='early' has no views"),
        (("fusion.views=a=mfcc",), r"fusion\.kind is none"),
        (("fusion.kind=early", "fusion.views=mfcc"), "write NAME=SOURCE"),
        (("fusion.kind=early", "fusion.views=a=mfcc,a=log_mel"), "two views 'a'"),
        (("fusion.kind=early", "fusion.views=a=/no/such"), "/no/such"),
        (("fusion.kind=early", "fusion.views=a=no.npz"), "does not exist"),
        (("fusion.kind=deep", "fusion.views=a=mfcc", "solver.kind=ridge",
          "heads.bounded=false"), r"fusion\.kind='deep' has layers"),
        (("fusion.kind=cross_attention", "fusion.views=a=mfcc"), r"keeps none: set pooling\.kind"),
        (("fusion.kind=early", "fusion.views=a=mfcc", "fusion.networks=none,none"), "has 2 kinds"),
        (("fusion.width=3",), r"fusion\.kind is none: set"),
    ],
)  # fmt: skip
def test_finetune_when_views_are_wrong_then_one_sentence(own_data, tmp_path, settings, message):
    config = config_of(own_data, *settings)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run", **read_view_weights(config))
