"""IEMOCAP, MSP-Podcast, MSP-IMPROV, CMU-MOSEI and LSSED on small trees with true label files."""

import json
import sys

import h5py
import numpy as np
import pytest
import soundfile

from sersl.core.errors import UserError
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.index import load_index
from sersl.corpora.labels import make_view
from sersl.corpora.prepare import prepare
from tests.tolerances import FP32


def part(tmp_path, corpus, **more):
    """Prepares `tmp_path/audio`, without a look at how much of the corpus it is."""
    given = {"allow_unexpected_count": True} | more
    return prepare(
        data_dir=tmp_path / "data", corpus=corpus, audio_dir=tmp_path / "audio", **given
    ).summary


def rows(tmp_path, corpus, *columns):
    """The index by utterance_id: one column, or a tuple of several."""
    index = load_index(tmp_path / "data", corpus)
    values = [index.column(name) for name in columns]
    values = values[0] if len(columns) == 1 else list(zip(*values, strict=True))
    return dict(zip(index.column("utterance_id"), values, strict=True))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# Lines as in the release: a header per turn, then external raters (E), then the actors (F, M).
IMPROVISED = (
    "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    "[6.2901 - 8.2357]\tSes01F_impro01_F000\tang\t[1.5000, 4.0000, 4.5000]\n"
    "C-E2:\tAnger;\t()\n"
    "C-E3:\tAnger; Frustration;\t(a bit (not much) of both)\n"
    "C-E4:\tNeutral state;\t()\n"
    "C-F1:\tFrustration;\t()\n"
    "A-E3:\tval 2; act 4; dom  4;\t()\n"
    "A-E4:\tval 1; act 4; dom  5;\t(threatening, belligerent)\n"
    "A-F1:\tval 1; act 5; dom  ;\t()\n\n"
    "[10.0100 - 11.3925]\tSes01F_impro01_M000\txxx\t[2.5000, 2.5000, 5.5000]\n"
    "C-E2:\tOther;\t(confused)\n\n"
)
OTHERS = ("hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth")


@pytest.fixture
def iemocap(tmp_path, tone):
    """Two dialogues of session 1 and a scripted one of session 5."""
    audio = tmp_path / "audio"
    one = audio / "Session1"
    write(one / "dialog/EmoEvaluation/Ses01F_impro01.txt", IMPROVISED)
    lines = [
        f"[{n}.0 - {n}.9]\tSes01M_impro02_F{n:03d}\t{raw}\t[3.0000, 3.0000, 1.0000]\n"
        for n, raw in enumerate(OTHERS)
    ]
    write(one / "dialog/EmoEvaluation/Ses01M_impro02.txt", "".join(lines))
    write(one / "dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt", "not read")
    write(
        one / "dialog/transcriptions/Ses01F_impro01.txt",
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        "Ses01F_impro01_M000 [010.0100-011.3925]: Do you have your forms?\n",
    )
    write(
        audio / "Session5/dialog/EmoEvaluation/Ses05M_script01_1b.txt",
        "[1.0 - 2.0]\tSes05M_script01_1b_MXX0\tneu\t[3.0, 2.0, 2.0]\n",
    )
    turns = {f"Ses01M_impro02/Ses01M_impro02_F{n:03d}" for n in range(len(OTHERS))}
    turns |= {f"Ses01F_impro01/Ses01F_impro01_{turn}" for turn in ("F000", "M000", "F999")}
    for number, turn in enumerate(sorted(turns)):
        tone(one / f"sentences/wav/{turn}.wav", seconds=0.1, hertz=200 + 10 * number)
    tone(one / "dialog/wav/Ses01F_impro01.wav", seconds=0.2)
    name = "sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_MXX0.wav"
    tone(audio / "Session5" / name, seconds=0.1)
    return audio


def test_iemocap_when_prepared_then_speaker_is_session_and_letter_of_the_turn(iemocap, tmp_path):
    summary = part(tmp_path, "iemocap")
    got = rows(tmp_path, "iemocap", "speaker", "gender", "session")
    assert got["Ses01F_impro01_F000"] == ("Ses01F", "female", "Ses01")
    assert got["Ses01F_impro01_M000"] == ("Ses01M", "male", "Ses01")
    assert got["Ses01M_impro02_F000"] == ("Ses01F", "female", "Ses01")  # dialogue M, turn F
    assert got["Ses05M_script01_1b_MXX0"] == ("Ses05M", "male", "Ses05")
    reasons = {item["path"].rsplit("/", 1)[1]: item["reason"] for item in summary["left_out"]}
    assert reasons == {
        "Ses01F_impro01.wav": "a whole dialogue or another file, not a turn",
        "Ses01F_impro01_F999.wav": "turn without a label in dialog/EmoEvaluation",
    }


def test_iemocap_when_all_categories_then_excited_apart_and_xxx_is_none(iemocap, tmp_path):
    part(tmp_path, "iemocap")
    got = rows(tmp_path, "iemocap", "category_raw", "category")
    assert set(got.values()) == {
        *{("ang", "angry"), ("hap", "happy"), ("exc", "excited"), ("sad", "sad")},
        *{("neu", "neutral"), ("fru", "frustrated"), ("fea", "fear"), ("sur", "surprise")},
        *{("dis", "disgust"), ("oth", "other"), ("xxx", "")},
    }
    categories = load_index(tmp_path / "data", "iemocap").column("category")
    classes = make_view("4class", categories).indices(categories)
    assert sorted(classes.tolist()) == [-1] * 6 + [0, 1, 1, 2, 3, 3]


def test_iemocap_when_rated_then_dimensions_are_by_name_on_1_to_5(iemocap, tmp_path):
    part(tmp_path, "iemocap")
    columns = ("valence", "arousal", "dominance", "scale_low", "scale_high")
    got = rows(tmp_path, "iemocap", *columns)["Ses01F_impro01_F000"]
    np.testing.assert_allclose(got, (0.125, 0.75, 0.875, 1.0, 5.0), **FP32)
    outside = rows(tmp_path, "iemocap", *columns)["Ses01F_impro01_M000"]
    np.testing.assert_allclose(outside, (0.375, 0.375, np.nan, 1.0, 5.0), **FP32)
    extra = json.loads(rows(tmp_path, "iemocap", "extra")["Ses01F_impro01_M000"])
    assert extra["off_scale"] == {"dominance": 5.5}


def test_iemocap_when_raters_differ_then_votes_raters_and_the_actors_own_view(iemocap, tmp_path):
    part(tmp_path, "iemocap")
    turn = "Ses01F_impro01_F000"
    votes = json.loads(rows(tmp_path, "iemocap", "votes")[turn])
    assert votes == {"angry": 1.5, "frustrated": 0.5, "neutral": 1.0}
    extra = json.loads(rows(tmp_path, "iemocap", "extra")[turn])
    assert (extra["style"], extra["dialogue"]) == ("improvised", "Ses01F_impro01")
    assert extra["annotators"]["E3"] == {
        "category": "angry",
        "categories": ["angry", "frustrated"],
        "comment": "a bit (not much) of both",
        "arousal": 0.75,
        "dominance": 0.75,
        "valence": 0.25,
    }
    assert extra["self_judgements"]["F1"] == {
        "category": "frustrated",
        "arousal": 1.0,
        "valence": 0.0,  # and no dominance
    }
    assert sorted(extra["annotators"]) == ["E2", "E3", "E4"]
    texts = rows(tmp_path, "iemocap", "text")
    assert (texts[turn], texts["Ses01M_impro02_F000"]) == ("Excuse me.", "")
    script = json.loads(rows(tmp_path, "iemocap", "extra")["Ses05M_script01_1b_MXX0"])
    assert script["style"] == "scripted"


def test_iemocap_when_no_label_files_then_error_says_where_they_are(tmp_path, tone):
    tone(tmp_path / "audio" / "Ses01F_impro01_F000.wav")
    with pytest.raises(UserError, match=r"EmoEvaluation.*Session1 to Session5"):
        part(tmp_path, "iemocap")


PODCAST = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,4.000000,4.000000,4.000000,127,Female,Train
MSP-PODCAST_0002_0033.wav,A,7.000000,1.000000,5.500000,Unknown,Male,Development
MSP-PODCAST_0003_0001.wav,X,2.500000,4.000000,4.000000,128,Female,Test1
MSP-PODCAST_0003_0002.wav,O,2.500000,4.000000,4.000000,128,Unknown,Test2
MSP-PODCAST_0003_0003_0001.wav,S,1,4,4,128,Male,Test3
MSP-PODCAST_0003_0004.wav,H,1,4,4,128,Male,Train
MSP-PODCAST_0003_0005.wav,U,1,4,4,128,Male,Train
MSP-PODCAST_0003_0006.wav,F,1,4,4,128,Male,Train
MSP-PODCAST_0003_0007.wav,D,1,4,4,128,Male,Train
MSP-PODCAST_0003_0008.wav,C,1,4,4,128,Male,Train
"""
# Release 1.11 writes a rater's answer in one value, other releases have a column for each part.
ONE_VALUE = """FileName,EmoDetail
MSP-PODCAST_0001_0008.wav,"WORKER20; Neutral; Neutral,Concerned; A:4.0; V:4.0; D:7.0;"
MSP-PODCAST_0001_0008.wav,"WORKER21; Other-relaxed; Other-relaxed; A:4.0; V:4.0; D:1.0;"
"""
COLUMNS = """FileName,Workers,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom
MSP-PODCAST_0001_0008.wav,WORKER20,Neutral,"Neutral,Concerned",4.0,4.0,7.0
MSP-PODCAST_0001_0008.wav,WORKER21,Other-relaxed,Other-relaxed,4.0,4.0,1.0
"""


@pytest.fixture
def podcast(tmp_path, tone):
    labels = tmp_path / "audio" / "Labels"
    write(labels / "labels_consensus.csv", PODCAST)
    write(labels / "labels_detailed.csv", COLUMNS)
    write(tmp_path / "audio/Transcripts/MSP-PODCAST_0001_0008.txt", "well, you know\n")
    for number, line in enumerate(PODCAST.splitlines()[1:]):
        file = tmp_path / "audio" / "Audios" / line.split(",")[0]
        tone(file, seconds=0.1, hertz=200 + 10 * number)
    return tmp_path / "audio"


def test_msp_podcast_when_all_letters_then_categories_and_x_is_none(podcast, tmp_path):
    part(tmp_path, "msp_podcast", allow_unexpected_count=False)  # as many as the labels have
    got = rows(tmp_path, "msp_podcast", "category_raw", "category")
    names = "neutral angry other sad happy surprise fear disgust contempt"
    assert dict(got.values()) == {"X": "", **dict(zip("NAOSHUFDC", names.split(), strict=True))}
    assert set(rows(tmp_path, "msp_podcast", "fold").values()) == {
        *("train", "validation", "test1", "test2", "test3")
    }
    columns = ("speaker", "gender", "arousal", "valence", "dominance", "scale_high", "session")
    got = rows(tmp_path, "msp_podcast", *columns)["MSP-PODCAST_0002_0033"]
    assert got == ("", "male", 1.0, 0.0, 0.75, 7.0, "0002")
    assert rows(tmp_path, "msp_podcast", "text")["MSP-PODCAST_0001_0008"] == "well, you know"


@pytest.mark.parametrize("raters", [ONE_VALUE, COLUMNS])
def test_msp_podcast_when_raters_in_either_form_then_votes_and_raters(podcast, tmp_path, raters):
    write(podcast / "Labels/labels_detailed.csv", raters)
    builder = CORPORA["msp_podcast"](data_dir=tmp_path, audio_dir=podcast)
    items = {item.utterance_id: item for item in builder.listing()}
    item = items["MSP-PODCAST_0001_0008"]
    assert item.votes == {"neutral": 1, "other": 1}
    assert item.extra["annotators"] == {
        "WORKER20": {
            "category": "neutral",
            "secondary": ["neutral", "concerned"],
            "arousal": 0.5,
            "valence": 0.5,
            "dominance": 1,
        },
        "WORKER21": {
            "category": "other",
            "secondary": ["other"],
            "arousal": 0.5,
            "valence": 0.5,
            "dominance": 0,
        },
    }
    assert items["MSP-PODCAST_0003_0001"].votes is None


def test_msp_podcast_when_audio_is_incomplete_then_error_with_both_counts(podcast, tmp_path):
    (podcast / "Audios/MSP-PODCAST_0003_0008.wav").unlink()
    with pytest.raises(UserError, match="9 utterances found, 10 expected"):
        part(tmp_path, "msp_podcast", allow_unexpected_count=False)


def test_msp_podcast_when_a_letter_or_column_is_unknown_then_error_names_it(podcast, tmp_path):
    write(podcast / "Labels/labels_consensus.csv", PODCAST.replace(",N,", ",Z,"))
    with pytest.raises(
        UserError, match=r"'Z' \(labels_consensus\.csv line 2, column 'EmoClass'\); known"
    ):
        part(tmp_path, "msp_podcast")
    write(podcast / "Labels/labels_consensus.csv", PODCAST.replace("EmoAct", "Act"))
    with pytest.raises(UserError, match="no column 'EmoAct'"):
        part(tmp_path, "msp_podcast")


IMPROV = """UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:3.0000; V:1.5000; D:5.0000 ; N:4.2000;
UTD_W0001; Angry; Angry, Frustrated; A:3; V:1; D:5 ; N:4;
UTD_W0001; Happy; Happy; A:3; V:2; D:5 ; N:4;
UTD_W0002; Other (sarcastic); Other; A:3; V:2; D:5 ; N:5;
UTD_W0004; Surprised; Surprised; A:3; V:2; D:5 ; N:5;

UTD-IMPROV-S08H-M06-T-FM12.avi; X; A:NaN; V:3.0000; D:3.0000 ; N:NaN;
UTD_W0003; Neutral; Neutral; A:3; V:2; D:5 ; N:5;

UTD-IMPROV-S20N-M06-R-MF01.avi; O; A:3.0; V:3.0; D:3.0;
UTD-IMPROV-S20S-F06-S-MM01.avi; S; A:3.0; V:3.0; D:3.0;
"""


def test_msp_improv_when_prepared_then_letters_votes_and_naturalness(tmp_path, tone):
    audio = tmp_path / "audio"
    write(audio / "Evalution.txt", IMPROV)
    for folder, name in (
        ("session1/S01A/P", "MSP-IMPROV-S01A-F01-P-FM01"),
        ("session6/S08H/T", "MSP-IMPROV-S08H-M06-T-FM12"),
        ("session6/S20N/R", "MSP-IMPROV-S20N-M06-R-MF01"),
        ("session6/S20S/S", "MSP-IMPROV-S20S-F06-S-MM01"),
        ("session6/S20S/S", "MSP-IMPROV-S20S-F06-S-MM02"),
    ):
        tone(audio / folder / f"{name}.wav", seconds=0.1, hertz=200 + len(folder))
    summary = part(tmp_path, "msp_improv")
    got = rows(tmp_path, "msp_improv", "speaker", "gender", "session", "category", "category_raw")
    assert got == {
        "MSP-IMPROV-S01A-F01-P-FM01": ("F01", "female", "session1", "angry", "A"),
        "MSP-IMPROV-S08H-M06-T-FM12": ("M06", "male", "session6", "", "X"),
        "MSP-IMPROV-S20N-M06-R-MF01": ("M06", "male", "session6", "other", "O"),
        "MSP-IMPROV-S20S-F06-S-MM01": ("F06", "female", "session6", "sad", "S"),
    }
    (left_out,) = summary["left_out"]
    assert left_out["reason"] == "turn without a label in the label file"
    first, second = list(got)[:2]
    assert json.loads(rows(tmp_path, "msp_improv", "votes")[first]) == {"angry": 1, "other": 2}
    extra = json.loads(rows(tmp_path, "msp_improv", "extra")[first])
    wanted = {"style": "natural interaction", "intended": "angry", "naturalness": 4.2}
    assert extra == wanted | {"text_id": "01"}
    dimensions = rows(tmp_path, "msp_improv", "arousal", "dominance", "valence")
    np.testing.assert_allclose(dimensions[first], (0.5, 1.0, 0.125), **FP32)
    np.testing.assert_allclose(dimensions[second], (np.nan, 0.5, 0.5), **FP32)


def noise(path, seconds, seed):
    """Writes noise, so that every segment has samples of its own; gives the samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9000, 9000, round(seconds * 16_000))
    soundfile.write(path, samples.astype(np.int16), 16_000)
    return samples.astype(np.int16)


OWNER = """file,start,end,sentiment,happy,sad,anger,surprise,disgust,fear,split
-3g5yACwYnA,0.30,0.60,3.0,2.0,0,0.33,0,0,0,0
-3g5yACwYnA,0.00,0.30,-3.0,0,0,0,0,0,0,1
-3g5yACwYnA,0.60,0.90,0.0,1.0,1.0,0,0,0,0,2
"""


def test_cmu_mosei_when_owner_columns_then_strongest_emotion_and_segments(tmp_path):
    write(tmp_path / "audio/CMU_MOSEI_Labels.csv", OWNER)
    samples = noise(tmp_path / "audio/Raw/Audio/Full/WAV_16000/-3g5yACwYnA.wav", 0.9, 1)
    noise(tmp_path / "audio/Raw/Audio/Full/WAV_16000/other.wav", 0.2, 2)
    summary = part(tmp_path, "cmu_mosei", allow_unexpected_count=False)
    columns = ("category", "intensity", "valence", "fold", "speaker", "num_samples")
    got = rows(tmp_path, "cmu_mosei", *columns)
    assert list(got) == [f"-3g5yACwYnA_{n}" for n in range(3)]  # in the order of time
    first, second, third = got.values()
    assert (first[0], second[0], third[0]) == ("", "happy", "")  # none, strongest, a tie
    np.testing.assert_allclose(second[1:3], (2 / 3, 1.0), **FP32)
    assert second[3:] == ("train", "-3g5yACwYnA", 4800) and first[3] == "validation"
    assert summary["left_out"][0]["reason"].startswith("recording without a label")
    assert len(set(rows(tmp_path, "cmu_mosei", "sha256").values())) == 3 and len(samples) == 14400


def test_cmu_mosei_when_the_owners_hdf5_then_its_segments_and_folds(tmp_path, monkeypatch):
    audio = tmp_path / "audio"
    noise(audio / "Raw/Audio/Full/WAV_16000/a.wav", 0.9, 1)
    names = ["sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear"]
    with h5py.File(audio / "CMU_MOSEI_Labels.csd", "w") as file:
        file["All Labels/metadata/dimension names"] = [json.dumps(names).encode()]
        file["All Labels/data/a/intervals"] = np.array([[0.3, 0.6], [0.0, 0.3]])
        features = np.zeros((2, 7), np.float32)
        features[0, [0, 3]] = -1.5, 3.0
        file["All Labels/data/a/features"] = features
    summary = part(tmp_path, "cmu_mosei", allow_unexpected_count=False)
    columns = ("category", "intensity", "valence", "fold", "num_samples")
    got = rows(tmp_path, "cmu_mosei", *columns)
    assert got["a_1"] == ("angry", 1.0, 0.25, "", 4800) and got["a_0"][0] == ""
    assert [item["path"] for item in summary["left_out"]] == ["cmu_mosei_std_folds.py"]
    lists = "standard_train_fold=[]\nstandard_valid_fold=['b']\nstandard_test_fold=['a']\n"
    write(audio / "cmu_mosei_std_folds.py", lists)
    part(tmp_path, "cmu_mosei", overwrite=True)
    assert set(load_index(tmp_path / "data", "cmu_mosei").column("fold")) == {"test"}
    write(audio / "cmu_mosei_std_folds.py", "standard_train_fold=open('x')\n")
    with pytest.raises(UserError, match="does not assign the lists standard_train_fold"):
        part(tmp_path, "cmu_mosei", overwrite=True)
    (audio / "cmu_mosei_std_folds.py").unlink()
    (audio / "CMU_MOSEI_Labels.csd").write_bytes(b"not HDF5")
    with pytest.raises(UserError, match="is damaged or not the owner's label file"):
        part(tmp_path, "cmu_mosei", overwrite=True)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"needs h5py: pip install 'sersl\[hdf5\]'"):
        part(tmp_path, "cmu_mosei", overwrite=True)


def test_cmu_mosei_when_the_table_of_s3prl_then_its_codes(tmp_path):
    table = (
        ",file,index,start,end,label2a,label2b,label6,label7,split\n"
        "0,a,0,0.0,0.2,1,1,2,-3,0\n1,a,1,0.2,0.4,1,1,5,3,3\n"
    )
    write(tmp_path / "audio/CMU_MOSEI_Labels.csv", table)
    noise(tmp_path / "audio/Raw/Audio/Full/WAV_16000/a.wav", 0.4, 3)
    part(tmp_path, "cmu_mosei")
    got = rows(tmp_path, "cmu_mosei", "category", "category_raw", "valence", "fold")
    assert got == {"a_0": ("angry", "anger", 0.0, "train"), "a_1": ("fear", "fear", 1.0, "")}


@pytest.mark.parametrize("column", ["emotion", "faces"])
def test_lssed_when_either_column_then_eleven_emotions(tmp_path, tone, column):
    emotions = {
        **{name: name for name in ("angry", "neutral", "fear", "happy", "sad", "excited", "other")},
        "disappointed": "other",
        "bored": "boredom",
        "disgusted": "disgust",
        "surprised": "surprise",
    }
    lines = [f"name,{column},gender,age"]
    for number, raw in enumerate(emotions):
        lines.append(f"{number:03d},{raw},Female,30")
        tone(tmp_path / f"audio/wav_all/{number:03d}.wav", seconds=0.1, hertz=200 + number)
    write(tmp_path / "audio/metadata_english_all.csv", "\n".join(lines))
    part(tmp_path, "lssed", allow_unexpected_count=False)
    got = rows(tmp_path, "lssed", "category_raw", "category", "gender", "extra")
    assert {raw: category for raw, category, *_ in got.values()} == emotions
    assert got["000"][2] == "female"


@pytest.mark.parametrize(
    "corpus",
    [
        *("iemocap", "msp_podcast", "msp_improv", "lssed", "gigaspeech", "whiser"),
        "cmu_moseas",
    ],
)
def test_prepare_when_a_licensed_corpus_without_folder_then_how_to_ask_and_what_it_needs(
    corpus, tmp_path
):
    with pytest.raises(UserError) as caught:
        prepare(data_dir=tmp_path / "data", corpus=corpus)
    about = CORPORA[corpus].about
    assert about.how_to_get in str(caught.value) and about.folder in str(caught.value)
    assert about.how_to_get.startswith(("ask for", "sign")) and "https://" in about.how_to_get


def test_tables_when_not_there_or_broken_then_error_says_so(tmp_path):
    for corpus, table in (
        ("msp_podcast", "labels_consensus"),
        ("lssed", "metadata"),
        ("cmu_mosei", "CMU"),
    ):
        (tmp_path / "audio").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=f"there is no .*{table}"):
            part(tmp_path, corpus)
    write(tmp_path / "audio/metadata_english_all.csv", "name,emotion\na,angry,extra\n")
    with pytest.raises(UserError, match="line 2: 3 values for 2 columns"):
        part(tmp_path, "lssed")
    name = "\u043f\u0440\u0438\u0432\u0435\u0442".encode("cp1251")
    (tmp_path / "audio/metadata_english_all.csv").write_bytes(b"name,emotion\n" + name + b",sad\n")
    with pytest.raises(UserError, match="is not UTF-8 text, and its encoding is unknown"):
        part(tmp_path, "lssed")
