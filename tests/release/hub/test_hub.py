"""Models by name, from a hub on localhost; every fault is one sentence and exit code 2."""

import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import huggingface_hub
import pytest
import soundfile
from huggingface_hub import constants

import sersl
from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.core.growing import GrowingFile
from sersl.release.hub import fetching
from sersl.release.hub.hub_name import HubName, hub_name
from sersl.release.starting_weights import read_weights
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model, fake_source
from tests.release.hub.small_hub import EXPIRED, TOKEN, Repo

ROOT = Path(__file__).parents[3]
CARD = b"---\nlicense: mit\n---\n# A model\n"


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    return fake_model.write_fake(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = fake_source.write_source(tmp_path_factory.mktemp("sources") / "wav2vec2")
    (folder / "README.md").write_bytes(CARD)
    return folder


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, make_voice(1.0, 1), RATE)
    return str(path)


def sentence(capsys, *words):
    """Runs a command that must fail, and gives its one sentence."""
    assert main([str(word) for word in words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith("sersl: ") and sum("sersl: " in line for line in errors) == 1
    assert len(errors[-1]) < 400
    return errors[-1]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("openai/whisper-base", HubName("openai/whisper-base")),
        ("a/b.c_d@v1.0", HubName("a/b.c_d", "v1.0")),
        ("hf://a/b@refs/pr/1", HubName("a/b", "refs/pr/1")),
        ("model", None),
        ("a/b/c", None),
        ("./a/b", None),
        ("/a/b", None),
        ("../b", None),
        ("a/b/", None),
        ("a/" + "b" * 200, None),
        ("here/missing", None),
    ],
)
def test_hub_name_when_a_model_is_given_then_tells_names_from_paths(
    text, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert hub_name(text) == name
    assert hub_name(Path("a/b")) is None
    (tmp_path / "openai" / "whisper-base").mkdir(parents=True)
    assert hub_name("openai/whisper-base") is None
    assert hub_name("hf://openai/whisper-base") == HubName("openai/whisper-base")


def test_load_when_a_model_of_sersl_is_on_a_hub_then_downloads_what_it_needs_once(
    hub, model, voice, monkeypatch, caplog
):
    extra = {"optimizer.pt": b"x" * 1000, "pytorch_model.bin": b"y", "onnx/model.onnx": b"z"}
    hub.repos["me/voice"] = Repo({**files_of(model), **extra}, branches=("main", "v1"))
    answers = [sersl.load(name).predict(voice)["scores"] for name in (model, "me/voice@v1")]
    assert answers[0] == answers[1]
    assert "MB of me/voice@v1: model.safetensors" in caplog.text  # sizes are said first
    loaded = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    assert loaded == set(files_of(model))
    hub.requests.clear()
    sersl.load("me/voice@v1")
    assert not [request for request in hub.requests if request.startswith("GET /me")]
    commit = hub.repos["me/voice"].commit
    hub.requests.clear()
    sersl.load(f"me/voice@{commit}")  # a commit never changes, so nothing is asked
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    sersl.load("me/voice@v1")
    with pytest.raises(UserError, match=r"me/voice is not a folder here.*HF_HUB_OFFLINE"):
        sersl.load("me/voice")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for fault in ("down", "rubbish", "shape"):
        hub.fault = fault
        huggingface_hub.close_session()
        sersl.load("me/voice@v1")


def test_predict_when_the_model_on_a_hub_changes_between_two_starts_then_nothing_is_mixed(
    hub, model, tmp_path, monkeypatch
):
    other = fake_model.write_fake(tmp_path / "other", seed=5)
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", make_voice(1.0, number), RATE)
    audio = [str(tmp_path / f"{number}.wav") for number in range(2)]

    def command(name, output):
        return ["predict", "--model", str(name), *audio, "--output", str(tmp_path / output)]

    class KilledError(Exception):
        pass

    def die(file, done):
        commit(file, done)
        raise KilledError

    hub.repos["me/voice"] = Repo(files_of(model))
    commit = GrowingFile.commit
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(GrowingFile, "commit", die)
        main(command("me/voice", "a.jsonl"))
    hub.repos["me/voice"] = Repo(files_of(other))
    assert main(command("me/voice", "a.jsonl")) == 0
    assert main(command(other, "b.jsonl")) == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_import_when_a_name_is_given_then_model_and_card_have_its_origin(hub, source, tmp_path):
    hub.repos["facebook/small"] = Repo(files_of(source))
    output = tmp_path / "imported"
    assert main(["import", "--source", "facebook/small", "--output", str(output)]) == 0
    about = json.loads((output / "sersl.json").read_text())
    assert about["imported"]["source"] == f"facebook/small@{hub.repos['facebook/small'].commit}"
    assert about["licence"] == "mit" and "license: mit" in (output / "README.md").read_text()


def test_weights_when_a_name_is_given_then_it_is_imported_once(hub, source, tmp_path, capsys):
    hub.repos["facebook/small"] = Repo(files_of(source))
    weights = read_weights("facebook/small")
    assert weights.source == "facebook/small" and weights.encoder.width == 32
    assert "imported" in capsys.readouterr().err
    read_weights("facebook/small")
    assert "imported" not in capsys.readouterr().err
    own = tmp_path / "cache" / "sersl" / "models" / "facebook--small"
    assert len(list(own.iterdir())) == 1


def test_predict_when_the_model_has_no_heads_then_says_so_before_the_weights_are_loaded(
    hub, source, voice, capsys
):
    hub.repos["facebook/small"] = Repo(files_of(source))
    text = sentence(capsys, "predict", "--model", "facebook/small", voice)
    assert "no heads for emotions" in text and "--config.init_from=facebook/small" in text
    assert not any("model.safetensors" in request for request in hub.requests)


@pytest.mark.parametrize(
    ("kind", "token", "said"),
    [
        ("private", "", "asks for a token"),
        ("private", "hf_other", "to a token that may read it"),
        ("gated", "", "accept them on its page"),
        ("gated", "hf_other", "accept them on its page"),
        ("public", EXPIRED, "wrong or has expired"),
    ],
)
def test_load_when_the_hub_does_not_let_in_then_one_sentence_until_the_token_is_right(
    hub, model, voice, capsys, monkeypatch, kind, token, said
):
    hub.repos["me/secret"] = Repo(files_of(model), private=kind == "private", gated=kind == "gated")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    text = sentence(capsys, "predict", "--model", "me/secret", voice)
    assert "me/secret" in text and said in text and "HF_TOKEN" in text
    assert not token or token not in text
    if (kind, token) == ("private", ""):
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        sersl.load("me/secret")


@pytest.mark.parametrize("verb", ["predict", "import", "push"])
def test_name_when_huggingface_hub_is_not_installed_then_the_install_command(
    model, voice, tmp_path, capsys, monkeypatch, verb
):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    words = {
        "predict": ["--model", "openai/whisper-base", voice],
        "import": ["--source", "openai/whisper-base", "--output", tmp_path / "model"],
        "push": [model, "me/voice"],
    }
    text = sentence(capsys, verb, *words[verb])
    assert "pip install 'sersl[hub]'" in text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "HF_TOKEN"),
        ("revision", "no such revision"),
        ("empty", "has no config.json"),
        ("no weights", "has none of model.safetensors"),
        ("rubbish", "HF_ENDPOINT is a hub"),
        ("shape", "HF_ENDPOINT is a hub"),
        ("down", "error 503"),
        ("truncated", "cannot be used"),
        ("flipped", "damaged on its way"),
        ("gone", "cannot be reached"),
    ],
)
def test_load_when_a_hub_fails_then_one_sentence(hub, model, tmp_path, capsys, fault, said):
    files = files_of(model)
    if fault == "empty":
        files = {"README.md": CARD}
    if fault == "no weights":
        del files["model.safetensors"]
    hub.repos["me/voice"] = Repo(files)
    hub.fault = fault
    name = {"missing": "me/other", "revision": "me/voice@old"}.get(fault, "me/voice")
    if fault == "gone":
        constants.ENDPOINT = "http://127.0.0.1:9"  # the fixture sets it back
    audio = tmp_path / "a.wav"
    soundfile.write(audio, make_voice(1.0, 1), RATE)
    text = sentence(capsys, "predict", "--model", name, audio)
    assert said in text and name.partition("@")[0] in text
    if fault in ("truncated", "flipped"):  # and the next time all is well
        hub.fault = ""
        huggingface_hub.close_session()
        assert main(["predict", "--model", name, str(audio)]) == 0


@pytest.mark.slow
def test_load_when_a_hub_always_breaks_off_then_ends(hub, model, monkeypatch):
    hub.repos["me/voice"] = Repo(files_of(model))
    hub.fault = "breaks"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(UserError, match=r"me/voice|breaks off"):
        sersl.load("me/voice")


@pytest.mark.slow
def test_program_when_the_environment_names_a_mirror_then_uses_it(hub, model, voice, tmp_path):
    hub.repos["me/voice"] = Repo(files_of(model), private=True)
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
    }
    words = [sys.executable, "-m", "sersl", "predict", "--model", "me/voice", voice]
    first = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    again = subprocess.run(words, env=offline, capture_output=True, text=True, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr


def test_push_when_a_model_is_uploaded_then_it_loads_by_its_name(
    hub, model, voice, monkeypatch, capsys
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(["push", str(model), "me/voice", "--private"]) == 0
    assert f"{hub.url}/me/voice/commit/" in capsys.readouterr().out
    assert hub.repos["me/voice"].private and set(hub.sent) == set(files_of(model))
    card = hub.repos["me/voice"].files["README.md"].decode()
    assert 'sersl.load("me/voice")' in card and "license: mit" in card
    expected = sersl.load(model).predict(voice)["scores"]
    assert sersl.load("me/voice").predict(voice)["scores"] == expected
    folder = next(Path(constants.HF_HUB_CACHE).glob("models--me--voice/snapshots/*"))
    assert main(["export", "--check", str(folder)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_push_when_it_must_not_then_one_sentence(hub, model, tmp_path, monkeypatch, capsys):
    text = sentence(capsys, "push", model, "me/voice")
    assert "token" in text
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "OWNER/NAME" in sentence(capsys, "push", model, "voice")
    plain = fake_model.write_fake(tmp_path / "plain", licence="")
    assert "needs a licence" in sentence(capsys, "push", plain, "me/voice")
    damaged = fake_model.write_fake(tmp_path / "damaged")
    (damaged / "config.json").write_text("{}")
    assert "config.json" in sentence(capsys, "push", damaged, "me/voice")
    assert not hub.sent
    hub.fault = "full"
    assert "too large" in sentence(capsys, "push", model, "me/voice")


@pytest.mark.parametrize("weight_map", [[], "model.bin", None, {"a": [1]}])
def test_cache_when_its_list_of_shards_is_damaged_then_one_sentence(tmp_path, weight_map):
    (tmp_path / "config.json").write_text("{}")
    content = json.dumps({"weight_map": weight_map})
    (tmp_path / "model.safetensors.index.json").write_text(content)
    library = types.SimpleNamespace(
        try_to_load_from_cache=lambda *names, **revision: str(tmp_path / "config.json")
    )
    with pytest.raises(UserError, match=r"index\.json.*weight_map"):
        fetching._cached(library, HubName("owner/name"))
