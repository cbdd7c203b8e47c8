"""Measures the loader: decoding with soundfile alone, sersl, and a torch DataLoader."""

import contextlib
import io
import os
import statistics
from concurrent.futures import ThreadPoolExecutor

import soundfile
from benchmarks.timing import Seconds, in_turns, timed

from sersl.config.schema import DataConfig
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.labels import make_view
from sersl.data.batch_plan import BatchPlan, make_plan
from sersl.data.pipeline import training_batches
from sersl.data.sources import CorpusSource

GOAL = 0.85  # of the throughput of soundfile alone on the same bytes with the same threads


def add_options(parser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--data_dir", required=True, metavar="DIR", help="from `sersl prepare`")
    parser.add_argument("--corpora", nargs="+", default=["synthetic"], metavar="NAME")
    parser.add_argument("--steps", type=int, default=30, metavar="N", help="batches per round")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")


def run(arguments) -> dict:
    """Compares decoding with soundfile alone, the loader of sersl, and a torch DataLoader.

    All read the same pieces of the same utterances as float32. soundfile gets the FLAC bytes in
    memory and discards the samples; the others also find and read the records, crop, pad and batch.
    Throughput is of real audio, by wall clock and by processor time, which depends less on other
    programs. The best of all rounds counts.
    """
    sources = [CorpusSource(arguments.data_dir, name) for name in arguments.corpora]
    data = DataConfig(corpora=tuple(arguments.corpora), seconds_per_batch=256.0, max_seconds=16.0)
    plan = make_plan([source.num_samples for source in sources], data=data, seed=0)
    pieces = _pieces(sources, plan, arguments.steps)
    seconds = sum(length for _, _, length in pieces) / SAMPLE_RATE
    print(
        f"{len(pieces)} pieces, {seconds:.0f} s of audio in {arguments.steps} batches; "
        f"{len(plan.buckets)} shapes, {plan.real_share:.1%} of the samples are real"
    )
    rows = []
    for threads in arguments.threads:
        ways = {
            "soundfile": lambda n=threads: timed(lambda: _soundfile(pieces, n)),
            "sersl": lambda n=threads: timed(lambda: _sersl(sources, plan, arguments.steps, n)),
        }
        if _torch() is not None:
            ways["torch"] = lambda n=threads: timed(
                lambda: _torch_loader(sources, plan, arguments.steps, n)
            )
        measured = in_turns(ways, rounds=arguments.rounds)
        rows += [_row(name, threads, times, seconds) for name, times in measured.items()]
    _compare(rows)
    return {
        "goal": GOAL,
        "cpus": os.cpu_count(),
        "real_share": round(plan.real_share, 4),
        "rows": rows,
    }


def _pieces(sources, plan: BatchPlan, steps: int) -> list[tuple[bytes, int, int]]:
    """Collects (FLAC bytes, first sample, number of samples) of all rows of the first steps."""
    pieces = []
    for step in range(steps):
        refs = plan.batch(step)
        for corpus, row, start, length in zip(
            refs.corpus, refs.row, refs.start, refs.length, strict=True
        ):
            pieces.append((sources[corpus].encoded(row), int(start), int(length)))
    return pieces


def _soundfile(pieces, threads: int) -> None:
    def decode(part):
        for data, start, length in part:
            soundfile.read(io.BytesIO(data), start=start, frames=length, dtype="float32")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, [pieces[i::threads] for i in range(threads)]))


def _sersl(sources, plan: BatchPlan, steps: int, threads: int) -> None:
    data = DataConfig(threads=threads, prefetch=threads)
    view = make_view("none", ())
    for _ in training_batches(sources, plan, view, start_step=0, num_steps=steps, data=data):
        pass


def _torch():
    with contextlib.suppress(ImportError):
        import torch.utils.data

        return torch
    return None


def _torch_loader(sources, plan: BatchPlan, steps: int, workers: int) -> None:
    """Reads as is usual in torch: an item is an utterance, workers are processes."""
    torch = _torch()

    class Utterances(torch.utils.data.Dataset):
        def __getitem__(self, item):
            corpus, row, start, length, padded = item
            data = sources[corpus].encoded(row)
            samples, _ = soundfile.read(
                io.BytesIO(data), start=start, frames=length, dtype="float32"
            )
            return torch.nn.functional.pad(torch.from_numpy(samples), (0, padded - length)), length

    batches = []
    for step in range(steps):
        refs = plan.batch(step)
        columns = (refs.corpus, refs.row, refs.start, refs.length)
        batches.append(
            [(*map(int, values), refs.num_samples) for values in zip(*columns, strict=True)]
        )
    reader = torch.utils.data.DataLoader(
        Utterances(), batch_sampler=batches, num_workers=workers, prefetch_factor=2
    )
    for waveform, length in reader:
        torch.arange(waveform.shape[1]).less(length[:, None])  # `valid`, as in our batches


def _row(name: str, threads: int, times: list[Seconds], seconds: float) -> dict:
    return {
        "way": name,
        "threads": threads,
        "audio_seconds_per_second": round(seconds / min(time.clock for time in times), 1),
        "median": round(seconds / statistics.median(time.clock for time in times), 1),
        "audio_seconds_per_cpu_second": round(seconds / min(time.cpu for time in times), 1),
    }


def _compare(rows: list[dict]) -> None:
    """Adds the share of the throughput of soundfile, and prints the table."""
    keys = ("audio_seconds_per_second", "audio_seconds_per_cpu_second")
    shares = ("share", "cpu_share")
    bare = {row["threads"]: row for row in rows if row["way"] == "soundfile"}
    print(f"{'':<10} threads  audio s/s   of soundfile  s/CPU s   of soundfile")
    for row in rows:
        base = bare[row["threads"]]
        row["share"], row["cpu_share"] = (round(row[key] / base[key], 3) for key in keys)
        cells = [
            f"{row[key]:>11}  {row[share]:>13.1%}" for key, share in zip(keys, shares, strict=True)
        ]
        print(f"{row['way']:<10} {row['threads']:>7}{''.join(cells)}")
    if "torch" not in {row["way"] for row in rows}:
        print("torch is not installed: pip install 'sersl[bench]' to measure its DataLoader too")
