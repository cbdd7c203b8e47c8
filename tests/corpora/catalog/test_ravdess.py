import math
import os
from collections import Counter

import numpy as np
import pytest
import tensorflow_datasets as tfds

from sersl.audio.decode import read_audio
from sersl.audio.flac import decode_flac
from sersl.core.errors import UserError
from sersl.corpora.catalog.ravdess import Ravdess
from sersl.corpora.index import load_index
from sersl.corpora.prepare import prepare
from sersl.corpora.utterance import LeftOut, Utterance


@pytest.fixture
def builder(tmp_path):
    (tmp_path / "audio").mkdir()
    return Ravdess(data_dir=tmp_path, audio_dir=tmp_path / "audio")


def test_parse_when_strong_and_even_actor_then_all_labels(builder):
    item = builder.parse("Actor_08/03-01-06-02-02-01-08.wav")
    assert (item.utterance_id, item.speaker, item.gender) == (
        "03-01-06-02-02-01-08",
        "08",
        "female",
    )
    assert (item.category, item.category_raw, item.intensity) == ("fear", "fearful", 1.0)
    assert item.text == "Dogs are sitting by the door" and item.extra["repetition"] == "01"


def test_parse_when_neutral_then_no_intensity_and_normal_is_zero(builder):
    assert math.isnan(builder.parse("03-01-01-01-01-01-01.wav").intensity)
    assert builder.parse("03-01-02-01-01-01-01.wav").intensity == 0.0


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("Actor_01/03-02-04-01-01-01-01.wav", "song"),
        ("Actor_01/01-01-04-01-01-01-01.mp4", "video with sound copy"),
        ("Actor_01/02-01-04-01-01-01-01.mp4", "video copy"),
        ("Actor_01/03-01-09-01-01-01-01.wav", "code that RAVDESS does not define"),
        ("Actor_01/noise.wav", "name is not MM-VV-EE-II-SS-RR-AA"),
    ],
)
def test_parse_when_not_audio_speech_then_left_out_with_the_reason(builder, file, reason):
    item = builder.parse(file)
    assert isinstance(item, LeftOut) and reason in item.reason


def test_prepare_when_downloads_are_mixed_then_speech_once_and_the_rest_listed(tmp_path, tone):
    audio = tmp_path / "audio"
    for file in (
        "Audio_Speech_Actors_01-24/Actor_01/03-01-05-01-01-01-01.wav",
        "Audio_Speech_Actors_01-24/Actor_02/03-01-05-02-01-01-02.wav",
        "Audio_Song_Actors_01-24/Actor_01/03-02-05-01-01-01-01.wav",
        "copy/Actor_01/03-01-05-01-01-01-01.wav",
    ):
        tone(audio / file, rate=48_000)
    given = {"data_dir": tmp_path / "data", "corpus": "ravdess", "audio_dir": audio}
    with pytest.raises(UserError, match=r"2 utterances found, 1440 expected.*allow_unexpected"):
        prepare(**given)
    summary = prepare(**given, allow_unexpected_count=True).summary
    assert summary["num_utterances"] == 2 and summary["skipped"] == []
    assert Counter(item["reason"].split(",")[0].split("/")[0] for item in summary["left_out"]) == {
        "song": 1,
        "same utterance as Audio_Speech_Actors_01-24": 1,
    }
    assert summary["differences"] == ["2 utterances, the published corpus has 1440"]


@pytest.mark.corpora
def test_listing_when_the_whole_corpus_then_1440_with_192_of_each_emotion(corpora_dir, tmp_path):
    items = list(Ravdess(data_dir=tmp_path, audio_dir=corpora_dir / "ravdess").listing())
    assert len(items) == 1440 and all(isinstance(item, Utterance) for item in items)
    counts = Counter(item.category for item in items)
    assert counts.pop("neutral") == 96 and set(counts.values()) == {192} and len(counts) == 7
    assert len({item.speaker for item in items}) == 24


@pytest.mark.corpora
def test_prepare_when_real_actors_then_records_hold_the_files_own_samples(corpora_dir, tmp_path):
    audio = tmp_path / "ravdess"
    audio.mkdir()
    for actor in ("Actor_01", "Actor_07"):
        os.symlink(corpora_dir / "ravdess" / actor, audio / actor)
    prepared = prepare(
        data_dir=tmp_path / "data", corpus="ravdess", audio_dir=audio, allow_unexpected_count=True
    )
    assert prepared.summary["num_utterances"] == 120 and prepared.summary["skipped"] == []
    assert prepared.summary["identical_audio"] == [["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]]
    index = load_index(tmp_path / "data", "ravdess")
    records = tfds.builder_from_directory(str(index.folder)).as_data_source(split="all")
    assert len(records) == len(index) == 120
    for row in (0, 59, 60, 119):
        record, path = records[row], audio / index.column("path")[row]
        assert record["utterance_id"].decode() == index.column("utterance_id")[row]
        waveform = decode_flac(
            record["audio"], start=0, num_samples=index.column("num_samples")[row]
        )
        np.testing.assert_array_equal(waveform, read_audio(path))
