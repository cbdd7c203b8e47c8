"""Apache Beam, in its own environment: the files are those of one process."""

import subprocess
from pathlib import Path

import pytest

from sersl.core.errors import UserError
from sersl.corpora.index import load_index
from sersl.corpora.prepare import prepare
from tests.corpora.conftest import BEAM_PYTHON

ROOT = Path(__file__).parents[3]

# TFDS's own door, and no TensorFlow behind it.
_BY_TFDS = """
import sys
import tensorflow_datasets as tfds
from sersl.corpora.catalog.ravdess import Ravdess
from sersl.corpora.writing.beam import parse_options
builder = Ravdess(data_dir=sys.argv[2], audio_dir=sys.argv[1])
builder.allow_unexpected_count = True
config = tfds.download.DownloadConfig(beam_options=parse_options("runner=DirectRunner"))
builder.download_and_prepare(download_config=config)
assert not (builder.data_path / "parts").exists() and "tensorflow" not in sys.modules
"""


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BEAM_PYTHON, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_beam_when_not_installed_then_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"needs Apache Beam: pip install 'sersl\[beam\]'"):
        prepare(data_dir=tmp_path, corpus="synthetic", beam_options="runner=DirectRunner")


@pytest.mark.slow
@pytest.mark.beam
@pytest.mark.corpora
def test_beam_when_real_speech_then_files_are_those_of_one_process(corpora_dir, tmp_path):
    audio = tmp_path / "audio"
    for actor in ("Actor_03", "Actor_14"):
        (audio / actor).mkdir(parents=True)
        for file in sorted((corpora_dir / "ravdess" / actor).glob("*.flac"))[::4]:
            (audio / actor / file.name).symlink_to(file)
    (audio / "Actor_03" / "03-01-01-01-01-01-03.flac").unlink()
    (audio / "Actor_03" / "03-01-01-01-01-01-03.flac").write_bytes(b"fLaC, but no more")
    words = ("-m", "sersl", "prepare", "--corpus", "ravdess", "--audio_dir", audio)
    words += ("--allow_unexpected_count", "--data_dir")
    beam = "--beam_pipeline_options"
    several = "runner=DirectRunner,direct_num_workers=2,direct_running_mode=multi_processing"

    plain = run(*words, tmp_path / "plain")
    assert plain.returncode == 0, plain.stderr
    wanted = contents(tmp_path / "plain" / "ravdess" / "1.0.0")
    for name, options in (("one", "runner=DirectRunner"), ("two", several)):
        answer = run(*words, tmp_path / name, beam, options)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout == plain.stdout.replace("/plain/", f"/{name}/")
        assert contents(tmp_path / name / "ravdess" / "1.0.0") == wanted

    # Other versions of protobuf and pyarrow, the same records.
    given = {"corpus": "ravdess", "audio_dir": audio, "allow_unexpected_count": True}
    here = prepare(data_dir=tmp_path / "here", **given)
    assert len(here.summary["skipped"]) == 1
    index = load_index(tmp_path / "two", "ravdess")
    assert here.summary["fingerprint"] == index.fingerprint
    records = [name for name in wanted if "array_record" in name]
    assert all((here.folder / name).read_bytes() == wanted[name] for name in records)

    answer = run("-c", _BY_TFDS, audio, tmp_path / "tfds")
    assert answer.returncode == 0, answer.stderr
    by_tfds = contents(tmp_path / "tfds" / "ravdess" / "1.0.0")
    assert by_tfds.items() <= wanted.items() and records[0] in by_tfds

    for options, sentence in (
        ("runer=DirectRunner", "Beam has no pipeline option 'runer'"),
        ("direct_num_workers=two", "invalid int value: 'two'"),
        ("runner=NoRunner", "NoRunner"),
    ):
        answer = run(*words, tmp_path / "wrong", beam, options)
        assert answer.returncode == 2, answer.stderr
        assert sentence in answer.stderr.splitlines()[-1]
