"""Downloads against a server on this machine that fails in the ways that servers do."""

import fcntl
import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import soundfile

from sersl.cli.prepare import run
from sersl.core.errors import UserError
from sersl.corpora import download
from sersl.corpora.catalog import archives
from sersl.corpora.catalog.archives import ARCHIVES, Archive
from sersl.corpora.catalog.registry import CORPORA


class Server:
    """Serves one file; `behaviour` says how."""

    def __init__(self, content: bytes):
        self.content = content
        self.behaviour = []  # one word per request, then it behaves well
        self.requests = []  # Range header of each
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/files/Audio.zip?download=1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request):
        wanted = request.headers["Range"]
        self.requests.append(wanted)
        behaviour = self.behaviour.pop(0) if self.behaviour else "well"
        if behaviour.isdigit():
            request.send_error(int(behaviour))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if behaviour == "no ranges":
            start = 0
        elif start >= len(self.content):
            request.send_error(416)
            return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        if behaviour != "no length":
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if behaviour == "half" else body)


def audio_bytes() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, [0.1, -0.1] * 4000, 16_000, format="WAV")
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for actor in ("01", "02"):
            file.writestr(f"Actor_{actor}/03-01-05-01-01-01-{actor}.wav", audio_bytes())
        file.writestr("../escape.txt", "no")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "_PAUSE", 0.0)


@pytest.fixture
def server(monkeypatch):
    made = Server(zipped())
    known = {"speech": archive_of(made)}
    monkeypatch.setitem(ARCHIVES, "ravdess", known)
    yield made
    made.http.shutdown()


def archive_of(server, **more) -> Archive:
    given = {
        "url": server.url,
        "num_bytes": len(server.content),
        "checksum": f"md5:{hashlib.md5(server.content).hexdigest()}",
    }
    return Archive(**(given | more))


def files(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


EXPECTED = [
    ".downloads/lock",
    "speech/Actor_01/03-01-05-01-01-01-01.wav",
    "speech/Actor_02/03-01-05-01-01-01-02.wav",
    "speech/escape.txt",  # inside, whatever its name says
]


def test_download_when_all_is_well_then_unpacked_once(server, tmp_path):
    seen = []
    folders = download.download(
        "ravdess", tmp_path, progress=lambda name, done, total: seen.append((name, done, total))
    )
    assert folders == [tmp_path / "speech"] and files(tmp_path) == EXPECTED
    assert seen[-1] == ("Audio.zip", len(server.content), len(server.content))
    download.download("ravdess", tmp_path)
    assert server.requests == [None]  # what is there is left alone


@pytest.mark.parametrize("second", ["well", "no ranges", "no length"])
def test_download_when_the_connection_breaks_then_it_goes_on_from_there(server, tmp_path, second):
    server.behaviour = ["half", second]
    download.download("ravdess", tmp_path)
    assert files(tmp_path) == EXPECTED
    assert server.requests == [None, f"bytes={len(server.content) // 2}-"]


def test_download_when_a_run_was_killed_then_the_next_one_goes_on(server, tmp_path):
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "Audio.zip.part").write_bytes(server.content[:100])
    (tmp_path / ".downloads" / "unpacking").mkdir()
    download.download("ravdess", tmp_path)
    assert server.requests == ["bytes=100-"] and files(tmp_path) == EXPECTED


def test_download_when_the_size_is_not_published_and_all_is_there_then_it_is_checked(
    server, tmp_path, monkeypatch
):
    monkeypatch.setitem(ARCHIVES, "ravdess", {"speech": archive_of(server, num_bytes=None)})
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "Audio.zip.part").write_bytes(server.content)
    download.download("ravdess", tmp_path)
    assert files(tmp_path) == EXPECTED


def test_download_when_the_server_is_busy_then_tried_again_and_given_up_in_a_sentence(
    server, tmp_path
):
    server.behaviour = ["503", "429", "well"]
    download.download("ravdess", tmp_path / "one")
    assert files(tmp_path / "one") == EXPECTED
    server.behaviour = ["503"] * 9
    with pytest.raises(UserError, match=r"127.0.0.1 stopped sending Audio.zip .* again later"):
        download.download("ravdess", tmp_path / "two")


@pytest.mark.parametrize("code", ["404", "403", "410"])
def test_download_when_the_file_is_gone_then_a_sentence(server, tmp_path, code):
    server.behaviour = [code]
    with pytest.raises(UserError, match=rf"answers {code} .* for Audio.zip: .* another way"):
        download.download("ravdess", tmp_path)
    assert len(server.requests) == 1 and not (tmp_path / "speech").exists()


def test_download_when_the_content_is_another_then_removed_with_a_sentence(
    server, tmp_path, monkeypatch
):
    wrong = archive_of(server, checksum="sha256:" + "0" * 64)
    monkeypatch.setitem(ARCHIVES, "ravdess", {"speech": wrong})
    with pytest.raises(UserError, match=r"has the sha256 [0-9a-f]{64}, published is 0{64}"):
        download.download("ravdess", tmp_path)
    assert files(tmp_path) == [".downloads/lock"]
    shorter = archive_of(server, num_bytes=10)
    monkeypatch.setitem(ARCHIVES, "ravdess", {"speech": shorter})
    with pytest.raises(UserError, match=r"bytes, 10 are published"):
        download.download("ravdess", tmp_path)


def test_download_when_there_is_no_network_then_a_sentence_with_the_other_way(
    server, tmp_path, monkeypatch
):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UserError, match=r"127.0.0.1 cannot be reached .*: check the network, or"):
        download.download("ravdess", tmp_path)
    nowhere = archive_of(server, url="https://nowhere.invalid/a.zip")
    monkeypatch.setitem(ARCHIVES, "ravdess", {"speech": nowhere})
    with pytest.raises(UserError, match=r"nowhere.invalid cannot be reached"):
        download.download("ravdess", tmp_path)


def test_download_when_another_process_is_at_it_then_a_sentence(server, tmp_path):
    (tmp_path / ".downloads").mkdir()
    with (tmp_path / ".downloads" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is downloading"):
            download.download("ravdess", tmp_path)


def test_download_when_a_tar_has_one_folder_then_it_is_the_part(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        item = tarfile.TarInfo("LibriSpeech/dev-clean/84/121123/84-121123-0000.flac")
        item.size = 4
        file.addfile(item, io.BytesIO(b"fLaC"))
    made = Server(buffer.getvalue())
    monkeypatch.setitem(ARCHIVES, "librispeech", {"dev-clean": archive_of(made)})
    download.download("librispeech", tmp_path, parts=["dev-clean"])
    made.http.shutdown()
    assert files(tmp_path)[1:] == ["dev-clean/dev-clean/84/121123/84-121123-0000.flac"]


def encrypted(content: bytes) -> bytes:
    """Sets the flag of encryption in both headers of a zip's first file."""
    content = bytearray(content)
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.find(header) + flags] |= 1
    return bytes(content)


def with_method(content: bytes, method: int) -> bytes:
    """Sets the method of compression in both headers of a zip's first file."""
    content = bytearray(content)
    for header, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.find(header) + at] = method
    return bytes(content)


def deflated_and_damaged() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.wav", audio_bytes())
    content = bytearray(buffer.getvalue())
    content[60:80] = b"\xff" * 20
    return bytes(content)


def tarred(mode="w:gz", **fields) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        item = tarfile.TarInfo("a.wav")
        for name, value in fields.items():
            setattr(item, name, value)
        file.addfile(item)
        item = tarfile.TarInfo("b.wav")
        item.size = 50_000
        file.addfile(item, io.BytesIO(bytes(range(250)) * 200))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encrypted(zipped()), id="encrypted"),
        pytest.param(with_method(zipped(), 99), id="unknown compression"),
        pytest.param(with_method(zipped(), 8), id="not deflated"),
        pytest.param(deflated_and_damaged(), id="damaged deflate"),
        pytest.param(zipped()[:-40], id="zip cut off"),
        pytest.param(tarred()[:-30], id="tar cut off"),
        pytest.param(tarred("w:xz")[:-60], id="xz cut off"),
        pytest.param(tarred(name="../../outside.wav"), id="outside"),
        pytest.param(tarred(type=tarfile.SYMTYPE, linkname="/etc/passwd"), id="link"),
        pytest.param(tarred(type=tarfile.CHRTYPE), id="device"),
        pytest.param(b"<html>sign in</html>", id="a page"),
    ],
)
def test_download_when_the_archive_cannot_be_unpacked_then_one_sentence(
    tmp_path, monkeypatch, content
):
    made = Server(content)
    monkeypatch.setitem(ARCHIVES, "ravdess", {"speech": archive_of(made)})
    with pytest.raises(UserError, match=r"Audio\.zip cannot be unpacked \(") as caught:
        download.download("ravdess", tmp_path / "audio")
    made.http.shutdown()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "audio" / "speech").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"audio"}


def test_parts_when_wrong_or_missing_then_a_sentence():
    with pytest.raises(UserError, match=r"'emodb' cannot be downloaded, only librilight"):
        download.choose_parts("emodb", ())
    with pytest.raises(UserError, match=r"several parts: add --parts with dev-clean"):
        download.choose_parts("librispeech", ())
    with pytest.raises(UserError, match=r"dev-claen.*dev-clean"):
        download.choose_parts("librispeech", ["dev-claen"])


def test_prepare_when_asked_to_download_then_corpus_is_prepared(
    server, tmp_path, arguments, capsys
):
    given = {"corpus": "ravdess", "data_dir": tmp_path / "data", "allow_unexpected_count": True}
    with pytest.raises(UserError, match=r"--download needs --audio_dir"):
        run(arguments(**given, download=True))
    run(arguments(**given, download=True, audio_dir=tmp_path / "audio"))
    assert "utterances   2" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--audio_dir.*or add --download"):
        run(arguments(**given))
    with pytest.raises(UserError, match=r"--parts are of --download"):
        run(arguments(**given, parts=["speech"]))
    with pytest.raises(UserError, match=r"--download is for --corpus"):
        run(arguments(manifest="a.csv", data_dir=tmp_path, download=True))


def test_archives_when_listed_then_official_hosts_and_checksums_of_known_corpora():
    hosts = {"zenodo.org", "www.openslr.org", "dl.fbaipublicfiles.com"}
    for corpus, parts in archives.ARCHIVES.items():
        assert corpus in CORPORA
        for archive in parts.values():
            assert archive.url.startswith("https://") and download._host(archive) in hosts
            kind, _, digits = archive.checksum.partition(":")
            assert len(digits) == 2 * hashlib.new(kind).digest_size
