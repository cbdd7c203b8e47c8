"""Writes one utterance of a prepared corpus as a WAV file, and prints its labels.

Command: python tools/write_wav.py --corpus synthetic --data_dir runs/data --output example.wav
"""

import argparse
import sys

import numpy as np
import soundfile

from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.labels import DIMENSIONS
from sersl.data.sources import CorpusSource


def main() -> int:
    """Writes the file and prints its labels; 2 if the user can fix what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, metavar="NAME")
    parser.add_argument("--data_dir", required=True, metavar="DIR", help="from `sersl prepare`")
    parser.add_argument("--utterance_id", metavar="ID", help="default: the first")
    parser.add_argument("--output", required=True, metavar="FILE.wav")
    arguments = parser.parse_args()
    try:
        source = CorpusSource(arguments.data_dir, arguments.corpus)
        ids = source.index.column("utterance_id")
        wanted = arguments.utterance_id or ids[0]
        rows = np.flatnonzero(ids == wanted)
        if not len(rows):
            raise unknown_name("utterance", wanted, ids)
        row = int(rows[0])
        waveform = source.waveform(row)
    except UserError as error:
        print(f"write_wav: {error}", file=sys.stderr)
        return 2
    soundfile.write(arguments.output, waveform, SAMPLE_RATE, subtype="PCM_16")
    known = [f"{len(waveform) / SAMPLE_RATE:.2f} s"]
    known += [str(source.index.column(name)[row]) for name in ("speaker", "category")]
    for name in DIMENSIONS:
        value = float(source.index.column(name)[row])
        known += [f"{name} {value:.2f}"] if not np.isnan(value) else []
    print(f"{wanted}: {', '.join(filter(None, known))}: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
