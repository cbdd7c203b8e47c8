"""Two processes that see different things: they agree, or both say what differs."""

import json
import shutil
import socket
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import MeshConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.parallel import distributed
from sersl.parallel.agreement import all_agree, check_same, of_first
from sersl.parallel.mesh import make_mesh
from sersl.runs import lock
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.same_run import check_processes
from tests.multi_process.processes import found_by_two


def kernel(mesh, value: float):
    """Rows of which each process holds one half; equal numbers would need no file of their own."""
    sharding = NamedSharding(mesh, P("fsdp"))
    numbers = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    return {"kernel": jax.jit(lambda: jnp.asarray(numbers) * value, out_shardings=sharding)()}


def sentence_of(work) -> str:
    try:
        work()
    except UserError as error:
        return str(error)
    return ""


def lock_in(folder) -> None:
    with lock.only_run(folder, first=distributed.is_first_process()):
        pass


def restore_damaged(folder: Path, mesh) -> list:
    """Saves twice, damages what one process alone reads, and restores."""
    checkpoints = Checkpoints(folder, keep_last=2)
    for step in (3, 6):
        checkpoints.save(step, {"params": kernel(mesh, float(step))}, config={})
    checkpoints.close()
    if distributed.is_first_process():
        shutil.rmtree(folder / "6" / "params" / "ocdbt.process_1")
    assert all_agree(True)
    checkpoints = Checkpoints(folder, keep_last=2)
    step, found = checkpoints.restore({"params": kernel(mesh, 0.0)})
    checkpoints.forget_after(step)
    checkpoints.close()
    mine, wanted = (
        np.asarray(tree["kernel"].addressable_shards[0].data)
        for tree in (found["params"], kernel(mesh, 3.0))
    )
    return [step, bool((mine == wanted).all()), checkpoints.steps()]


def main(folder: Path) -> None:
    """One process of the two."""
    distributed.initialize(timeout_seconds=120)
    distributed.watch(timeout_seconds=45)
    lock._PAUSE_SECONDS = 0.01
    number = jax.process_index()
    config = PretrainConfig()
    found = {
        "agree": [all_agree(True), all_agree(number == 0), all_agree(False)],
        "first": of_first(10 + number),
        "same": sentence_of(lambda: check_same({"a": "x", "b": [1]})),
        "other": sentence_of(lambda: check_same({"a": "x", "b": "long" * number})),
        "alike": sentence_of(lambda: check_processes(config, {"nemo": "0" * 64})),
        "records": sentence_of(lambda: check_processes(config, {"nemo": f"{number}" * 64})),
        "shared": sentence_of(lambda: lock_in(folder / "shared")),
        "not shared": sentence_of(lambda: lock_in(folder / f"own{number}")),
        "restored": restore_damaged(folder / "run", make_mesh(MeshConfig(data=1, fsdp=-1))),
    }
    print("FOUND " + json.dumps(found), flush=True)


def test_two_processes_when_one_sees_something_else_then_both_do_the_same(tmp_path):
    both = []
    module = "tests.multi_process.test_agreement"
    for found, err in found_by_two(module, str(tmp_path), devices=1, timeout=120):
        both.append(found)
        assert "6 is damaged" in err and "falling back" in err
    own = both[1].pop("not shared"), both[0].pop("not shared")
    assert both[0] == both[1]
    host = socket.gethostname()
    answer = f"process 1 on {host} has b='long', process 0 on {host} '': start the same command"
    records = f"process 1 on {host} has records of corpus nemo='1111"
    assert both[0].pop("other").startswith(answer)
    assert both[0].pop("records").startswith(records)
    for sentence, sees in zip(own, ("does not see", "sees"), strict=True):
        assert f"is not one folder for all processes ({host} {sees} what process 0" in sentence
    assert both[0] == {
        "agree": [True, False, False],
        "first": 10,
        "same": "",
        "alike": "",
        "shared": "",
        "restored": [3, True, [3]],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
