"""What a run says of itself, where saying it goes wrong."""

import subprocess
import sys

import pytest
from tensorboardX.proto.event_pb2 import Event

from sersl.training.observe import Metrics, read_metrics
from tests.tiny_runs import ROOT

# No file may grow over 20 kB: as on a full disk, writing fails with an error.
_FULL = """
import resource, signal, sys
from sersl.core.errors import UserError
from sersl.training.observe import Metrics
metrics = Metrics(sys.argv[1], start_step=0, enabled=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    for step in range(1, 100_000):
        metrics.log(step, {"loss": 1.0, "gradient_norm": 2.0, "audio_seconds_per_second": 3.0})
except UserError as error:
    print(error)
metrics.close()
"""
_UNREAD = """
import sys
from sersl.training.observe import Progress
progress = Progress("pretrain", total=3)
for step in (1, 2, 3):
    progress.show(step, {"loss": 1.0})
    sys.stdin.readline()
progress.say("done")
print("pretrained")
"""


def events_of(folder) -> list[Event]:
    """Reads the one event file of a folder: length, checksum, event, checksum, and again."""
    (file,) = folder.glob("events.out.tfevents.*")
    data, found = file.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_metrics_when_a_run_goes_on_then_the_board_forgets_what_was_logged_beyond(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 5.0}\n{"step": 2, "loss": 4.0}\n')
    metrics = Metrics(tmp_path, start_step=1, enabled=True)
    metrics.log(2, {"loss": 3.0, "gradient_norm": float("nan")})
    metrics.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 5.0},
        {"step": 2, "loss": 3.0, "gradient_norm": None},
    ]
    head, again, loss = events_of(tmp_path)
    assert head.file_version == "brain.Event:2"
    assert again.step == 2 and again.session_log.status == again.session_log.START
    (value,) = loss.summary.value
    assert (loss.step, value.tag, value.simple_value) == (2, "loss", 3.0)


def test_metrics_when_the_disk_is_full_then_one_sentence_and_no_hang(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == ""
    (sentence,) = done.stdout.splitlines()
    assert "cannot be written (File too large): make room and run the same command" in sentence


def test_progress_when_nobody_reads_any_more_then_the_work_goes_on():
    process = subprocess.Popen(
        [sys.executable, "-c", _UNREAD],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("pretrain 1/3")
    process.stdout.close()
    process.stdin.write("\n\n\n")
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == "sersl: the output is no longer read; training continues\n"
    process.stderr.close()


@pytest.mark.parametrize(
    ("steps", "start_step", "lost"),
    [([], 0, False), ([], 3, False), ([], 10, True), ([10, 20], 29, False), ([10], 40, True)],
)
def test_metrics_when_lines_before_the_checkpoint_are_lost_then_warns(
    tmp_path, caplog, steps, start_step, lost
):
    lines = "".join(f'{{"step": {step}, "loss": 1.0}}\n' for step in steps)
    (tmp_path / "metrics.jsonl").write_text(lines)
    Metrics(tmp_path, start_step=start_step, enabled=True, every_steps=10).close()
    assert ("the lines between are lost" in caplog.text) == lost
