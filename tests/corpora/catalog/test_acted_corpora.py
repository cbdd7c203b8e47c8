"""eNTERFACE'05, JL, URDU, ShEMO, CaFE and MELD on trees of tiny tones with their true names."""

import math

import av
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.index import load_index
from sersl.corpora.prepare import prepare
from sersl.corpora.words import CANONICAL

# corpus -> file -> (utterance_id, speaker, gender, language, category); None: left out
TREES = {
    "enterface": {
        "subject 1/anger/sentence 1/s1_an_1.wav": ("s1_an_1", "1", "", "en", "angry"),
        "subject 2/disgust/sentence 2/s2_di_2.wav": ("s2_di_2", "2", "", "en", "disgust"),
        "subject 3/fear/sentence 3/s_3_fe_3.wav": ("s3_fe_3", "3", "", "en", "fear"),
        "subject 6/happiness/s6_ha_4.wav": ("s6_ha_4", "6", "", "en", "happy"),  # no sentence
        "subject 11/sadness/sentence 5/s12_sa_5.wav": ("s11_sa_5", "11", "", "en", "sad"),
        "subject 16/surprise/sentence 3/s16_su_3avi.wav": ("s16_su_3", "16", "", "en", "surprise"),
        "subject 1/anger/sentence 1/s1_xx_1.wav": None,
    },
    "jl": {
        **{
            f"Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/female1_{raw}_10a_1.wav": (
                *(f"female1_{raw}_10a_1", "female1", "female", "en"),
                category,
            )
            for raw, category in (
                *((name, name) for name in ("angry", "sad", "neutral", "happy", "excited")),
                *((name, "other") for name in ("anxious", "apologetic", "assertive")),
                *((name, "other") for name in ("concerned", "encouraging")),
            )
        },
        "raw/male2_sad_9b_2.wav": ("male2_sad_9b_2", "male2", "male", "en", "sad"),
        "raw/male2_bored_9b_2.wav": None,
    },
    "urdu": {
        "Angry/SM1_F10_A010.wav": ("SM1_F10_A010", "SM1", "male", "ur", "angry"),
        "Happy/SF2_F1_H01.wav": ("SF2_F1_H01", "SF2", "female", "ur", "happy"),
        "Neutral/SM5_F72_N0100.wav": ("SM5_F72_N0100", "SM5", "male", "ur", "neutral"),
        "Sad/SM20_F8_S012.wav": ("SM20_F8_S012", "SM20", "male", "ur", "sad"),
        "Sad/SX20_F8_S012.wav": None,
    },
    "shemo": {
        "female/F01A01.wav": ("F01A01", "F01", "female", "fa", "angry"),
        "male/M21F01.wav": ("M21F01", "M21", "male", "fa", "fear"),
        "female/F24H15.wav": ("F24H15", "F24", "female", "fa", "happy"),
        "male/M02N14.wav": ("M02N14", "M02", "male", "fa", "neutral"),
        "male/M36S02.wav": ("M36S02", "M36", "male", "fa", "sad"),
        "female/F21W09.wav": ("F21W09", "F21", "female", "fa", "surprise"),
        "female/F21Z09.wav": None,
    },
    "cafe": {
        "CaFE_48k/Colère/Faible/01-C-1-1.wav": ("01-C-1-1", "01", "male", "fr", "angry"),
        "CaFE_48k/Dégoût/Fort/02-D-2-2.wav": ("02-D-2-2", "02", "female", "fr", "disgust"),
        "CaFE_48k/Joie/Fort/03-J-2-3.wav": ("03-J-2-3", "03", "male", "fr", "happy"),
        "CaFE_48k/Neutre/04-N-1-4.wav": ("04-N-1-4", "04", "female", "fr", "neutral"),
        "CaFE_48k/Peur/Fort/12-P-2-5.wav": ("12-P-2-5", "12", "female", "fr", "fear"),
        "CaFE_48k/Surprise/Fort/11-S-2-6.wav": ("11-S-2-6", "11", "male", "fr", "surprise"),
        "CaFE_192k_1/Tristesse/Fort/10-T-2-1.aiff": ("10-T-2-1", "10", "female", "fr", "sad"),
        "CaFE_48k/Tristesse/Fort/10-T-2-1.wav": None,  # the same in the other download
        "CaFE_48k/Peur/Fort/13-P-2-5.wav": None,
    },
}


@pytest.mark.parametrize("corpus", TREES)
def test_prepare_when_true_names_then_labels_and_the_rest_is_listed(corpus, tmp_path, tone):
    audio = tmp_path / "audio"
    for number, file in enumerate(TREES[corpus]):
        tone(audio / file, seconds=0.1, rate=44_100, hertz=200.0 + 20 * number)
    summary = part(tmp_path, corpus, audio)
    index = load_index(tmp_path / "data", corpus)
    columns = ("path", "utterance_id", "speaker", "gender", "language", "category")
    got = {path: rest for path, *rest in zip(*(index.column(c) for c in columns), strict=True)}
    assert got == {file: list(want) for file, want in TREES[corpus].items() if want is not None}
    left_out = {item["path"] for item in summary["left_out"]}
    assert left_out == {file for file, want in TREES[corpus].items() if want is None}
    assert set(index.column("category")) <= set(CANONICAL)
    assert summary["skipped"] == []


def part(tmp_path, corpus, audio):
    """Prepares a few files of a corpus."""
    prepared = prepare(
        data_dir=tmp_path / "data", corpus=corpus, audio_dir=audio, allow_unexpected_count=True
    )
    return prepared.summary


def make(corpus, tmp_path):
    (tmp_path / "audio").mkdir(exist_ok=True)
    return CORPORA[corpus](data_dir=tmp_path, audio_dir=tmp_path / "audio")


def test_jl_when_a_text_lies_beside_then_it_is_read(tmp_path, tone):
    tone(tmp_path / "audio" / "male1_angry_1a_2.wav")
    (tmp_path / "audio" / "male1_angry_1a_2.txt").write_text("Tom beats that farmer\n")
    item = make("jl", tmp_path).parse("male1_angry_1a_2.wav")
    assert (item.text, item.session) == ("Tom beats that farmer", "a")
    assert item.extra == {"text_id": "1", "repetition": "2"}


def test_cafe_when_strong_weak_or_neutral_then_intensity_sentence_and_age(tmp_path):
    builder = make("cafe", tmp_path)
    weak, strong = (builder.parse(f"08-C-{strength}-1.wav") for strength in "12")
    assert (weak.intensity, strong.intensity) == (0.0, 1.0)
    assert math.isnan(builder.parse("08-N-1-1.wav").intensity)
    assert (weak.text, weak.extra["age"]) == ("Un cheval fou dans mon jardin", "25")


def test_enterface_when_only_a_video_then_it_is_listed_with_what_to_do(tmp_path, tone):
    audio = tmp_path / "audio"
    for name in ("s1_an_1", "s1_an_2"):
        (audio / "subject 1/anger").mkdir(parents=True, exist_ok=True)
        (audio / f"subject 1/anger/{name}.avi").write_bytes(b"RIFF\x20\0\0\0AVI LIST" + bytes(40))
    tone(audio / "subject 1/anger/s1_an_2.wav")
    summary = part(tmp_path, "enterface", audio)
    index = load_index(tmp_path / "data", "enterface")
    # The extracted sound comes before the video it is of, though its name sorts after.
    assert index.column("path").tolist() == ["subject 1/anger/s1_an_2.wav"]
    assert [item["path"] for item in summary["left_out"]] == ["subject 1/anger/s1_an_2.avi"]
    (skipped,) = summary["skipped"]
    assert skipped["path"] == "subject 1/anger/s1_an_1.avi" and "damaged" in skipped["reason"]
    assert "sersl[av]" in CORPORA["enterface"].about.folder


MELD_COLUMNS = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)
MELD_EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")


@pytest.fixture
def meld(tmp_path, tone):
    """Three tables as in MELD.Raw, and clips of the first dialogue of each split."""
    folders = {"train": "train_splits", "dev": "dev_splits_complete"}
    folders["test"] = "output_repeated_splits_test"
    for split, folder in folders.items():
        rows = [
            f'{n},"Oh, my God, ""{n}""",Chandler,{emotion},positive,0,{n},8,21,'
            '"00:16:16,059","00:16:21,731"'
            for n, emotion in enumerate(MELD_EMOTIONS)
        ]
        (tmp_path / "audio").mkdir(exist_ok=True)
        table = tmp_path / "audio" / f"{split}_sent_emo.csv"
        table.write_text("\r\n".join([MELD_COLUMNS, *rows]) + "\r\n", encoding="utf-8")
        for n in range(len(MELD_EMOTIONS) if split == "train" else 1):
            tone(tmp_path / "audio" / folder / f"dia0_utt{n}.wav", seconds=0.1, hertz=200 + n)
    return tmp_path / "audio"


def test_meld_when_tables_and_clips_then_labels_folds_and_texts(meld, tmp_path, tone):
    folder = meld / "output_repeated_splits_test"
    tone(folder / "final_videos_testdia0_utt0.wav")  # second cut of a clip that is there
    tone(folder / "final_videos_testdia0_utt1.wav")  # the only cut
    tone(folder / "dia9_utt0.wav")
    (meld / "train_splits" / "._dia0_utt0.mp4").write_bytes(b"\0\5\x16\7")  # macOS metadata
    (meld / "train_splits" / "dia0_utt0.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(12))
    summary = part(tmp_path, "meld", meld)
    index = load_index(tmp_path / "data", "meld")
    got = dict(zip(index.column("utterance_id"), index.column("category"), strict=True))
    names = ("neutral", "surprise", "fear", "sad", "happy", "disgust", "angry")
    assert got == {
        **{f"train_dia0_utt{n}": name for n, name in enumerate(names)},
        "dev_dia0_utt0": "neutral",
        "test_dia0_utt0": "neutral",
        "test_dia0_utt1": "surprise",
    }
    assert set(index.column("fold")) == {"train", "validation", "test"}
    assert set(index.column("speaker")) == {"Chandler"}
    assert 'Oh, my God, "0"' in index.column("text")
    reasons = {item["path"].rsplit("/", 1)[1]: item["reason"] for item in summary["left_out"]}
    assert reasons["dia9_utt0.wav"] == "not in the table of its split"
    assert reasons["final_videos_testdia0_utt0.wav"].startswith("same utterance as")
    assert reasons["dia0_utt0.mp4"].startswith("same utterance as") and len(reasons) == 3


def test_meld_when_only_videos_then_each_is_listed_with_what_to_do(meld, tmp_path):
    for file in meld.rglob("*.wav"):
        file.with_suffix(".mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(12))
        file.unlink()
    with pytest.raises(
        UserError,
        match=r"none of 9 utterances can be used; the first, dev_splits_complete/dia0_utt0.mp4",
    ):
        part(tmp_path, "meld", meld)


def test_meld_when_videos_and_the_extra_then_their_sound_is_read(meld, tmp_path):
    wanted = write_mp4(meld / "train_splits/dia0_utt0.mp4")
    (meld / "train_splits/dia0_utt0.wav").unlink()
    part(tmp_path, "meld", meld)
    index = load_index(tmp_path / "data", "meld")
    row = index.column("utterance_id").tolist().index("train_dia0_utt0")
    assert index.column("path")[row] == "train_splits/dia0_utt0.mp4"
    assert abs(index.column("duration")[row] - wanted) < 0.1  # AAC comes in whole blocks


def write_mp4(path, seconds=0.3):
    """Writes a tone as AAC in MPEG-4, as MELD's clips have theirs; gives its seconds."""
    samples = (0.3 * np.sin(np.arange(round(seconds * 48_000)) / 20)).astype(np.float32)
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return seconds


def test_meld_when_a_table_is_missing_then_error_names_it(meld, tmp_path):
    (meld / "dev_sent_emo.csv").unlink()
    with pytest.raises(UserError, match=r"dev_sent_emo\.csv is not in"):
        list(make("meld", tmp_path).listing())


def test_meld_when_a_known_gap_then_no_utterance(meld, tmp_path):
    row = "1,Hi,Joey,neutral,neutral,125,3,1,1,00:00:00,00:00:01\n"
    with (meld / "train_sent_emo.csv").open("a") as table:
        table.write(row)
    builder = make("meld", tmp_path)
    builder.read_tables()
    item = builder.parse("train_splits/dia125_utt3.wav")
    assert item.reason == "not in the table of its split"


def test_scale_when_labels_have_no_ratings_then_dimensions_stay_empty(tmp_path, tone):
    tone(tmp_path / "audio" / "F01A01.wav")
    part(tmp_path, "shemo", tmp_path / "audio")
    assert np.isnan(load_index(tmp_path / "data", "shemo").column("arousal")).all()
