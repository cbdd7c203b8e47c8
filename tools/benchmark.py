"""Measures sersl, and where there is one the usual alternative, in one run on one machine.

python tools/benchmark.py loader --data_dir data --corpora ravdess nemo
python tools/benchmark.py conv --core 0
python tools/benchmark.py objectives
python tools/benchmark.py save --data_dir runs/data
python tools/benchmark.py train --core 0       needs the extra: pip install 'sersl[bench]'
python tools/benchmark.py predict --core 0 --audio_dir ravdess   needs the same extra
python tools/benchmark.py serve --model model --audio_dir ravdess   needs sersl[serve]
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import conv, loader, objectives, predict, save, serve, train
from benchmarks.timing import machine

from sersl.core.errors import UserError
from sersl.core.files import write_json

MEASURES = {
    "loader": loader,
    "conv": conv,
    "objectives": objectives,
    "save": save,
    "train": train,
    "predict": predict,
    "serve": serve,
}


def main() -> int:
    """Runs one benchmark; 2 if the user can fix what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="measure", required=True)
    for name, module in MEASURES.items():
        verb = verbs.add_parser(name, help=module.run.__doc__.splitlines()[0])
        module.add_options(verb)
        verb.add_argument("--output", metavar="FILE.json")
        verb.add_argument("--core", type=int, metavar="N", help="run on this core alone")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    try:
        results = MEASURES[arguments.measure].run(arguments)
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if arguments.output:
        write_json(arguments.output, {"measure": arguments.measure, **results, **machine()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
