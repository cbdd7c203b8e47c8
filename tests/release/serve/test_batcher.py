"""The queue in front of a model: batches by length and deadline, without a model."""

import threading
import time

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.release.predict.outputs import OK, Answer
from sersl.release.serve.batcher import Batcher, Wanted
from sersl.release.serve.service_limits import Memory, RefusedError

RATE = 16_000


class Model:
    """Answers with the length of each waveform, and records its batches."""

    def __init__(self):
        self.batches, self.sizes = [], []
        self.go = threading.Event()
        self.go.set()

    def answers(self, sources, **wanted):
        self.go.wait()
        self.batches.append(([len(source) / RATE for source in sources], wanted))
        for source in sources:
            if len(source) == 7 * RATE:
                raise ValueError("a defect")
            if wanted["frames"]:
                raise UserError("no frames")
            yield Answer(source="-", status=OK, end=len(source) / RATE, rows=[])


@pytest.fixture
def model():
    return Model()


def make(model, **options):
    settings = {
        "most": 100,
        "batch_seconds": 10.0,
        "delay": 0.05,
    } | options
    return Batcher(model, observe=model.sizes.append, **settings)


def seconds(count):
    return np.zeros(count * RATE, np.float32)


def test_batcher_when_requests_come_together_then_they_share_batches_by_length(model):
    model.go.clear()
    batcher = make(model)
    lengths = [1, 1, 5, 2, 1, 5, 1]
    first = batcher.submit(seconds(3), Wanted())
    deadline = time.monotonic() + 10
    while batcher.length and time.monotonic() < deadline:
        time.sleep(0.001)  # until the first is computed alone
    futures = [batcher.submit(seconds(n), Wanted()) for n in lengths]
    model.go.set()
    assert [one.result(10).end for one in (first, *futures)] == [3.0, *map(float, lengths)]
    batcher.close()
    sizes = [batch for batch, _ in model.batches]
    assert sizes[1] == [1, 1, 1, 1, 2] and sizes[2] == [5, 5]
    # Padded to the longest, none is over 10 s.
    assert all(max(batch) * len(batch) <= 10 for batch in sizes)
    assert model.sizes == [1, 5, 2]


def test_batcher_when_one_request_comes_then_it_waits_no_longer_than_the_delay(model):
    batcher = make(model, delay=0.2)
    started = time.monotonic()
    batcher.submit(seconds(1), Wanted()).result(10)
    assert 0.15 < time.monotonic() - started < 5
    started = time.monotonic()
    batcher.submit(seconds(11), Wanted()).result(10)  # a full batch waits for nothing
    assert time.monotonic() - started < 0.15
    batcher.close()


def test_batcher_when_requests_want_different_things_then_they_share_no_batch(model):
    model.go.clear()
    batcher = make(model)
    futures = [batcher.submit(seconds(1), Wanted(window=w)) for w in (None, 1.0, None, 1.0)]
    model.go.set()
    for future in futures:
        future.result(10)
    batcher.close()
    assert all(len({wanted["window"]}) == 1 for _, wanted in model.batches)
    assert {wanted["window"] for _, wanted in model.batches} == {None, 1.0}
    assert sum(len(batch) for batch, _ in model.batches) == 4


def test_batcher_when_the_queue_is_full_then_it_refuses_and_cancelled_ones_make_room(model):
    model.go.clear()
    batcher = make(model, most=2, delay=0.0)
    running = batcher.submit(seconds(1), Wanted())
    while not running.running():
        time.sleep(0.001)
    waiting = [batcher.submit(seconds(1), Wanted()) for _ in range(2)]
    with pytest.raises(RefusedError, match="2 recordings wait: try again later") as refused:
        batcher.submit(seconds(1), Wanted())
    assert refused.value.status == 503
    waiting[0].cancel()
    last = batcher.submit(seconds(2), Wanted())
    model.go.set()
    assert last.result(10).end == 2.0
    batcher.close()
    assert sum(len(batch) for batch, _ in model.batches) == 3


def test_batcher_when_the_model_fails_then_only_that_batch_fails(model, caplog):
    batcher = make(model)
    with pytest.raises(RefusedError, match="the model failed"):
        batcher.submit(seconds(7), Wanted()).result(10)
    with pytest.raises(RefusedError, match="no frames") as refused:
        batcher.submit(seconds(1), Wanted(frames=True)).result(10)
    assert refused.value.status == 400
    assert batcher.submit(seconds(1), Wanted()).result(10).end == 1.0
    assert "a defect" in caplog.text
    batcher.close()


def test_batcher_when_it_is_closed_then_what_waits_is_answered_and_more_is_refused(model):
    model.go.clear()
    batcher = make(model, delay=30.0)
    futures = [batcher.submit(seconds(1), Wanted()) for _ in range(3)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    model.go.set()
    closing.join(10)
    assert [future.result(0).end for future in futures] == [1.0] * 3
    with pytest.raises(RefusedError):
        batcher.submit(seconds(1), Wanted())


def test_memory_when_more_is_taken_than_there_is_then_it_is_refused():
    memory = Memory(10)
    memory.take(8)
    with pytest.raises(RefusedError) as refused:
        memory.take(3)
    assert refused.value.status == 503 and memory.held == 8
    memory.give_back(8)
    memory.take(10)
