"""Each corpus on a tree of tiny tones with the true names of its files."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.index import load_index
from sersl.corpora.prepare import prepare
from sersl.corpora.words import CANONICAL

# corpus -> file -> (utterance_id, speaker, gender, category); None: left out
TREES = {
    "cremad": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("1001_DFA_ANG_XX", "1001", "", "angry"),
        "AudioWAV/1002_IEO_SAD_HI.wav": ("1002_IEO_SAD_HI", "1002", "", "sad"),
        "AudioWAV/1040_ITH_SAD_X.wav": ("1040_ITH_SAD_XX", "1040", "", "sad"),
        "AudioWAV/1001_ABC_ANG_XX.wav": None,
    },
    "emodb": {
        "wav/03a01Fa.wav": ("03a01Fa", "03", "male", "happy"),
        "wav/08b10Wc.wav": ("08b10Wc", "08", "female", "angry"),
        "wav/16a05Ab.wav": ("16a05Ab", "16", "female", "fear"),
        "wav/14a07La.wav": ("14a07La", "14", "female", "boredom"),
        "wav/03a01Xa.wav": None,
    },
    "savee": {
        "AudioData/DC/sa01.wav": ("DC_sa01", "DC", "male", "sad"),
        "AudioData/DC/su01.wav": ("DC_su01", "DC", "male", "surprise"),
        "flat/KL_a15.wav": ("KL_a15", "KL", "male", "angry"),
        "AudioData/DC/x01.wav": None,
    },
    "tess": {
        "OAF_angry/OAF_back_angry.wav": ("OAF_back_angry", "OAF", "female", "angry"),
        "OAF_neutral/OA_bite_neutral.wav": ("OAF_bite_neutral", "OAF", "female", "neutral"),
        "YAF_pleasant_surprised/YAF_week_ps.wav": ("YAF_week_ps", "YAF", "female", "surprise"),
        "YAF_x/YAF_week_glad.wav": None,
    },
    "emovo": {
        "f1/dis-f1-b1.wav": ("dis-f1-b1", "f1", "female", "disgust"),
        "m3/gio-m3-n5.wav": ("gio-m3-n5", "m3", "male", "happy"),
        "m3/pau-m3-l4.wav": ("pau-m3-l4", "m3", "male", "fear"),
        "m3/xxx-m3-l4.wav": None,
    },
    "subesco": {
        "F_01_OISHI_S_1_ANGRY_1.wav": ("F_01_OISHI_S_1_ANGRY_1", "F_01_OISHI", "female", "angry"),
        "M_10_DIPTO_S_10_SAD_5.wav": ("M_10_DIPTO_S_10_SAD_5", "M_10_DIPTO", "male", "sad"),
        "M_10_DIPTO_S_10_GLAD_5.wav": None,
    },
    "esd": {
        "0001/Angry/train/0001_000351.wav": ("0001_000351", "0001", "female", "angry"),
        "0011/Surprise/0011_001401.wav": ("0011_001401", "0011", "male", "surprise"),
        "0011/Surprise/0012_001401.wav": None,
    },
    "nemo": {
        "samples/WR0_surprised_64.ogg": ("WR0_surprised_64", "WR0", "male", "surprise"),
        "samples/EB0_happiness_13.wav": ("EB0_happiness_13", "EB0", "female", "happy"),
        "samples/EB0_joy_13.wav": None,
    },
}


def part(tmp_path, corpus, audio):
    """Prepares a few files of a corpus."""
    prepared = prepare(
        data_dir=tmp_path / "data", corpus=corpus, audio_dir=audio, allow_unexpected_count=True
    )
    return prepared.summary


@pytest.mark.parametrize("corpus", TREES)
def test_prepare_when_true_names_then_labels_and_the_rest_is_listed(corpus, tmp_path, tone):
    audio = tmp_path / "audio"
    for number, file in enumerate(TREES[corpus]):
        tone(audio / file, rate=48_000, hertz=200.0 + 20 * number)
    summary = part(tmp_path, corpus, audio)
    index = load_index(tmp_path / "data", corpus)
    columns = ("path", "utterance_id", "speaker", "gender", "category")
    got = {path: rest for path, *rest in zip(*(index.column(c) for c in columns), strict=True)}
    assert got == {file: list(want) for file, want in TREES[corpus].items() if want is not None}
    left_out = {item["path"] for item in summary["left_out"]}
    assert {file for file, want in TREES[corpus].items() if want is None} <= left_out
    assert set(index.column("category")) <= set(CANONICAL)
    assert summary["skipped"] == []
    assert "the published corpus has" in summary["differences"][0]


def test_registry_when_read_then_every_corpus_says_what_it_is():
    assert all(name == builder.name for name, builder in CORPORA.items())
    for builder in CORPORA.values():
        about = builder.about
        assert all((about.description, about.citation, about.licence, about.homepage, about.folder))
    assert {*TREES, "ravdess", "synthetic"} <= set(CORPORA)


def test_esd_when_split_folders_then_fold_language_and_parallel_sentence(tmp_path):
    (tmp_path / "a").mkdir()
    builder = CORPORA["esd"](data_dir=tmp_path, audio_dir=tmp_path / "a")
    one = builder.parse("0001/Angry/train/0001_000351.wav")
    other = builder.parse("0011/Surprise/0011_001401.wav")
    assert (one.fold, one.language, other.fold, other.language) == ("train", "zh", "", "en")
    assert (one.gender, other.gender) == ("female", "male")
    assert one.extra["text_id"] == other.extra["text_id"] == "001"


def test_cremad_when_a_clip_is_silent_then_it_is_kept_and_named(tmp_path, tone):
    audio = tmp_path / "audio" / "AudioWAV"
    tone(audio / "1001_DFA_ANG_XX.wav")
    soundfile.write(audio / "1076_MTI_SAD_XX.wav", np.zeros(4000), 16_000)  # silent as published
    summary = part(tmp_path, "cremad", tmp_path / "audio")
    assert summary["num_utterances"] == 2 and summary["silent"] == ["1076_MTI_SAD_XX"]


@pytest.mark.corpora
def test_cremad_when_real_tables_then_votes_levels_and_actors(corpora_dir, tmp_path, tone):
    tables = corpora_dir / "cremad_labels"
    audio = tmp_path / "audio"
    (audio / "processedResults").mkdir(parents=True)
    shutil.copy(tables / "tabulatedVotes.csv", audio / "processedResults")
    shutil.copy(tables / "VideoDemographics.csv", audio)
    tone(audio / "AudioWAV" / "1001_IEO_HAP_LO.wav")
    summary = part(tmp_path, "cremad", audio)
    assert summary["left_out"] == []
    index = load_index(tmp_path / "data", "cremad")
    assert json.loads(index.column("votes")[0]) == {"happy": 3, "neutral": 6}  # row 100002
    assert json.loads(index.column("extra")[0]) == {"age": "51", "level": "LO", "voice_level": 62.0}
    assert index.column("gender")[0] == "male" and index.column("intensity")[0] == 0.0
    builder = CORPORA["cremad"](data_dir=tmp_path, audio_dir=audio)
    builder.read_tables()
    with (tables / "SentenceFilenames.csv").open() as file:
        items = [builder.parse(f"{row['Filename']}.wav") for row in csv.DictReader(file)]
    counts = Counter(item.category for item in items)
    assert counts.pop("neutral") == 1087 and set(counts.values()) == {1271}
    assert all(item.votes and item.gender for item in items)
    assert sum(np.isfinite(item.intensity) for item in items) == 3 * 455


@pytest.mark.corpora
def test_nemo_when_the_whole_corpus_then_all_files_are_utterances(corpora_dir, tmp_path):
    items = list(CORPORA["nemo"](data_dir=tmp_path, audio_dir=corpora_dir / "nemo").listing())
    assert Counter(item.category for item in items) == {
        "neutral": 809,
        "sad": 769,
        "angry": 749,
        "happy": 749,
        "fear": 736,
        "surprise": 669,
    }
    with (corpora_dir / "nemo" / "manifest.csv").open() as file:
        genders = {row["speaker"]: row["gender"] for row in csv.DictReader(file)}
    assert {item.speaker: item.gender for item in items} == genders
