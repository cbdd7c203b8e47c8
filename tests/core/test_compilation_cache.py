import os

from sersl.core.compilation_cache import FOLDER, SWITCH, prune, use_compilation_cache


def test_cache_when_nothing_is_set_then_a_folder_of_the_user(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    folder = use_compilation_cache(environment)
    assert folder is not None and folder.is_dir() and folder.is_relative_to(tmp_path / "sersl")
    assert environment[FOLDER] == str(folder)


def test_cache_when_the_user_chose_then_nothing_changes(tmp_path):
    for chosen in ({FOLDER: "elsewhere"}, {SWITCH: "false"}):
        environment = {"XDG_CACHE_HOME": str(tmp_path), **chosen}
        assert use_compilation_cache(dict(environment)) is None
        assert not list(tmp_path.iterdir())


def test_cache_when_the_folder_cannot_be_made_then_there_is_none(tmp_path):
    (tmp_path / "sersl").write_text("a file")
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    assert use_compilation_cache(environment) is None
    assert FOLDER not in environment


def test_cache_when_it_has_grown_then_what_was_used_last_stays(tmp_path):
    for age, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    prune(tmp_path, most=400, kept=250)
    assert len(list(tmp_path.iterdir())) == 4
    prune(tmp_path, most=399, kept=250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
