"""Every file of prepared data damaged in every way: one sentence or the same data, and found."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.annotation.annotate import annotate_corpus, load_sidecar_info
from sersl.annotation.codebooks.codebook import Fit, fit_codebook, read_codebook, write_codes
from sersl.annotation.codebooks.frame_features import mfcc_features
from sersl.cli import doctor as cli
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.corpora.index import INDEX_SCHEMA, load_index, read_summary
from sersl.corpora.prepare import prepare
from sersl.data.inspection import inspect, prepared_folders
from sersl.data.sources import CorpusSource

ROWS = 6
VERSION = Path("data") / "own" / "1.0.0"


def make(folder: Path) -> None:
    """Prepares, annotates and clusters a corpus of six tones."""
    lines = ["path,speaker,category,valence"]
    for number in range(ROWS):
        time = np.arange(4000 + 100 * number) / 16_000
        tone = 0.2 * np.sin(2 * np.pi * (120 + 30 * number) * time)
        soundfile.write(folder / f"{number}.wav", tone, 16_000)
        lines.append(f"{number}.wav,s{number % 2},{('angry', 'sad')[number % 2]},0.{number}")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    prepare(data_dir=folder / "data", manifest=folder / "own.csv", licence="CC BY 4.0")
    annotate_corpus("signal", "own", data_dir=folder / "data")
    source = CorpusSource(folder / "data", "own")
    book = fit_codebook(
        folder / "k4", [source], mfcc_features(), Fit(4, max_frames=50), say=lambda line: None
    )
    write_codes(book, source, mfcc_features())


def read_all(folder: Path) -> str:
    """Reads all that training reads; a digest of it."""
    digest = hashlib.sha256()
    data = folder / "data"
    source = CorpusSource(data, "own", annotator="signal", books={"k4": 4})
    for name in INDEX_SCHEMA.names:
        digest.update(repr(source.index.column(name).tolist()).encode())
    for row in range(len(source)):
        frames = num_frames(int(source.num_samples[row]))
        digest.update(source.waveform(row).tobytes())
        for values in source.frames(row, num_frames=frames):
            digest.update(values.tobytes())
        digest.update(source.books[0].codes(row, num_frames=frames).tobytes())
    digest.update(repr(source.books[0].labels_of).encode())
    digest.update(repr(load_sidecar_info("signal", "own", data_dir=data)).encode())
    digest.update(repr(read_summary(source.index.folder)).encode())
    book = read_codebook(folder / "k4")
    assert book is None or len(book.centroids) == 4
    if book is not None:
        digest.update(book.centroids.tobytes() + repr(book.about).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    make(folder)
    return folder


FILES = [
    *(VERSION / name for name in ("digests.json", "prepare.json", "index.parquet")),
    *(VERSION / name for name in ("dataset_info.json", "features.json", "quality.json")),
    *(VERSION / name for name in ("quality.html", "LICENSE")),
    VERSION / "own-utterances.array_record-00000-of-00001",
    *(
        VERSION / folder / name
        for folder in ("sidecars/signal", "codes/k4")
        for name in ("digests.json", "sidecar.json", "sidecar-00000-of-00001.array_record")
    ),
    *(Path("k4") / name for name in ("digests.json", "codebook.json", "codebook.safetensors")),
]


def damages(content: bytes):
    """Gives damaged contents: flipped bits and bytes at many places, cut, emptied, more, none."""
    rng = np.random.default_rng(len(content))
    used = np.flatnonzero(np.frombuffer(content, np.uint8))  # files of records are mostly padding
    for at in {0, len(content) - 1, *rng.choice(used, 12).tolist()}:
        for mask in (0x01, 0x80, 0xFF):
            flipped = bytearray(content)
            flipped[at] ^= mask
            yield f"flip of {mask:#x} at {at}", bytes(flipped)
    yield "cut in half", content[: len(content) // 2]
    yield "cut by a byte", content[:-1]
    yield "empty", b""
    yield "zeros", bytes(len(content))
    yield "more", content + b"\0"
    yield "deleted", None


def test_files_when_prepared_then_all_are_attacked_here(whole):
    there = {p.relative_to(whole) for p in whole.rglob("*") if p.is_file()}
    others = {p for p in there if p.suffix in (".wav", ".csv", ".lock")}
    assert there - others == set(FILES)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_file_when_damaged_then_one_sentence_or_the_same_data_and_inspection_finds_it(
    whole, tmp_path, file
):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    expected = read_all(folder)
    content = (folder / file).read_bytes()
    of_book = file.parts[0] == "k4"
    for what, damaged in damages(content):
        (folder / file).unlink(missing_ok=True)
        if damaged is not None:
            (folder / file).write_bytes(damaged)
        opened = True
        try:
            assert read_all(folder) == expected or (of_book and damaged is None), what
        except UserError as error:
            opened = False
            assert "\n" not in str(error) and len(str(error)) < 1000, what
        # Without the digests, or without the last line end of them, there is nothing to find.
        if not of_book and not (opened and file.name == "digests.json"):
            (prepared,) = prepared_folders(folder / "data")
            assert inspect(prepared).faults, what
    (folder / file).write_bytes(content)
    assert read_all(folder) == expected


@pytest.mark.parametrize("bit", range(8))
def test_index_when_any_bit_of_a_label_flips_then_it_is_not_opened(whole, tmp_path, bit):
    shutil.copytree(whole / "data", tmp_path / "data")
    path = tmp_path / VERSION / "index.parquet"
    content = bytearray(path.read_bytes())
    content[content.index(b"angry") + bit % 5] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"index\.parquet is damaged.*sersl prepare .*--overwrite"):
        load_index(tmp_path / "data", "own")


def without_digests(folder: Path) -> None:
    for path in folder.rglob("digests.json"):
        path.unlink()


def test_data_when_older_than_digests_then_opens_with_a_note_and_is_inspected_by_record(
    whole, tmp_path, caplog
):
    shutil.copytree(whole, tmp_path / "copy")
    without_digests(tmp_path / "copy")
    assert read_all(tmp_path / "copy") == read_all(whole)
    assert "without digests" in caplog.text and "sersl doctor --data_dir" in caplog.text
    (prepared,) = prepared_folders(tmp_path / "copy" / "data")
    found = inspect(prepared)
    assert found.faults == [] and found.num_utterances == ROWS and not found.has_digests
    assert found.beside == ["sidecars/signal", "codes/k4"]


def test_inspection_when_old_labels_were_changed_then_names_utterance_and_column(whole, tmp_path):
    shutil.copytree(whole / "data", tmp_path / "data")
    without_digests(tmp_path)
    path = tmp_path / VERSION / "index.parquet"
    content = path.read_bytes()
    assert content.count(b"angry") > 1
    path.write_bytes(content.replace(b"angry", b"happy"))
    (prepared,) = prepared_folders(tmp_path / "data")
    faults = inspect(prepared).faults
    assert len(faults) == ROWS // 2
    assert "utterance '0': its category differs from that of the index" in faults[0]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("dataset_info.json", b"moduleName", b"moduleNamd"),
        ("dataset_info.json", b"filepathTemplate", b"filepathTempl`te"),
        ("dataset_info.json", b"array_record", b"arsay_record"),
        ("features.json", b"pythonClassName", b"pythonClassNamd"),
        ("prepare.json", b'"num_utterances": 6', b'"num_utterances": 7'),
        ("prepare.json", b'"num_utterances"', b'"num_utterancez"'),
        ("prepare.json", b'"licence": "', b'"licence": 3, "x": "'),
        ("index.parquet", b"PAR1", b"PAR2"),
    ],
)
def test_file_when_older_than_digests_and_damaged_then_one_sentence(
    whole, tmp_path, name, old, new
):
    shutil.copytree(whole, tmp_path / "copy")
    without_digests(tmp_path / "copy")
    path = tmp_path / "copy" / VERSION / name
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError) as error:
        read_all(tmp_path / "copy")
    assert "\n" not in str(error.value)


JSON_DAMAGE = [
    b"",
    b"[]",
    b"null",
    b"{",
    b'{"a": 1e999}',
    b"[" * 100_000,
    b'{"a": 1, "a": 2}',
    b"\xff",
]


@pytest.mark.parametrize("content", JSON_DAMAGE, ids=lambda content: repr(content[:12]))
@pytest.mark.parametrize(
    "file", [f for f in FILES if f.suffix == ".json" and "quality" not in f.name], ids=str
)
def test_json_when_it_is_not_what_was_written_then_one_sentence(whole, tmp_path, file, content):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    if file.name != "digests.json":
        without_digests(folder)
    (folder / file).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_all(folder)
    assert "\n" not in str(error.value)


def test_doctor_when_data_is_damaged_then_a_line_for_each_fault_and_exit_2(whole, tmp_path, capsys):
    shutil.copytree(whole / "data", tmp_path / "data")
    assert cli._check_data(str(tmp_path / "data")) == []
    assert "6 utterances, sidecars/signal, codes/k4: as written" in capsys.readouterr().out
    (tmp_path / VERSION / "features.json").unlink()
    (tmp_path / VERSION / "codes/k4/sidecar.json").write_text("{}")
    (wrong,) = cli._check_data(str(tmp_path / "data"))
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fault")]
    assert "features.json is missing" in faults[0] and "sersl prepare" in faults[0]
    assert "codes/k4: sidecar.json is damaged" in faults[1] and "sersl cluster" in faults[1]
    assert len(faults) == 2 and "and 1 more" in wrong
    (wrong,) = cli._check_data(str(tmp_path / "nowhere"))
    assert "holds no prepared corpus" in wrong


def test_cache_of_a_bucket_when_damaged_then_one_sentence_and_the_next_run_copies_it_again(
    whole, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = f"file://{whole / 'data'}"
    expected = CorpusSource(bucket, "own", annotator="signal").waveform(0)
    (copy,) = (tmp_path / "cache").rglob("index.parquet")
    copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"index\.parquet is damaged.* and copy it to file://"):
        CorpusSource(bucket, "own")
    (keys,) = (tmp_path / "cache").rglob(".keys.json")
    keys.write_text("[")
    np.testing.assert_array_equal(CorpusSource(bucket, "own").waveform(0), expected)


@pytest.mark.parametrize("kind", ["sidecars/signal", "codes/k4"])
def test_records_of_frames_when_damaged_then_the_command_that_made_them_repairs_them(
    whole, tmp_path, kind
):
    shutil.copytree(whole, tmp_path / "copy")
    path = tmp_path / "copy" / VERSION / kind / "sidecar-00000-of-00001.array_record"
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    data = tmp_path / "copy" / "data"
    annotate_corpus("signal", "own", data_dir=data)
    book = read_codebook(tmp_path / "copy" / "k4")
    write_codes(book, CorpusSource(data, "own"), mfcc_features())
    assert path.read_bytes() == content
    assert read_all(tmp_path / "copy") == read_all(whole)


@pytest.mark.parametrize("name", ["../signal", "/tmp/x", "", ".hidden", "a/b"])
def test_names_when_they_would_leave_the_corpus_then_one_sentence(whole, name):
    with pytest.raises(UserError, match="cannot be the name of a folder"):
        CorpusSource(whole / "data", "own", annotator=name)
    with pytest.raises(UserError, match="cannot be the name of a folder"):
        CorpusSource(whole / "data", "own", books={name: 4})
    with pytest.raises(UserError, match="cannot be the name of a folder"):
        load_sidecar_info(name, "own", data_dir=whole / "data")
