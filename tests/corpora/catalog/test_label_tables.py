"""Label files of corpora that were saved again, cut off or exchanged: read, or one sentence."""

import json
import math

import pytest

from sersl.core.errors import UserError
from sersl.corpora.catalog.registry import CORPORA

VOTES = (
    '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote","meanEmoResp"\n'
    '"1001",8,0,0,0,2,0,"1001_DFA_ANG_XX",10,.8,"A",60.2\n'
    '"2001",0,0,0,9,0,0,"1001_DFA_ANG_XX",9,1,"H",50\n'
)
ACTORS = "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
PODCAST = (
    "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,3.0,97,Female,Train\n"
    "MSP-PODCAST_0001_0009.wav,X,{0},{0},{0},{0},{0},{0}\n"
)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 84\n"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def listed(tmp_path, corpus):
    builder = CORPORA[corpus](data_dir=tmp_path / "data", audio_dir=tmp_path / "audio")
    return {item.utterance_id: item for item in builder.listing() if hasattr(item, "speaker")}


@pytest.fixture
def cremad(tmp_path, tone):
    tone(tmp_path / "audio/AudioWAV/1001_DFA_ANG_XX.wav")

    def make(votes=VOTES, actors=ACTORS):
        write(tmp_path / "audio/processedResults/tabulatedVotes.csv", votes)
        write(tmp_path / "audio/VideoDemographics.csv", actors)
        return listed(tmp_path, "cremad")["1001_DFA_ANG_XX"]

    return make


@pytest.mark.parametrize(
    "actors",
    [
        ACTORS.replace(",", ";").replace("\n", "\r\n"),
        ACTORS.replace(",", "\t"),
        ACTORS.encode("utf-16"),
        ACTORS.replace("Caucasian", "Cr\u00e9ole").encode("latin-1"),
        ("\ufeff" + ACTORS + "\n\n").encode(),
    ],
)
def test_cremad_when_a_table_was_saved_again_then_the_same_actors(cremad, actors):
    item = cremad(actors=actors)
    assert (item.gender, item.extra["age"]) == ("male", "51")
    assert item.votes == {"angry": 8, "neutral": 2}


def test_cremad_when_votes_have_semicolons_and_decimal_commas_then_the_same(cremad):
    rows = [line.split(",") for line in VOTES.replace('"', "").splitlines()]
    text = "".join(";".join(row).replace(".", ",") + "\n" for row in rows)
    item = cremad(votes=text)
    assert item.votes == {"angry": 8, "neutral": 2} and item.extra["voice_level"] == 60.2


def test_cremad_when_values_are_missing_then_empty(cremad):
    item = cremad(votes=VOTES.replace("60.2", "NA"), actors=ACTORS.replace("Male", "NA"))
    assert item.gender == "" and "voice_level" not in item.extra


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"actors": LFS}, r"VideoDemographics.csv is a Git LFS pointer.*git lfs pull"),
        ({"votes": LFS}, r"tabulatedVotes.csv is a Git LFS pointer"),
        ({"actors": "a,b\n1,2\n"}, r"VideoDemographics.csv line 1: there is no column 'ActorID'"),
        ({"actors": ACTORS.replace("Male", "robot")}, r"line 2, column 'Sex': 'robot' is none of"),
        ({"votes": VOTES.replace("8,0", "many,0")}, r"line 2, column 'A': 'many' is not a number"),
        ({"votes": VOTES.replace("60.2", "inf")}, r"line 2, column 'meanEmoResp': 'inf' is not"),
        ({"votes": b"PK\3\4\0\0"}, r"holds binary data"),
    ],
)
def test_cremad_when_a_table_is_broken_then_file_line_and_column(cremad, tables, sentence):
    with pytest.raises(UserError, match=sentence):
        cremad(**tables)


@pytest.mark.parametrize("mark", ["", "NA", "nan", "-", "NULL"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_msp_podcast_when_ratings_are_missing_then_not_rated(tmp_path, tone, mark, separator):
    for number in (8, 9):
        tone(tmp_path / f"audio/Audios/MSP-PODCAST_0001_000{number}.wav")
    text = PODCAST.format(mark).replace(",", separator)
    write(tmp_path / "audio/Labels/labels_consensus.csv", text)
    items = listed(tmp_path, "msp_podcast")
    first, second = items["MSP-PODCAST_0001_0008"], items["MSP-PODCAST_0001_0009"]
    assert first.arousal == pytest.approx(0.2) and first.speaker == "97"
    assert math.isnan(second.arousal) and math.isnan(second.scale_low)
    assert second.speaker == second.gender == second.fold == ""


def test_lssed_when_labels_are_unknown_then_all_in_one_sentence(tmp_path, tone):
    tone(tmp_path / "audio/wav_all/a.wav")
    write(
        tmp_path / "audio/metadata_english_all.csv",
        "name,emotion\na,hapy\nb,odd\nc,sad\nd,disappointed\n",
    )
    with pytest.raises(UserError) as caught:
        listed(tmp_path, "lssed")
    assert "'hapy' (metadata_english_all.csv line 2, column 'emotion'" in str(caught.value)
    assert "'odd' (metadata_english_all.csv line 3" in str(caught.value)
    assert "sad'" not in str(caught.value).split("categories are")[0]


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "null",
        "[]",
        '{"speaker": "a"}',
        '{"speaker": "a", "voice_activity": null}',
        '{"speaker": "a", "voice_activity": [[0.5, 0.1]]}',
        '{"speaker": "a", "voice_activity": [[0.5, 1e999]]}',
        '{"speaker": "a", "voice_activity": [1, 2]}',
        LFS,
    ],
)
def test_librilight_when_the_file_beside_is_broken_then_one_sentence(tmp_path, tone, content):
    tone(tmp_path / "audio/small/1/b/c.flac")
    write(tmp_path / "audio/small/1/b/c.json", content)
    with pytest.raises(UserError, match=r"c\.json") as caught:
        listed(tmp_path, "librilight")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "recording",
    [
        3,
        {"path": "a.opus"},
        {"path": None, "segments": []},
        {"path": "a.wav", "segments": [{}]},
        {"path": "a.wav", "segments": [{"sid": "s", "text_tn": "a", "begin_time": "x"}]},
        {"path": "a.wav", "segments": [{"sid": "s", "text_tn": "a", "begin_time": 0}]},
        {"path": "a.wav", "segments": {"sid": "s"}},
    ],
)
def test_gigaspeech_when_the_list_lacks_a_field_then_one_sentence(tmp_path, tone, recording):
    tone(tmp_path / "audio/a.wav")
    write(tmp_path / "audio/GigaSpeech.json", json.dumps({"audios": [recording]}, indent=1))
    with pytest.raises(UserError, match=r"GigaSpeech\.json line 3"):
        listed(tmp_path, "gigaspeech")


def test_librispeech_when_the_speakers_are_broken_then_file_and_line(tmp_path, tone):
    tone(tmp_path / "audio/train-clean-100/103/1240/103-1240-0000.flac")
    for line in ("14 | X | train", "14"):
        write(tmp_path / "audio/SPEAKERS.TXT", f"; ID | SEX\n{line}\n")
        with pytest.raises(UserError, match=r"SPEAKERS\.TXT line 2: not a speaker"):
            listed(tmp_path, "librispeech")


def test_iemocap_when_a_label_is_unknown_then_file_and_turn(tmp_path, tone):
    tone(tmp_path / "audio/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav")
    write(
        tmp_path / "audio/Session1/dialog/EmoEvaluation/Ses01F_impro01.txt",
        "[6.2 - 8.2]\tSes01F_impro01_F000\todd\t[1.5, 4.0, 4.5]\nC-E2:\tMad;\t()\n",
    )
    with pytest.raises(UserError, match=r"'odd' \(.*Ses01F_impro01\.txt, .*F000\).*'Mad' \("):
        listed(tmp_path, "iemocap")
