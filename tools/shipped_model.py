"""Makes the model that is part of the package, from three corpora and Whisper base.

python tools/shipped_model.py --ravdess DIR --nemo DIR --read DIR --whisper DIR --work DIR
    [--output DIR]

--read is a folder of recordings of LibriSpeech with a manifest.csv that has the columns path,
speaker and gender; they are taken for neutral, which nobody rated. --work holds prepared data, runs
and scores; what is there is not computed again. --output is sersl/release/packaged/acted-small by
default. The same inputs and versions give the same bytes.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LICENCE = "CC-BY-NC-SA-4.0"
MOST_BYTES = 8_000_000
READ, READ_LICENCE = "librispeech_read", "CC BY 4.0"
_FOLDS_ONLY = "--config.protocol.final_model=False"
# Corpora weigh the same, because nEMO has no disgust and no calm: otherwise these categories are
# predicted for most voices of RAVDESS.
_BY_SPEAKER = (
    *("--config.solver.balance_corpora=True", "--config.protocol.num_folds=6"),
    "--config.protocol.name=k-fold-by-speaker",
)
_EMOBOX = ("--config.protocol.name=emobox", _FOLDS_ONLY)
_ONE_OUT = ("--config.protocol.name=leave-one-speaker-out", _FOLDS_ONLY)
# workdir: (encoder, corpora, other settings)
RUNS = {
    # With more weight on read books, recordings of any corpus that was not trained on are neutral.
    "released": (
        *("whisper-base-int8", f"ravdess,nemo,{READ}"),
        (*_BY_SPEAKER, "--config.data.weights=1,1,0.001"),
    ),
    "both": ("whisper-base-int8", "ravdess,nemo", (*_BY_SPEAKER, _FOLDS_ONLY)),
    "ravdess": ("whisper-base-int8", "ravdess", _EMOBOX),
    "nemo": ("whisper-base-int8", "nemo", _ONE_OUT),
    "ravdess-float32": ("whisper-base-cut", "ravdess", _EMOBOX),
}
# One speed, so that the encoder runs once. The penalty is what most folds chose among the defaults
# on left-out training speakers; the others only take time.
HEAD = (
    *("--config.views.speeds=", "--config.pooling.layers=1-2"),
    *("--config.solver.penalties=1.0", "--config.solver.inner_folds=2"),
)
# Rows of the card: (run, corpus that is scored or "": all, text).
SHOWN = (
    ("released", "ravdess", "all three, scored on RAVDESS | six folds by speaker"),
    ("released", "nemo", "all three, scored on nEMO | six folds by speaker"),
    ("both", "ravdess", "RAVDESS and nEMO, scored on RAVDESS | six folds by speaker"),
    ("both", "nemo", "RAVDESS and nEMO, scored on nEMO | six folds by speaker"),
    ("ravdess", "", "RAVDESS alone | six folds of EmoBox"),
    ("ravdess-float32", "", "RAVDESS alone, encoder in float32 | six folds of EmoBox"),
    ("nemo", "", "nEMO alone | one speaker left out, nine times"),
)
NOTES = """\
**Languages**: English (RAVDESS, North American) and Polish (nEMO), read sentences with acted
emotions, recorded in quiet rooms; and English read books (LibriSpeech excerpts, CC BY 4.0).

**Read books** carry a weak label: they are trained on as neutral, which nobody rated, with a
thousandth of the weight of the other corpora, because models of acted emotions alone call most of
them sad. Read books of other speakers are neutral in {read} of all cases, by six folds
("{read_corpus}" below and in the first table, which counts them). Emotion in recordings like these
was never tested. With equal weights, voices of any corpus that was not trained on would be called
neutral (docs/predict.md of sersl has numbers).

**Noise, rooms, telephone**: scores fall far, and in noise most voices are called neutral
(docs/predict.md of sersl has numbers). Use it for clean recordings.

**Never tested on**: spontaneous speech, other languages, children, the elderly, whispering,
singing, real telephone audio and noisy rooms. Disgust and calm were learned from English voices
only. Contempt and boredom are none of its categories: a voice with one of them gets another.

**Encoder**: the convolutions and the first {layers} of 6 layers of OpenAI's Whisper base, with
kernels in 8 bits, not trained further. **Head**: ridge regression on the mean and the standard
deviation over time of the outputs of both layers.

| trained and tested on | protocol | UAR | accuracy |
|---|---|---|---|
{rows}

Brackets: 95 % interval, bootstrap over speakers. Speakers that are tested are never trained on.
Chance is 0.125 on the eight categories of RAVDESS and 0.167 on the six of nEMO.

Made by:

```bash
{commands}
```
"""


def main() -> None:
    """Prepares, imports, fine-tunes and exports; skips what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("ravdess", "nemo", "read", "whisper", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "sersl" / "release" / "packaged" / "acted-small"
    )
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    for corpus in ("ravdess", "nemo"):
        if not (work / "data" / corpus).is_dir():
            audio = getattr(arguments, corpus).resolve()
            sersl(work, "prepare", "--corpus", corpus, "--audio_dir", audio, "--data_dir", "data")
    if not (work / "data" / READ).is_dir():
        listed = work / f"{READ}.csv"
        list_read(arguments.read, listed)
        of_list = ("--manifest", listed.name, "--audio_dir", arguments.read.resolve())
        of_list = (*of_list, "--name", READ, "--licence", READ_LICENCE)
        sersl(work, "prepare", *of_list, "--data_dir", "data")
    cut, rounded = "whisper-base-cut", "whisper-base-int8"
    of_import = ("import", "--source", arguments.whisper.resolve(), "--output", cut)
    of_import = (*of_import, "--layers", arguments.layers, "--licence", "MIT")
    of_rounding = ("export", "--workdir", cut, "--output", rounded, "--weights", "int8")
    for command, output in ((of_import, cut), (of_rounding, rounded)):
        if not (work / output).is_dir():
            sersl(work, *command)
    for name in RUNS:
        if not (work / name / "results.json").is_file():
            sersl(work, *finetune(name))
    of_export = ("export", "--workdir", "released", "--output", "acted-small", "--weights", "int8")
    of_export = (*of_export, "--licence", LICENCE, "--notes", "notes.md")
    commands = (of_import, of_rounding, finetune("released"), of_export)
    (work / "notes.md").write_text(notes(work, commands, arguments.layers))
    sersl(work, *of_export)
    shutil.rmtree(arguments.output, ignore_errors=True)
    shutil.copytree(work / "acted-small", arguments.output)
    size = sum(path.stat().st_size for path in arguments.output.iterdir())
    if size > MOST_BYTES:
        sys.exit(f"{arguments.output} has {size} bytes, more than {MOST_BYTES}")
    print(f"{arguments.output}: {size} bytes")


def list_read(folder: Path, output: Path) -> None:
    """Writes the list of the read books to prepare, each with the label neutral."""
    names = ("path", "speaker", "gender")
    with open(folder / "manifest.csv", newline="") as file:
        rows = [[row[name] for name in names] for row in csv.DictReader(file)]
    with open(output, "w", newline="") as file:
        csv.writer(file).writerows([[*names, "category"], *([*row, "neutral"] for row in rows)])


def finetune(name: str) -> tuple[object, ...]:
    """Gives the command of a run."""
    encoder, corpora, options = RUNS[name]
    return (
        *("finetune", "--config", "configs/finetune/frozen.py:ridge", "--workdir", name),
        *(f"--config.init_from={encoder}", "--config.data.data_dir=data"),
        *(f"--config.data.corpora={corpora}", *HEAD, *options),
    )


def sersl(work: Path, *words: object) -> None:
    """Runs `sersl` in a folder, with the configs of this checkout."""
    command = [str(word).replace("configs/", f"{ROOT}/configs/") for word in words]
    print("sersl", *words, flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "sersl", *command], cwd=work, env=environment, check=True)


def notes(work: Path, commands: Sequence[Sequence[object]], layers: int) -> str:
    """Writes the notes of the card from the results of all runs."""
    rows = []
    for name, corpus, shown in SHOWN:
        results = json.loads((work / name / "results.json").read_text())
        scores, intervals = results["metrics"], results["confidence"]
        if corpus:
            group = results["groups"]["corpus"]["groups"][corpus]
            scores, intervals = group["scores"], group["intervals"]
        cells = [
            f"{scores[key]:.3f} [{intervals[key][0]:.3f}, {intervals[key][1]:.3f}]"
            for key in ("uar", "accuracy")
        ]
        rows.append(f"| {shown} | {' | '.join(cells)} |")
    texts = []
    for command in commands:
        words = [word.name if isinstance(word, Path) else str(word) for word in command]
        texts.append(" ".join(["sersl", *words]))
    results = json.loads((work / "released" / "results.json").read_text())
    read = results["groups"]["corpus"]["groups"][READ]["scores"]["accuracy"]
    return NOTES.format(
        rows="\n".join(rows),
        commands="\n".join(texts),
        layers=layers,
        read=f"{read:.1%}".replace("%", " %"),
        read_corpus=READ,
    )


if __name__ == "__main__":
    main()
