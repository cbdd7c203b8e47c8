"""Views beside audio in requests: vectors in a form, and rows of a table by name."""

import asyncio
import json

import numpy as np
import pytest

import sersl
from sersl.config.fusion import ViewConfig
from sersl.config.schema import PoolingConfig
from sersl.release.predict.predictor import load
from sersl.release.serve.service import Service
from sersl.release.serve.service_limits import Limits
from tests.fake_speech import make_voice
from tests.release import fake_model
from tests.release.serve.running import wav

POOLING = PoolingConfig(kind="attention", layers="last", hidden=4)
VIEW = ViewConfig(name="text", kind="table", pooling=POOLING, width=3, num_vectors=2)
VECTORS = [[0.5, -1.0, 2.0], [1.0, 1.0, 0.0]]


def form(*parts):
    """Encodes (name, options, content) of each part."""
    body = b""
    for name, options, content in parts:
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"{options}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + b"--x--\r\n"


async def ask(app, path, body, kind):
    """Sends a request to an application; returns the status and the JSON of the answer."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"content-type", kind.encode())],
        "root_path": "",
    }
    messages, sent, gone = [{"type": "http.request", "body": body}], [], asyncio.Event()

    async def receive():
        if not messages:
            await gone.wait()
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    gone.set()
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The answers of one service, and of its model."""
    folder = tmp_path_factory.mktemp("served")
    fake_model.write_fake(folder / "model", views=(VIEW,))
    table = folder / "text.npz"
    np.savez(table, utterance_id=["known"], vectors=np.array(VECTORS, np.float32), lengths=[2])
    model = load(folder / "model", tables={"text": table})
    audio = wav(make_voice(1.0))
    file = ("file", '; filename="new.wav"', audio)
    kind = "multipart/form-data; boundary=x"
    vectors = json.dumps(VECTORS).encode()
    requests = {
        "field": ("/predict", form(file, ("text", "", vectors)), kind),
        "as a file": ("/predict", form(("text", '; filename="v.json"', vectors), file), kind),
        "by name": ("/predict?name=known.wav", audio, "audio/wav"),
        "none": ("/predict", form(file), kind),
        "not JSON": ("/predict", form(file, ("text", "", b"[1,")), kind),
        "width": ("/predict", form(file, ("text", "", b"[1, 2]")), kind),
        "unknown": ("/predict", form(file, ("txt", "", b"[1]")), kind),
        "twice": ("/predict", form(file, ("text", "", vectors), ("text", "", vectors)), kind),
    }

    async def answers():
        service = Service(model, Limits(decoders=1), name="model")
        async with service.app.router.lifespan_context(service.app):
            answers = {name: await ask(service.app, *one) for name, one in requests.items()}
            service.stopping.set()
            return answers

    given = sersl.WithViews(audio, vectors={"text": VECTORS})
    return asyncio.run(answers()) | {
        "model": (200, model.predict(given)),
        "model alone": (200, model.predict(audio)),
    }


@pytest.mark.parametrize(
    ("name", "same"),
    [("field", "model"), ("as a file", "model"), ("by name", "model"), ("none", "model alone")],
)
def test_post_when_views_come_with_the_audio_then_answers_of_the_model(found, name, same):
    status, answer = found[name]
    assert status == 200, answer
    for key in ("scores", "dimensions"):
        for one, value in found[same][1][key].items():
            assert answer[key][one] == pytest.approx(value, abs=1e-4)
    assert found["model"][1]["scores"] != pytest.approx(found["model alone"][1]["scores"], abs=1e-2)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("not JSON", "view 'text' is not JSON"),
        ("width", "1 x 2 numbers"),
        ("unknown", "a field 'txt', and this model reads text beside the file"),
        ("twice", "view 'text' twice"),
    ],
)
def test_post_when_views_are_wrong_then_one_sentence(found, name, sentence):
    status, answer = found[name]
    assert status == 400 and sentence in answer["error"]
