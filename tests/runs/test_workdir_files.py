"""What is read back from a workdir: damaged, changed and missing files are noticed."""

import json
import shutil

import pytest

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.eval.workdir_files import CHECKED, STARTS, check_files, read_trained
from sersl.parallel.mesh import make_mesh
from sersl.runs.lock import only_run
from sersl.runs.provenance import ORIGIN, corpora_of_run, read_origin
from sersl.runs.record import record_start
from sersl.training.observe import Metrics, read_metrics

CORPUS = {"corpus": "own", "version": "1", "fingerprint": "ab", "labels_used": False}


@pytest.fixture
def run(tmp_path):
    """The files of a pretraining run after its start."""
    for name in CHECKED:
        write_json(tmp_path / name, {"name": name})
    write_json(tmp_path / "corpora.json", [CORPUS])
    write_json(tmp_path / ORIGIN, [CORPUS | {"by": "noise"}])
    record_start(tmp_path, start_step=0, mesh=make_mesh(MeshConfig()), data={})
    check_files(tmp_path)
    assert len(corpora_of_run(tmp_path)) == 2
    return tmp_path


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "missing"])
def test_files_when_one_is_damaged_then_an_error_names_it(run, name, damage):
    path = run / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    kinds = {"flip": bytes(content), "cut": bytes(content[:9]), "empty": b""}
    path.unlink() if damage == "missing" else path.write_bytes(kinds[damage])
    with pytest.raises(UserError, match=rf"{name} (has changed|is missing).*run the command"):
        check_files(run)
    with pytest.raises(UserError, match=name):
        corpora_of_run(run)


def test_origin_when_it_is_missing_then_error_unless_an_earlier_version_wrote_none(run):
    (run / ORIGIN).unlink()
    with pytest.raises(UserError, match=r"origin.json is missing"):
        corpora_of_run(run)
    assert read_origin(run) == []  # a start of the same run writes it again
    (run / STARTS).unlink()  # as before digests were written
    assert len(corpora_of_run(run)) == 1


@pytest.mark.parametrize("content", ["{", "", "null\n", '"x"\n', '{"files": 3}\n'])
def test_starts_when_they_are_damaged_then_error_or_nothing_is_compared(run, content):
    (run / STARTS).write_text(content)
    if content in ("", '{"files": 3}\n'):
        return check_files(run)
    with pytest.raises(UserError, match=r"starts.jsonl is damaged"):
        check_files(run)


def test_starts_when_one_was_cut_off_by_a_kill_then_the_next_has_a_line_of_its_own(run):
    with (run / STARTS).open("a") as file:
        file.write('{"time": "20')
    write_json(run / "config.json", {"train": 1})
    record_start(run, start_step=5, mesh=make_mesh(MeshConfig()), data={})
    check_files(run)
    assert json.loads((run / STARTS).read_text().splitlines()[-1])["step"] == 5


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"corpora": [{}], "categories": []},
        {"corpora": [CORPUS], "categories": [], "dimensions": [3]},
        {"corpora": 3, "categories": []},
        {"corpora": [3], "categories": []},
    ],
)
def test_trained_when_the_file_is_of_another_shape_then_one_sentence(tmp_path, content):
    write_json(tmp_path / "corpora.json", content)
    with pytest.raises(UserError, match=r"corpora.json is damaged"):
        read_trained(tmp_path)


def test_trained_when_written_by_an_earlier_version_then_dimensions_are_not_known(tmp_path):
    write_json(tmp_path / "corpora.json", {"corpora": [CORPUS], "categories": ["sad"]})
    assert read_trained(tmp_path).dimensions is None


def log_of(folder, num_lines):
    metrics = Metrics(folder, start_step=0, enabled=True)
    for step in range(1, num_lines + 1):
        metrics.log(step, {"loss": float(step)})
    metrics.close()
    return folder / "metrics.jsonl"


@pytest.mark.parametrize("letter", [b"x", b"\xff", b'"'])
def test_metrics_when_one_letter_is_wrong_then_error_names_the_line_and_nothing_is_lost(
    tmp_path, letter
):
    path = log_of(tmp_path, 40)
    lines = path.read_bytes().split(b"\n")
    lines[7] = lines[7][:3] + letter + lines[7][4:]
    path.write_bytes(b"\n".join(lines))
    for _ in range(2):
        with pytest.raises(UserError, match=r"metrics.jsonl \(log of a run\),? line 8"):
            Metrics(tmp_path, start_step=30, enabled=True)
    assert path.read_bytes().count(b"\n") == 40


def test_metrics_when_the_last_line_was_cut_off_by_a_kill_then_it_is_left_out(tmp_path):
    path = log_of(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:-4])
    assert [line["step"] for line in read_metrics(path)] == [1, 2]


@pytest.mark.parametrize("replaced", [False, True])
def test_metrics_when_the_workdir_is_removed_while_running_then_the_next_line_says_so(
    tmp_path, replaced
):
    (tmp_path / "run").mkdir()
    metrics = Metrics(tmp_path / "run", start_step=0, enabled=True)
    metrics.log(1, {"loss": 1.0})
    shutil.rmtree(tmp_path / "run")
    if replaced:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="was removed or replaced while the run was writing it"):
        metrics.log(2, {"loss": 1.0})
    metrics.close()


def test_lock_when_the_workdir_is_removed_while_held_then_its_end_is_an_error(tmp_path):
    with (
        pytest.raises(UserError, match="was removed or replaced while the run was using it"),
        only_run(tmp_path / "run", first=True),
    ):
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").mkdir()
