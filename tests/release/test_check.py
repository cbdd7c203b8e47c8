"""`sersl export --check` finds every change of a folder, and says what is wrong."""

import json
import shutil

import pytest

from sersl.cli.main import main
from sersl.core.digests import write_digests
from tests.release import fake_model


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return fake_model.write_fake(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def model(original, tmp_path):
    shutil.copytree(original, tmp_path / "model")
    return tmp_path / "model"


def check(folder, capsys):
    code = main(["export", "--check", str(folder)])
    return code, *capsys.readouterr()


def test_check_when_nothing_changed_then_says_so(model, capsys):
    code, out, err = check(model, capsys)
    assert (code, err) == (0, "") and out.endswith("nothing is wrong\n")
    assert "README.md" in out and "note" not in out


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "model.safetensors", "sersl.json"]
)
@pytest.mark.parametrize("change", ["flip", "cut", "missing"])
def test_check_when_a_file_changed_then_names_it(model, capsys, name, change):
    path = model / name
    content = bytearray(path.read_bytes())
    if change == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif change == "cut":
        path.write_bytes(content[:-30])
    else:
        path.unlink()
    code, _, err = check(model, capsys)
    assert code == 2 and err.startswith("sersl: ") and err.count("\n") == 1 and name in err


def test_check_when_several_files_changed_then_lists_each(model, capsys):
    (model / "config.json").write_text("{}")
    (model / "README.md").unlink()
    code, out, err = check(model, capsys)
    assert code == 2 and "and 1 more" in err
    assert "fault  config.json is damaged or was changed" in out
    assert "fault  README.md is missing" in out


def test_check_when_the_card_was_edited_or_a_file_added_then_notes_it(model, capsys):
    (model / "README.md").write_text("my words\n")
    (model / "notes.txt").write_text("mine\n")
    code, out, _ = check(model, capsys)
    assert code == 0
    assert "note   README.md is damaged or was changed" in out
    assert "note   notes.txt was added after the model was written" in out


def test_check_when_a_sum_leaves_the_folder_then_is_refused(model, capsys):
    about = json.loads((model / "sersl.json").read_text())
    about["sha256"]["../x"] = "0" * 64
    (model / "sersl.json").write_text(json.dumps(about))
    code, _, err = check(model, capsys)
    assert code == 2 and "sersl.json is damaged or was changed" in err


def test_check_when_a_folder_has_digests_then_compares_them(tmp_path, capsys):
    (tmp_path / "a.bin").write_bytes(b"abc")
    write_digests(tmp_path)
    assert check(tmp_path, capsys)[0] == 0
    (tmp_path / "a.bin").write_bytes(b"abd")
    code, _, err = check(tmp_path, capsys)
    assert code == 2 and "a.bin is damaged" in err


def test_check_when_there_is_nothing_to_compare_then_a_sentence(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "missing"):
        code, out, err = check(folder, capsys)
        assert (code, out) == (2, "") and err.startswith("sersl: ") and err.count("\n") == 1
    assert main(["export", "--check", str(tmp_path), "--output", "x"]) == 2
    assert main(["export", "--workdir", str(tmp_path)]) == 2


def test_export_when_the_card_is_missing_then_it_is_written_anew(model, tmp_path, capsys):
    card = (model / "README.md").read_text()
    (model / "README.md").unlink()
    assert main(["export", "--workdir", str(model), "--output", str(tmp_path / "x" / "model")]) == 0
    assert (tmp_path / "x" / "model" / "README.md").read_text() == card
    assert check(tmp_path / "x" / "model", capsys)[0] == 0


def test_export_when_the_card_was_edited_then_warns_and_keeps_it(model, tmp_path, caplog):
    (model / "README.md").write_text("my words\n")
    assert main(["export", "--workdir", str(model), "--output", str(tmp_path / "copy")]) == 0
    assert "README.md was changed after the model was written" in caplog.text
    assert (tmp_path / "copy" / "README.md").read_text() == "my words\n"
