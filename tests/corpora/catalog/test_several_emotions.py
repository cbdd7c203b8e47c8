"""WHiSER, SAMSEMO and CMU-MOSEAS on small trees in their true form, and secondary emotions."""

import json

import h5py
import numpy as np
import pytest

from sersl.config.schema import LabelsConfig
from sersl.core.errors import UserError
from sersl.corpora.index import load_index
from sersl.corpora.label_columns import applying
from sersl.corpora.prepare import prepare
from sersl.finetuning.label_choice import choose_view
from tests.corpora.catalog.test_rated_corpora import noise, part, rows, write
from tests.tolerances import FP32

# The first block is that of the release's readme.
BLOCKS = """006-040.1-2_13.wav; H; A:4.200000; V:4.800000; D:5.000000;
WORKER00014325; Sad; Sad,Concerned; A:2.000000; V:4.000000; D:4.000000;
WORKER00014332; Happy; Happy,Concerned; A:4.000000; V:6.000000; D:6.000000;
WORKER00014342; Fear; Neutral,Concerned,Fear; A:5.000000; V:3.000000; D:5.000000;
WORKER00014343; Happy; Happy,Concerned; A:5.000000; V:5.000000; D:5.000000;
WORKER00014344; Happy; Happy; A:5.000000; V:6.000000; D:5.000000;

006-040.1-2_14.wav; X; A:1.000000; V:7.000000; D:4.000000;
WORKER00014325; Other-confused; Concerned,Confused; A:1.000000; V:7.000000; D:4.000000;
WORKER00014332; Neutral; ; A:1.000000; V:7.000000; D:4.000000;

"""
CONSENSUS = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
006-040.1-2_13.wav,H,4.2,4.8,5.0,12,Male,NA
006-040.1-2_14.wav,X,1,7,4,Unknown,Female,NA
"""


@pytest.fixture
def whiser(tmp_path, tone):
    audio = tmp_path / "audio"
    write(audio / "Labels/labels.txt", BLOCKS)
    write(audio / "Labels/labels_consensus.csv", CONSENSUS)
    write(audio / "Annotation_wav_files_ref.txt", "006-040.1-2_13.wav 006-040.wav 12.5 3.0\n")
    for number in (13, 14, 99):
        name = f"Annotation_wav_files/006-040.1-2_{number}.wav"
        tone(audio / name, seconds=0.1, hertz=200 + number)
    return audio


def test_whiser_when_prepared_then_blocks_raters_and_no_split(whiser, tmp_path):
    summary = part(tmp_path, "whiser", allow_unexpected_count=False)
    columns = ("category", "category_raw", "speaker", "gender", "session", "fold", "scale_high")
    got = rows(tmp_path, "whiser", *columns)
    first, second = "006-040.1-2_13", "006-040.1-2_14"
    assert got[first] == ("happy", "H", "12", "male", "006-040.1-2", "", 7.0)
    assert got[second] == ("", "X", "", "female", "006-040.1-2", "", 7.0)
    np.testing.assert_allclose(
        rows(tmp_path, "whiser", "arousal", "valence", "dominance")[first],
        (3.2 / 6, 3.8 / 6, 4 / 6),
        **FP32,
    )
    assert json.loads(rows(tmp_path, "whiser", "votes")[first]) == {"happy": 3, "sad": 1, "fear": 1}
    raters = json.loads(rows(tmp_path, "whiser", "extra")[first])["annotators"]
    assert raters["WORKER00014342"] == {
        "category": "fear",
        "secondary": ["neutral", "concerned", "fear"],
        "arousal": 0.666667,
        "valence": 0.333333,
        "dominance": 0.666667,
    }
    assert summary["left_out"][0]["reason"] == "segment without a label in Labels/labels.txt"


def test_secondary_when_counted_then_categories_that_half_of_the_raters_named(whiser, tmp_path):
    part(tmp_path, "whiser")
    index = load_index(tmp_path / "data", "whiser")
    view = choose_view(LabelsConfig(secondary=True), [index])
    assert view.multi and {"concerned", "confused"} < set(view.names)
    table = applying(index, view)
    applies = [{n for n, x in zip(view.names, row, strict=True) if x} for row in table]
    # concerned: 4 of 5 raters; happy: 3 of 5. Then one of two raters each.
    assert applies == [{"happy", "concerned"}, {"neutral", "other", "concerned", "confused"}]
    without = choose_view(LabelsConfig(kind="multi"), [index])
    assert not without.secondary and "concerned" not in without.names
    assert not choose_view(LabelsConfig(), [index]).multi
    with pytest.raises(UserError, match=r"set labels\.kind 'multi', or labels\.secondary to False"):
        choose_view(LabelsConfig(secondary=True, kind="single"), [index])


def test_secondary_when_a_manifest_has_raters_then_the_same_and_without_any_an_error(
    make_manifest, tmp_path
):
    answers = {"r1": {"emotion": "joy", "secondary": ["surprised"]}, "r2": "sad"}
    cell = '"' + json.dumps(answers).replace('"', '""') + '"'
    path = make_manifest(
        [{"path": "a.wav", "annotators": cell}, {"path": "b.wav", "annotators": ""}]
    )
    prepare(data_dir=tmp_path / "data", manifest=path, name="own")
    index = load_index(tmp_path / "data", "own")
    view = choose_view(LabelsConfig(secondary=True), [index])
    assert view.names == ("happy", "sad", "surprise")
    assert applying(index, view)[0].tolist() == [1, 1, 1]
    path = make_manifest([{"path": "a.wav", "emotion": "sad"}], name="plain.csv")
    prepare(data_dir=tmp_path / "data", manifest=path, name="plain")
    with pytest.raises(UserError, match="no rater of plain named a secondary emotion"):
        choose_view(LabelsConfig(secondary=True), [load_index(tmp_path / "data", "plain")])
    write(tmp_path / "bad.csv", 'path,annotators\na.wav,"{""r1"": {""secondary"": 3}}"\n')
    with pytest.raises(UserError, match="secondary 3 is not a list of words"):
        prepare(data_dir=tmp_path / "data", manifest=tmp_path / "bad.csv", name="bad")


def test_whiser_when_labels_are_wrong_then_error_names_the_line(whiser, tmp_path):
    for old, new, message in (
        ("; H;", "; Q;", "line 1: emotion 'Q' is none of A, S, H"),
        ("_14.wav", "_13.wav", "line 8: 006-040.1-2_13.wav has a second block"),
        ("WORKER00014325; Sad; Sad,Concerned; A", "Sad; A", "line 2: .* is not WORKER; emotion"),
    ):
        write(whiser / "Labels/labels.txt", BLOCKS.replace(old, new, 1))
        with pytest.raises(UserError, match=message):
            part(tmp_path, "whiser")
    write(whiser / "Labels/labels.txt", "WORKER1; Sad; Sad; A:2; V:2; D:2;\n" + BLOCKS)
    with pytest.raises(UserError, match=r"line 1: .* is before the first"):
        part(tmp_path, "whiser")
    (whiser / "Labels/labels.txt").unlink()
    with pytest.raises(UserError, match=r"there is no Labels/labels\.txt"):
        part(tmp_path, "whiser")


SCENES = """utterance_id\tmovie_title\tmovie_link\tlanguage\tsex\tage\temotion_1_annotator_1\t\
emotion_2_annotator_1\temotion_1_annotator_2\temotion_1_annotator_3\taggregated_emotions\ttranscript
p1lutabubu_15\tTalk\thttps://a\tEN\tfemale\tadult\thappiness\tsurprise\thappiness\tneutral\t\
happiness\tWell "done!
p1lutabubu_16\tTalk\thttps://a\tEN\tother\tadult\tanger\tdisgust\tdisgust\tanger\tanger, disgust\t
29z1et8j3d_8\tFilm\thttps://b\tKO\tmale\tchild\tsadness\t\tsadness\tfear\t\t
"""


@pytest.fixture
def samsemo(tmp_path, tone):
    audio = tmp_path / "audio"
    write(audio / "samsemo.tsv", SCENES)
    write(audio / "splits/train_split_EN.txt", "p1lutabubu_15\n")
    write(audio / "splits/valid_split_EN.txt", "p1lutabubu_16\n")
    write(audio / "splits/test_split_KO.txt", "29z1et8j3d_8\n")
    for number, scene in enumerate(("EN/p1lutabubu_15", "EN/p1lutabubu_16", "KO/29z1et8j3d_8")):
        tone(audio / f"data/{scene}/audio.wav", seconds=0.1, hertz=200 + 10 * number)
    tone(audio / "data/EN/unknown_1/audio.wav", seconds=0.1)
    return audio


def test_samsemo_when_prepared_then_several_emotions_languages_and_splits(samsemo, tmp_path):
    summary = part(tmp_path, "samsemo", allow_unexpected_count=False)
    columns = ("category", "language", "gender", "speaker", "fold", "text")
    got = rows(tmp_path, "samsemo", *columns)
    assert got == {
        "p1lutabubu_15": ("happy", "en", "female", "p1lutabubu", "train", 'Well "done!'),
        "p1lutabubu_16": ("", "en", "", "p1lutabubu", "validation", ""),
        "29z1et8j3d_8": ("sad", "ko", "male", "29z1et8j3d", "test", ""),  # two of three raters
    }
    extra = json.loads(rows(tmp_path, "samsemo", "extra")["p1lutabubu_16"])
    assert extra["categories"] == ["angry", "disgust"]
    assert extra["annotators"]["annotator_1"] == {"category": "angry", "secondary": ["disgust"]}
    index = load_index(tmp_path / "data", "samsemo")
    assert choose_view(LabelsConfig(), [index]).multi
    assert summary["left_out"][0]["reason"] == "file without a scene in samsemo.tsv"


def test_samsemo_when_the_table_is_another_then_error_says_what_is_missing(samsemo, tmp_path):
    table = samsemo / "samsemo.tsv"
    write(table, SCENES.replace("\tanger\t", "\tangst\t", 1))
    with pytest.raises(UserError, match="unknown emotion label 'angst'"):
        part(tmp_path, "samsemo")
    write(table, SCENES.replace("emotion_", "e").replace("aggregated_emotions", "all"))
    with pytest.raises(UserError, match="neither aggregated_emotions nor a column such as"):
        part(tmp_path, "samsemo")
    table.unlink()
    with pytest.raises(UserError, match=r"there is no samsemo\.tsv"):
        part(tmp_path, "samsemo")


def test_samsemo_when_the_table_names_annotators_then_they_are_the_raters(samsemo, tmp_path):
    head, *lines = SCENES.splitlines()
    lines = [f"{line}\tEN_7\t\tEN_7" for line in lines]
    table = "\n".join([f"{head}\tannotator_1\tannotator_2\tannotator_3", *lines])
    write(samsemo / "samsemo.tsv", table + "\n")
    part(tmp_path, "samsemo")
    raters = json.loads(rows(tmp_path, "samsemo", "extra")["p1lutabubu_16"])["annotators"]
    assert list(raters) == ["EN_7", "annotator_2", "annotator_3"]  # one name twice: both are kept
    assert raters["EN_7"] == {"category": "angry", "secondary": ["disgust"]}


def test_samsemo_when_there_are_two_tables_then_error_names_both(samsemo, tmp_path):
    write(samsemo / "old/samsemo.tsv", SCENES)
    with pytest.raises(UserError, match=r"there are old/samsemo\.tsv and samsemo\.tsv in"):
        part(tmp_path, "samsemo")


def test_cmu_moseas_when_four_languages_then_segments_strengths_and_attributes(tmp_path):
    audio = tmp_path / "audio"
    header = "file,start,end,sentiment,happiness,sadness,anger,surprise,disgust,fear,confident"
    for language in ("German", "pt", "Spanish"):
        noise(audio / f"{language}/WAV/v1.wav", 0.4, len(language))
        text = f"{header},split\nv1,0.2,0.4,-3,0,2,1,0,0,0,1,test\nv1,0,0.2,0,1,1,0,0,0,0,2,\n"
        write(audio / f"{language}/labels.csv", text)
    noise(audio / "French/WAV/v1.wav", 0.4, 9)
    with h5py.File(audio / "French/CMU_MOSEAS_Labels.csd", "w") as file:
        names = ["sentiment", "happiness", "sadness", "anger", "surprise", "disgust", "fear"]
        file["French Labels/metadata/dimension names"] = [json.dumps(names).encode()]
        file["French Labels/data/v1/intervals"] = np.array([[0.0, 0.2]])
        file["French Labels/data/v1/features"] = np.array([[3, 0, 0, 0, 0, 0, 1.5]], np.float32)
    part(tmp_path, "cmu_moseas", allow_unexpected_count=False)
    columns = ("category", "category_raw", "intensity", "valence", "language", "fold")
    got = rows(tmp_path, "cmu_moseas", *columns)
    assert got["fr_v1_0"] == ("fear", "fear", 0.5, 1.0, "fr", "")
    assert got["pt_v1_1"] == ("sad", "sadness", pytest.approx(2 / 3), 0.0, "pt", "test")
    assert got["de_v1_0"][0] == ""  # two are equal
    assert len(got) == 7
    assert json.loads(rows(tmp_path, "cmu_moseas", "extra")["es_v1_1"])["confident"] == 1
    write(audio / "pt/labels.csv", "file,start,end,sentiment\nv1,0,0.2,1\n")
    with pytest.raises(UserError, match="has no column of an emotion"):
        part(tmp_path, "cmu_moseas", overwrite=True)
    for folder in ("German", "pt", "Spanish"):
        (audio / folder / "labels.csv").unlink()
    (audio / "French/CMU_MOSEAS_Labels.csd").write_bytes(b"not HDF5")
    with pytest.raises(UserError, match="is damaged"):
        part(tmp_path, "cmu_moseas", overwrite=True)
