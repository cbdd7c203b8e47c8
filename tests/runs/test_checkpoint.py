"""Checkpoints: equal or refused, never silently different."""

import logging
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.parallel.mesh import make_mesh
from sersl.runs.checkpoint import Checkpoints, has_item, load_params, newest_step

# Readers of Orbax complain once more when a damaged array's other readers are thrown away.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SPECS = {"kernel": P("fsdp", "tensor"), "bias": P(), "count": P()}


def tree_of(seed: int, mesh, *, abstract: bool = False):
    random = np.random.default_rng(seed)
    values = {
        "kernel": random.normal(size=(16, 8)).astype(np.float32),
        "bias": random.normal(size=(8,)).astype(np.float32),
        "count": np.array(seed, np.int32),
    }
    shardings = {name: NamedSharding(mesh, SPECS[name]) for name in values}
    if abstract:
        return {
            "layers": {
                0: {
                    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=shardings[name])
                    for name, x in values.items()
                }
            }
        }
    placed = {name: jax.device_put(x, shardings[name]) for name, x in values.items()}
    return {"layers": {0: placed}}


def items_of(seed: int, mesh, *, abstract: bool = False):
    return {
        "params": tree_of(seed, mesh, abstract=abstract),
        "teacher": None,
        "optimizer": tree_of(seed + 100, mesh, abstract=abstract),
    }


def mesh_of(data=1, fsdp=1, tensor=1):
    sizes = data * fsdp * tensor
    return make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor), jax.devices()[:sizes])


def equal(found, wanted) -> None:
    for name in ("params", "optimizer"):
        jax.tree.map(np.testing.assert_array_equal, found[name], wanted[name])


def save_two(folder, mesh) -> None:
    checkpoints = Checkpoints(folder, keep_last=2)
    for step in (3, 6):
        checkpoints.save(step, items_of(step, mesh), config={"name": "test"})
    checkpoints.close()


def restore(folder, mesh):
    checkpoints = Checkpoints(folder, keep_last=2)
    try:
        return checkpoints.restore(items_of(0, mesh, abstract=True))
    finally:
        checkpoints.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with checkpoints 3 and 6, and the files of 6 relative to it."""
    folder = tmp_path_factory.mktemp("saved")
    save_two(folder, mesh_of())
    files = [p.relative_to(folder) for p in sorted((folder / "6").rglob("*")) if p.is_file()]
    return folder, files


@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 1, 1)])
def test_restore_on_another_mesh_gives_the_same_bits_in_the_new_shardings(tmp_path, sizes):
    save_two(tmp_path, mesh_of(fsdp=4, tensor=2))
    mesh = mesh_of(*sizes)
    step, found = restore(tmp_path, mesh)
    assert step == 6
    assert set(found) == {"params", "optimizer"}  # no teacher was there to save
    equal(found, items_of(6, mesh))
    kernel = found["params"]["layers"][0]["kernel"]
    assert kernel.sharding == NamedSharding(mesh, SPECS["kernel"])


def test_restore_of_an_empty_folder_gives_none(tmp_path):
    assert restore(tmp_path, mesh_of()) is None


def test_save_keeps_the_last_few(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in range(1, 6):
        checkpoints.save(step, {"params": tree_of(step, mesh_of())}, config={})
    checkpoints.close()
    assert checkpoints.steps() == [4, 5]
    assert newest_step(tmp_path) == 5


def change(items, **changes):
    layer = {**items["params"]["layers"][0], **changes}
    return {
        **items,
        "params": {"layers": {0: {k: v for k, v in layer.items() if v is not None}}},
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"bias": ((9,), jnp.float32)},
            r"params layers/0/bias is \[\[8\], 'float32'\] there and \[\[9\], 'float32'\]",
        ),
        (
            {"bias": ((8,), jnp.bfloat16)},
            r"params layers/0/bias is \[\[8\], 'float32'\] there and \[\[8\], 'bfloat16'\]",
        ),
        ({"bias": None}, r"params layers/0/bias is .* there and no such array in this config"),
        ({"more": ((2,), jnp.float32)}, r"params layers/0/more is no such array there"),
    ],
)
def test_restore_when_the_model_is_another_then_one_sentence_names_the_array(
    saved, changes, sentence
):
    whole = NamedSharding(mesh_of(), P())
    changes = {
        name: None if value is None else jax.ShapeDtypeStruct(*value, sharding=whole)
        for name, value in changes.items()
    }
    items = change(items_of(0, mesh_of(), abstract=True), **changes)
    checkpoints = Checkpoints(saved[0], keep_last=2)
    with pytest.raises(UserError, match=r"holds another model: " + sentence):
        checkpoints.restore(items)
    checkpoints.close()


def test_restore_when_an_item_is_missing_then_one_sentence_names_it(saved):
    checkpoints = Checkpoints(saved[0], keep_last=2)
    items = {**items_of(0, mesh_of(), abstract=True), "teacher": tree_of(0, mesh_of())}
    with pytest.raises(UserError, match=r"has no item 'teacher', only \['optimizer', 'params'\]"):
        checkpoints.restore(items)
    checkpoints.close()


def remove(path):
    path.unlink()


def halve(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data), max(1, len(data) // 3)):
        data[place] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [remove, halve, flip])
def test_restore_when_any_file_is_damaged_then_is_equal_or_falls_back_and_says_so(
    saved, tmp_path, caplog, damage
):
    folder, files = saved
    fallen = 0
    for number, file in enumerate(files):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        damage(copy / file)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="sersl.runs.checkpoint"):
            step, found = restore(copy, mesh_of())
        equal(found, items_of(step, mesh_of()))
        if step == 3:
            fallen += 1
            # A checkpoint without its commit file is no checkpoint: it was never complete.
            listed = "commit_success" not in file.name or damage is not remove
            if listed:
                assert "6 is damaged" in caplog.text, file
                assert "falling back to the one before it" in caplog.text
        shutil.rmtree(copy)
    assert fallen >= 4  # the arrays of both items, and the config


@pytest.mark.parametrize("content", [b"", b"{}", b'{"array_metadatas": [{"param_name": 3}]}', None])
def test_restore_when_the_list_of_arrays_is_damaged_then_orbax_is_not_asked(
    saved, tmp_path, monkeypatch, content
):
    folder = tmp_path / "copy"
    shutil.copytree(saved[0], folder)
    (listed,) = (folder / "6" / "optimizer" / "array_metadatas").iterdir()
    listed.unlink()
    if content is None:
        listed.mkdir()
    else:
        listed.write_bytes(content)
    asked, original = [], ocp.StandardCheckpointHandler.restore

    def restore_item(self, directory, **arguments):
        asked.append(directory.relative_to(folder).as_posix())
        return original(self, directory, **arguments)

    # It would start to read the arrays, and print tracebacks when it is stopped.
    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", restore_item)
    step, found = restore(folder, mesh_of())
    assert step == 3 and "6/optimizer" not in asked
    equal(found, items_of(3, mesh_of()))


def test_restore_when_several_items_are_damaged_then_all_are_named_and_what_is_removed(
    saved, tmp_path, caplog
):
    copy = tmp_path / "copy"
    shutil.copytree(saved[0], copy)
    for item in ("params", "optimizer"):
        (copy / "6" / item / "manifest.ocdbt").unlink()
    checkpoints = Checkpoints(copy, keep_last=2)
    with caplog.at_level(logging.WARNING, logger="sersl.runs.checkpoint"):
        step, _ = checkpoints.restore(items_of(0, mesh_of(), abstract=True))
        checkpoints.forget_after(step)
    checkpoints.close()
    assert re.search(r"6 is damaged \(params: .*NOT_FOUND; optimizer: .*NOT_FOUND\)", caplog.text)
    assert f"checkpoint {copy / '6'} is removed" in caplog.text


def test_restore_when_every_checkpoint_is_damaged_then_one_sentence_says_so(saved, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(saved[0], copy)
    for step in ("3", "6"):
        shutil.rmtree(copy / step / "params" / "d")
        shutil.rmtree(copy / step / "params" / "ocdbt.process_0")
    with pytest.raises(UserError, match=r"none of the checkpoints \[3, 6\] in .* can be read"):
        restore(copy, mesh_of())


def test_forget_after_a_step_removes_what_is_newer(saved, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(saved[0], copy)
    checkpoints = Checkpoints(copy, keep_last=2)
    checkpoints.forget_after(3)
    assert checkpoints.steps() == [3]
    checkpoints.save(6, items_of(7, mesh_of()), config={})
    checkpoints.close()
    equal(restore(copy, mesh_of())[1], items_of(7, mesh_of()))


def test_half_written_checkpoint_of_a_killed_run_is_removed_by_the_run_that_goes_on(
    saved, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(saved[0], copy)
    half = copy / "9.orbax-checkpoint-tmp"
    shutil.copytree(copy / "6", half)
    for own in (False, True):  # a run that only reads here leaves it: another may be writing it
        checkpoints = Checkpoints(copy, keep_last=2, own=own)
        assert checkpoints.restore(items_of(0, mesh_of(), abstract=True))[0] == 6
        if own:
            checkpoints.save(12, items_of(12, mesh_of()), config={})
        checkpoints.close()
        assert half.exists() != own
    assert checkpoints.steps() == [6, 12]


def test_save_when_the_folder_is_gone_then_one_sentence_says_so(tmp_path):
    folder = tmp_path / "run"
    checkpoints = Checkpoints(folder, keep_last=2)
    checkpoints.save(3, items_of(3, mesh_of()), config={})
    checkpoints.wait()
    shutil.rmtree(folder)
    folder.touch()
    with pytest.raises(UserError, match=r"could not be written to .*: there is no earlier one"):
        checkpoints.save(6, items_of(6, mesh_of()), config={})
        checkpoints.wait()


def test_load_params_reads_one_item_into_host_memory(tmp_path):
    save_two(tmp_path / "checkpoints", mesh_of(fsdp=4, tensor=2))
    params = load_params(tmp_path)
    wanted = tree_of(6, mesh_of())
    assert list(params["layers"]) == [0]
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(params))
    jax.tree.map(np.testing.assert_array_equal, params, wanted)
    assert not has_item(tmp_path, "teacher")
    with pytest.raises(UserError, match="has no item 'teacher'"):
        load_params(tmp_path, "teacher")
    # A fold's best step is what counts where there is one.
    shutil.copytree(tmp_path / "checkpoints" / "3", tmp_path / "best" / "3")
    jax.tree.map(np.testing.assert_array_equal, load_params(tmp_path), tree_of(3, mesh_of()))


@pytest.mark.parametrize("damage", [remove, halve, flip])
def test_load_params_when_a_file_is_damaged_then_is_equal_or_says_so(saved, tmp_path, damage):
    refused = 0
    for number, file in enumerate(f for f in saved[1] if "params" in f.parts):
        run = tmp_path / str(number)
        shutil.copytree(saved[0], run / "checkpoints")
        damage(run / "checkpoints" / file)
        try:
            params = load_params(run)
        except UserError as error:
            assert "is damaged" in str(error) or "has no item" in str(error)
            refused += 1
        else:
            jax.tree.map(np.testing.assert_array_equal, params, tree_of(6, mesh_of()))
    assert refused


def test_newest_step_of_a_folder_without_one_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint in .*: give the workdir of a run"):
        newest_step(tmp_path / "absent")
