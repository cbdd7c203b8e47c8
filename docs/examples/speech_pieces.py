"""Lists the stretches of speech in long recordings, as a manifest for `sersl prepare`.

python speech_pieces.py FOLDER PIECES.csv
"""

import csv
import sys
from pathlib import Path

from sersl.audio.decode import probe, read_audio
from sersl.audio.voice_activity import speech_segments
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.listing import AUDIO_EXTENSIONS, list_files

LONGEST = 30 * SAMPLE_RATE  # samples of a piece
BLOCK = 300 * SAMPLE_RATE  # samples that speech is searched in at once

folder, output = map(Path, sys.argv[1:3])
count = 0
with open(output, "w", encoding="utf-8", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["path", "channel", "start", "end"])
    for name in list_files(folder, AUDIO_EXTENSIONS):
        path = (folder / name).absolute()
        try:
            # Each channel of a call is another speaker.
            for channel in range(probe(path).channels):
                waveform = read_audio(path, channel=channel)
                for block in range(0, len(waveform), BLOCK):
                    for found in speech_segments(waveform[block : block + BLOCK]):
                        for start in range(block + found.start, block + found.stop, LONGEST):
                            stop = min(start + LONGEST, block + found.stop)
                            times = (start / SAMPLE_RATE, stop / SAMPLE_RATE)
                            rows.writerow([path, channel, *(f"{time:.3f}" for time in times)])
                            count += 1
        except UserError as error:
            print(f"left out: {error}")
print(f"{count} pieces in {output}")
