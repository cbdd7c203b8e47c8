"""Measures sersl beside what its users know, in one run on one machine.

Command: python tools/benchmark.py loader --data_dir data --corpora ravdess nemo
    python tools/benchmark.py conv --core 0
    python tools/benchmark.py objectives
    python tools/benchmark.py train --core 0 (needs the extra: pip install 'sersl[bench]')
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import soundfile
from benchmark_conv import conv
from benchmark_objectives import objectives
from benchmark_train import SIZES, train

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.labels import make_view
from sersl.data.batch_plan import BatchPlan, make_plan
from sersl.data.pipeline import training_batches
from sersl.data.sources import CorpusSource

GOAL = 0.85  # of what bare soundfile decoding of the same bytes reaches with the same threads


def loader(arguments) -> dict:
    """Measures decoding: bare soundfile, sersl's loader and a torch DataLoader, in turns.

    All give the same pieces of the same utterances as float32. soundfile gets the FLAC bytes in
    memory and drops what it decodes; the others also find and read the records, crop, pad and put
    batches together. Throughput is of real audio, by the clock and by the processor time of the
    process, which other programs on the machine disturb less. The best of all rounds counts.

    Args:
      arguments: `data_dir`, `corpora`, `steps`, `rounds`, `threads`.

    Returns:
      Rows with the audio seconds per second of each way, JSON-able.
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
            "soundfile": lambda n=threads: _soundfile(pieces, n),
            "sersl": lambda n=threads: _sersl(sources, plan, arguments.steps, n),
        }
        if _torch() is not None:
            ways["torch"] = lambda n=threads: _torch_loader(sources, plan, arguments.steps, n)
        measured = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, way in ways.items():  # in turns, so that a busy minute hits all
                measured[name].append(_timed(way))
        rows += [_row(name, threads, times, seconds) for name, times in measured.items()]
    _compare(rows)
    return {
        "measure": "loader",
        "goal": GOAL,
        "cpus": os.cpu_count(),
        "real_share": round(plan.real_share, 4),
        "rows": rows,
    }


def _pieces(sources, plan: BatchPlan, steps: int) -> list[tuple[bytes, int, int]]:
    """Collects (FLAC bytes, first sample, samples) of all rows of the first steps."""
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
    """The usual way: one item is one utterance, workers are processes, batches are collated."""
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


def _timed(way) -> tuple[float, float]:
    """Gives (seconds by the clock, seconds of processor time, of child processes too)."""
    before, start = os.times(), time.perf_counter()
    way()
    after, stop = os.times(), time.perf_counter()
    return stop - start, sum(after[:4]) - sum(before[:4])


def _row(name: str, threads: int, times: list[tuple[float, float]], seconds: float) -> dict:
    clock, processor = zip(*times, strict=True)
    return {
        "way": name,
        "threads": threads,
        "audio_seconds_per_second": round(seconds / min(clock), 1),
        "median": round(seconds / statistics.median(clock), 1),
        "audio_seconds_per_cpu_second": round(seconds / min(processor), 1),
    }


def _compare(rows: list[dict]) -> None:
    """Adds the share of what soundfile reaches, and prints the table."""
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


def main() -> int:
    """Runs one measurement; 2 when the user can fix what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="measure", required=True)
    verb = verbs.add_parser("loader", help=loader.__doc__.splitlines()[0])
    verb.set_defaults(run=loader)
    verb.add_argument("--data_dir", required=True, metavar="DIR", help="of `sersl prepare`")
    verb.add_argument("--corpora", nargs="+", default=["synthetic"], metavar="NAME")
    verb.add_argument("--steps", type=int, default=30, metavar="N", help="batches per round")
    verb.add_argument("--rounds", type=int, default=5, metavar="N")
    verb.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    verb = verbs.add_parser("conv", help=conv.__doc__.splitlines()[0])
    verb.set_defaults(run=conv)
    verb.add_argument("--rows", type=int, default=4, metavar="N", help="utterances in a batch")
    verb.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each utterance")
    verb.add_argument("--rounds", type=int, default=5, metavar="N")
    verb.add_argument("--cases", nargs="*", default=[], metavar="PART", help="of names to keep")
    verb = verbs.add_parser("objectives", help=objectives.__doc__.splitlines()[0])
    verb.set_defaults(run=objectives)
    verb.add_argument("--rows", type=int, default=8, metavar="N", help="utterances in a batch")
    verb.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of each utterance")
    verb.add_argument("--rounds", type=int, default=7, metavar="N")
    verb.add_argument("--cases", nargs="*", default=[], metavar="PART", help="of names to keep")
    verb = verbs.add_parser("train", help=train.__doc__.splitlines()[0])
    verb.set_defaults(run=train)
    verb.add_argument("--size", choices=SIZES, default="base", help="of the encoder")
    verb.add_argument("--rows", type=int, default=4, metavar="N", help="utterances in a batch")
    verb.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each utterance")
    verb.add_argument("--rounds", type=int, default=5, metavar="N")
    for known in verbs.choices.values():
        known.add_argument("--output", metavar="FILE.json")
        known.add_argument("--core", type=int, metavar="N", help="run on this core alone")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    try:
        results = arguments.run(arguments)
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if arguments.output:
        with open(arguments.output, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
