"""Plans the large presets on the topologies of docs/benchmarks/plans.md and prints its tables.

Commands, the first in an environment with `sersl[tpu]`, the second in one with `sersl[cuda]`:
    python tools/plans.py --output plans
    python tools/plans.py --output plans --topologies h100:2x8 h200:2x8
A plan that exists already is not made again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from sersl.planning.topology import GPUS

CONFIG = "configs/pretrain/emotion_aware.py"
PRESETS = ("base", "base_waveform", "large", "large_waveform", "xlarge", "xlarge_waveform")
TOPOLOGIES = ("v5e:4x4", "v5e:16x16", "v5p:4x4x4", "v6e:16x16")
ROWS = 8  # of 15.6 s on each device
FSDP = {"base": 1, "large": 16, "xlarge": 16}  # TPUs over which the state is sharded
NODE = 8  # GPUs over which it is sharded: those of a node, which have fast links
GIB = 2**30
HEAD = (
    "| preset | topology, mesh | M parameters | GiB per device: state, activations, temporaries, "
    "**peak** of available | FLOPs per step | sent, MiB | best step, ms: compute, memory, links, "
    "network | "
    "MFU at best | audio h per h at best | 60,000 h: days, chip-hours | "
    "compile CPU s, host GiB |\n" + "|---" * 11 + "|"
)


def main() -> int:
    """Makes the missing plans and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="of plans")
    parser.add_argument("--table_only", action="store_true", help="print the plans that exist")
    parser.add_argument(
        "--topologies", nargs="+", default=TOPOLOGIES, metavar="CHIP:SHAPE", help="to plan for"
    )
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS, help="to plan")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(HEAD)
    for preset in arguments.presets:
        for topology in arguments.topologies:
            file = arguments.output / f"{preset}_{topology.replace(':', '_')}.json"
            if not file.exists() and not arguments.table_only:
                plan(preset, topology, file)
            if file.exists():
                print(row(preset, json.loads(file.read_text())), flush=True)
    return 0


def plan(preset: str, topology: str, file: Path) -> None:
    """Makes a plan and writes it to `file`, in a process of its own so that its memory is freed."""
    fsdp = FSDP[preset.split("_")[0]]
    if topology.partition(":")[0] in GPUS:
        fsdp = min(fsdp, NODE)
    command = [
        *(sys.executable, "-m", "sersl", "plan", "--config", f"{CONFIG}:{preset}"),
        *("--topology", topology, "--rows_per_device", str(ROWS), "--output", str(file)),
        f"--config.mesh.fsdp={fsdp}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{preset} on {topology}: {done.stderr.strip()[-400:]}", file=sys.stderr, flush=True)


def row(preset: str, record: dict) -> str:
    """Formats a plan, as written by `sersl plan --output`, as a row of the table."""
    memory, times = record["memory"], record["times"]
    state = sum(memory[kind] for kind in ("params", "optimizer", "teacher", "batch"))
    sizes = " ".join(f"{axis}={size}" for axis, size in record["mesh"].items() if size > 1)
    peak = f"**{memory['peak'] / GIB:.2f}** of {memory['available'] / GIB:.2f}"
    if not memory["fits"]:
        peak += f", {-memory['spare'] / GIB:.2f} too much"
    cells = [
        preset,
        f"{record['topology']['name']}, {sizes}",
        f"{record['parameters']['total'] / 1e6:.0f}",
        f"{state / GIB:.2f}, {memory['activations'] / GIB:.2f}, "
        f"{memory['temporaries'] / GIB:.2f}, {peak}",
        f"{record['flops']['model']:.2e}",
        f"{sum(one['sent'] for one in record['collectives']) / 2**20:,.0f}",
    ]
    if times is None:
        cells += ["-"] * 4
    else:
        audio = record["audio"]
        cells += [
            f"{1e3 * times['step']:.0f}: {1e3 * times['compute']:.0f}, "
            f"{1e3 * times['memory']:.0f}, {1e3 * times['links']:.1f}, "
            f"{1e3 * times['network']:.1f}",
            f"{times['mfu']:.0%}",
            f"{times['audio_hours_per_hour']:,.0f}",
            f"{audio['days']:.2f}, {audio['chip_hours']:,.0f}",
        ]
    compile_ = record["compile"]
    cells.append(f"{compile_['cpu_seconds']:.0f}, {compile_['host_bytes'] / GIB:.1f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
