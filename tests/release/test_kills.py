"""`sersl export` over a model: whenever it is killed, a complete model is in its place."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sersl.release.copying import copy_model
from sersl.release.folder import read_model
from tests.release import fake_model

MOMENTS = 20


def export(source, output):
    command = "from sersl.cli.main import main; import sys; raise SystemExit(main(sys.argv[1:]))"
    arguments = ["export", "--workdir", str(source), "--output", str(output)]
    return subprocess.Popen([sys.executable, "-c", command, *arguments], stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_export_when_killed_over_a_model_then_a_working_model_stands_every_time(tmp_path):
    old = fake_model.write_fake(tmp_path / "old", seed=1)
    new = fake_model.write_fake(tmp_path / "new", seed=2)
    model = tmp_path / "place" / "model"
    copy_model(old, model)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (old, new)]
    started = time.monotonic()
    with export(new, model) as process:
        assert process.wait() == 0
    whole = time.monotonic() - started
    seen = set()
    rng = np.random.default_rng(0)
    for turn in range(MOMENTS):
        copy_model(old, model)
        with export(new, model) as process:
            # Most of the time goes into starting; the folder is written at the end.
            time.sleep(whole * rng.uniform(0.2 if turn % 2 else 0.7, 1.02))
            process.send_signal(signal.SIGKILL)
            process.wait()
        read_model(model)
        seen.add(weights.index((model / "model.safetensors").read_bytes()))
    assert seen <= {0, 1}
    copy_model(old, model)
    assert os.listdir(model.parent) == ["model"]
