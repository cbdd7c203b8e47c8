import os
import subprocess
import sys
import zlib

import pytest

from sersl.core.compilation_cache import (
    CHECKED,
    FOLDER,
    SWITCH,
    prune,
    remove_damaged,
    use_compilation_cache,
)

PROGRAM = """
import warnings
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    jax.jit(lambda x: jnp.tanh(x) * 3)(jnp.ones(4)).block_until_ready()
print(sum("persistent compilation cache" in str(one.message) for one in seen))
"""


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


def entry(folder, name, content=b"a program" * 1000):
    path = folder / f"{name}-cache"
    path.write_bytes(zlib.compress(content))
    return path


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "longer"])
def test_cache_when_a_new_program_is_damaged_then_it_is_removed(tmp_path, damage):
    whole, other = entry(tmp_path, "whole"), entry(tmp_path, "other")
    content = bytearray(other.read_bytes())
    content[-1] ^= damage == "flipped"
    changed = {"cut": content[:-3], "empty": b"", "longer": bytes(content) + b"\0"}
    other.write_bytes(changed.get(damage, content))
    (tmp_path / "zstandard-cache").write_bytes(b"\x28\xb5\x2f\xfdrest")
    (tmp_path / "notes").write_text("of somebody else")
    remove_damaged(tmp_path)
    names = {"whole-cache", "zstandard-cache", "notes", CHECKED}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert whole.read_bytes() == zlib.compress(b"a program" * 1000)


def test_cache_when_programs_were_checked_then_only_newer_ones_are_read(tmp_path):
    remove_damaged(tmp_path)
    before = (tmp_path / CHECKED).stat().st_mtime - 60
    old, new = entry(tmp_path, "old"), entry(tmp_path, "new")
    for path in (old, new):
        path.write_bytes(path.read_bytes()[:-3])
    os.utime(old, (before, before))
    remove_damaged(tmp_path)
    assert old.exists() and not new.exists()


def test_cache_when_jax_left_a_program_that_is_cut_off_then_it_is_made_again(tmp_path):
    def warnings():
        environment = {name: value for name, value in os.environ.items() if name != SWITCH}
        words = [sys.executable, "-c", PROGRAM]
        output = subprocess.check_output(words, env=environment | {FOLDER: str(tmp_path)})
        return int(output)

    assert warnings() == 0
    (program,) = tmp_path.glob("jit__lambda*-cache")
    size = program.stat().st_size
    os.truncate(program, size // 2)
    assert warnings() == 1 and program.stat().st_size == size // 2  # it is never replaced
    remove_damaged(tmp_path)
    assert warnings() == 0 and program.stat().st_size == size
