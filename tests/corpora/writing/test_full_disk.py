"""A disk that is full, with files that the libraries in C++ write: one sentence, nothing lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.core.files import writing

ROOT = Path(__file__).parents[3]


def sersl(*words, most_bytes: int) -> subprocess.CompletedProcess:
    """Runs a command whose files cannot grow beyond a size, as on a disk without room."""
    program = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes},) * 2); "
        "from sersl.cli.main import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def manifest(make_manifest):
    return make_manifest([{"path": f"{i}.wav", "emotion": "sad"} for i in range(12)])


def assert_one_sentence(answer, words: str) -> None:
    assert answer.returncode == 2, answer.stderr
    sentences = [line for line in answer.stderr.splitlines() if line.startswith("sersl: ")]
    assert len(sentences) == 1 and "Traceback" not in answer.stderr
    assert words in sentences[0] and "cannot be written" in sentences[0]


@pytest.mark.parametrize("most_bytes", [300, 40_000])
@pytest.mark.parametrize("sharing", [(), ("--shard", "0/1")], ids=["plain", "shard"])
def test_prepare_when_there_is_no_room_then_one_sentence_and_the_old_corpus_stays(
    manifest, tmp_path, tone, most_bytes, sharing
):
    words = ("prepare", "--manifest", manifest, "--data_dir", tmp_path / "data", *sharing)
    assert main(list(map(str, words))) == 0
    before = files_of(tmp_path / "data")
    tone(tmp_path / "1.wav", seconds=0.7)
    answer = sersl(*words, "--overwrite", most_bytes=most_bytes)
    assert_one_sentence(answer, str(tmp_path / "data"))
    after = files_of(tmp_path / "data")
    assert before.items() <= after.items()
    assert all(name.startswith(".preparing/own.parts/") for name in after.keys() - before.keys())
    assert main([*map(str, words), "--overwrite"]) == 0


def test_annotate_and_cluster_when_there_is_no_room_then_one_sentence_and_again_is_enough(
    manifest, tmp_path
):
    data = tmp_path / "data"
    assert main(["prepare", "--manifest", str(manifest), "--data_dir", str(data)]) == 0
    for words in (
        ("annotate", "--corpus", "own"),
        ("cluster", "--corpus", "own", "--num_codes", "4", "--output", tmp_path / "k4"),
    ):
        before = files_of(data)
        answer = sersl(*words, "--data_dir", data, most_bytes=2000)
        assert_one_sentence(answer, str(tmp_path))
        assert files_of(data) == before
        assert main([*map(str, words), "--data_dir", str(data)]) == 0


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_writing_when_a_library_fails_then_a_sentence_of_one_line(kind):
    message = "write() failed: No space left on device; at byte 7; Failed\nof a.cc:3"
    with pytest.raises(UserError) as error, writing("the index", "/data"):
        raise kind(message)
    assert str(error.value) == (
        "the index cannot be written in /data (write() failed: No space left on device): free "
        "some space or check the folder's permissions, then run again"
    )
    with pytest.raises(UserError, match=r"^mine$"), writing("the index", "/data"):
        raise UserError("mine")
