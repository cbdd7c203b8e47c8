"""The documentation builds without a warning, its links lead somewhere, its examples run."""

import csv
import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import soundfile

from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.synthetic.speech import utterances
from tests.fake_speech import make_voice
from tests.release.fake_model import write_fake

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; building is strict, so a warning is a failure."""
    folder = tmp_path_factory.mktemp("site")
    answer = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DISABLE_MKDOCS_2_WARNING": "true"},
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder


class _Page(HTMLParser):
    """Collects the links of a page and the names that links can lead to."""

    def __init__(self):
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}


def read_page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_site_when_built_then_every_link_within_it_leads_somewhere(site):
    pages = {path: read_page(path) for path in site.rglob("*.html")}
    assert len(pages) > 15
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are those of the host
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target in pages:
                names = pages[target].names
                if unquote(parts.fragment) not in names and parts.fragment != "__skip":
                    broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_site_when_built_then_loads_nothing_from_another_host(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(
            r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)', text
        )
        assert not loaded, (path.name, loaded)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_page_when_its_links_are_followed_then_files_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not urlsplit(link).scheme:
            assert (ROOT / link).exists(), link


FAKE_MICROPHONE = """
import itertools, numpy

class InputStream:
    def __init__(self, samplerate, channels, blocksize):
        self.random, self.left = numpy.random.default_rng(0), 4 * samplerate // blocksize
    def __enter__(self):
        return self
    def __exit__(self, *about):
        pass
    def read(self, count):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.random.normal(0, 0.1, (count, 1)).astype(numpy.float32), False
"""


def run(script: str, *arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Sixteen labelled recordings of four synthetic speakers, and a table of them."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = []
    for number, one in enumerate(utterances(num_speakers=4, utterances_per_speaker=4)):
        path = folder / f"{one.utterance_id}.wav"
        soundfile.write(path, one.waveform, SAMPLE_RATE)
        # Every speaker has every category, so that each is on both sides of any two folds.
        category = ("angry", "happy", "sad", "neutral")[number % 4]
        rows.append({"path": path.name, "category": category, "speaker": one.speaker})
    with open(folder / "own.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.slow
def test_commands_of_own_labels_when_run_then_they_do_what_the_page_says(tmp_path):
    rows = []
    moods = ("stressed", "Joy", "relaxed")
    for number, one in enumerate(utterances(num_speakers=4, utterances_per_speaker=6)):
        name = {0: "a1.wav", 6: "b1.wav"}.get(number, f"{number}.wav")
        soundfile.write(tmp_path / name, one.waveform, SAMPLE_RATE)
        mood = moods[number % 3]
        row = {"path": name, "speaker": one.speaker, "mood": mood, "warmth": 1 + number % 7}
        row |= {"moods": f"{mood};tired" if number % 2 else mood, "part": f"p{number // 12}"}
        rows.append(row)
    with open(tmp_path / "own.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    page = (ROOT / "docs" / "labels.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    commands = "".join(blocks).replace("\\\n", " ").splitlines()
    assert len(commands) == 7
    for command in commands:
        words = shlex.split(
            command.replace("configs/", f"{ROOT}/configs/").replace(":tiny", ":nano")
        )
        few = [
            f"--config.{setting}"
            for setting in ("train.num_steps=2", "evaluate_every_steps=2", "data.num_buckets=1")
        ]
        answer = subprocess.run(
            [sys.executable, "-m", "sersl", *words[1:], *(few if words[1] == "finetune" else ())],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, command + answer.stdout + answer.stderr
    read = {
        name: json.loads((tmp_path / "runs" / name / "results.json").read_text())
        for name in ("own", "several")
    }
    assert read["own"]["categories"] == ["bad", "good"]
    assert read["several"]["categories"] == ["happy", "relaxed", "stressed", "tired"]
    assert read["several"]["dimensions"] == ["warmth"]
    (first, second) = csv.DictReader((tmp_path / "moods.csv").open())
    assert first["file"] == "a1.wav" and {"category", "score_tired", "warmth"} <= set(first)
    lines = [json.loads(line) for line in (tmp_path / "moods.jsonl").read_text().splitlines()]
    assert ";".join(lines[1]["category"]) == second["category"]


def test_example_when_it_predicts_a_folder_then_names_every_file(recordings, tmp_path):
    write_fake(tmp_path / "model")
    (recordings / "broken.wav").write_bytes(b"no audio")
    printed = run("predict_folder.py", str(tmp_path / "model"), str(recordings))
    assert len(re.findall(r"\.wav: \w+ \(0\.\d\d\)", printed)) == 16
    assert "broken.wav: unreadable" in printed


def test_example_when_it_listens_then_prints_each_window_until_it_is_stopped(tmp_path):
    write_fake(tmp_path / "model")
    (tmp_path / "sounddevice.py").write_text(FAKE_MICROPHONE)
    path = tmp_path / "a.wav"
    soundfile.write(path, make_voice(4.0), SAMPLE_RATE)
    for given, start in (([str(path)], ""), ([], f"PYTHONPATH={tmp_path}:{ROOT}")):
        command = ["env", *start.split(), sys.executable, str(EXAMPLES / "microphone.py")]
        answer = subprocess.run(
            [*command, str(tmp_path / "model"), *given], capture_output=True, text=True, cwd=ROOT
        )
        assert answer.returncode == 0, answer.stderr
        assert re.search(r"0\.0 to +\d\.\d s +\w+ +\w+ 0\.\d\d +arousal", answer.stdout)
        assert "4 answers: median" in answer.stdout


@pytest.mark.slow
def test_example_when_it_trains_on_own_labels_then_scores_and_exports(recordings, tmp_path):
    printed = run("own_labels.py", str(recordings / "own.csv"), str(tmp_path / "run"))
    assert re.search(r"UAR 0\.\d+ majority 0\.\d+", printed)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
