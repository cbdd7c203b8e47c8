"""Measures prediction with a wav2vec 2.0 of BASE size, and that of transformers."""

import functools
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks.timing import in_turns

import sersl
from sersl.cli.main import main as sersl_main
from sersl.core.errors import UserError
from sersl.corpora.listing import AUDIO_EXTENSIONS, list_files

GOAL = 1.5  # times as much audio per processor second as torch, in float32
LABELS = ("angry", "happy", "sad", "neutral", "fear", "disgust", "surprise", "calm")
_ROWS = 4  # of a batch of torch, of files sorted by length


def add_options(parser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--audio_dir", required=True, metavar="DIR")
    parser.add_argument("--files", type=int, default=60, metavar="N", help="drawn with seed 0")
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["torch", "sersl"])


def run(arguments) -> dict:
    """Compares the emotions of many files by sersl with those by transformers.

    Both load the same random wav2vec 2.0 BASE with heads, in a process of their own, and answer for
    the same files; processor seconds are those of the whole process, with imports, loading,
    compiling and reading.

    Raises:
      UserError: torch or transformers is not installed, or there is no audio.
    """
    folder = Path(arguments.audio_dir)
    files = sorted(str(folder / name) for name in list_files(folder, AUDIO_EXTENSIONS))
    if not files:
        raise UserError(f"--audio_dir {folder} holds no audio: give a folder of wav or flac files")
    order = np.random.default_rng(0).permutation(len(files))[: arguments.files]
    files = [files[i] for i in order]
    with tempfile.TemporaryDirectory() as temporary:
        source, model = Path(temporary) / "source", Path(temporary) / "model"
        _make_source(source)
        if sersl_main(["import", "--source", str(source), "--output", str(model)]):
            raise UserError("the model could not be imported")
        ways = {
            name: functools.partial(_in_process, name, str(source), str(model), files)
            for name in arguments.ways
        }
        measured = in_turns(ways, rounds=arguments.rounds)
    first = next(iter(measured.values()))[0]["answers"]
    rows = []
    for name, results in measured.items():
        cpu = statistics.median(result["cpu_seconds"] for result in results)
        seconds = results[0]["audio_seconds"]
        row = {
            "way": name,
            "audio_seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "audio_per_cpu_second": round(seconds / cpu, 2),
            "peak_mib": max(result["peak_mib"] for result in results),
            "largest_difference": float(np.abs(results[0]["answers"] - first).max()),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return {"goal": GOAL, "files": len(files), "rows": rows}


def _make_source(folder: Path) -> None:
    """Writes a random model in the layout of Hugging Face."""
    try:
        import torch
        from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
    except ImportError as error:
        raise UserError(
            "the comparison needs torch and transformers: pip install 'sersl[bench]'"
        ) from error
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(id2label=dict(enumerate(LABELS))))
    with torch.no_grad():
        model.classifier.weight *= 20  # answers that differ
    model.save_pretrained(folder)
    settings = {"do_normalize": True, "feature_size": 1, "padding_value": 0.0}
    settings |= {"sampling_rate": 16_000, "feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def _in_process(name: str, source: str, model: str, files: list[str]) -> dict:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_work, args=(name, source, model, files, theirs))
    process.start()
    found = ours.recv()
    process.join()
    return found


def _work(name, source, model, files, pipe):
    answers, seconds = WAYS[name](source if name.startswith("torch") else model, files)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pipe.send(
        {
            "answers": answers,
            "audio_seconds": seconds,
            "cpu_seconds": time.process_time(),
            "peak_mib": usage.ru_maxrss // 1024,
        }
    )


def _sersl(precision, model, files):
    loaded = sersl.load(model, precision=precision)
    answers = list(loaded.answers(files, embedding=False))
    scores = [list(answer.rows[0].category.values()) for answer in answers]
    return np.array(scores), sum(answer.end for answer in answers)


def _torch(rows, source, files):
    import soundfile
    import torch
    from transformers import AutoFeatureExtractor, Wav2Vec2ForSequenceClassification

    torch.set_num_threads(1)
    model = Wav2Vec2ForSequenceClassification.from_pretrained(source).eval()
    extractor = AutoFeatureExtractor.from_pretrained(source)
    waveforms = [soundfile.read(file, dtype="float32")[0] for file in files]
    order = sorted(range(len(files)), key=lambda i: len(waveforms[i]))
    answers = np.zeros((len(files), len(LABELS)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            given = extractor(
                [waveforms[i] for i in batch],
                sampling_rate=16_000,
                return_tensors="pt",
                padding=True,
                return_attention_mask=rows > 1,
            )
            logits = model(given.input_values, attention_mask=given.get("attention_mask")).logits
            answers[batch] = torch.softmax(logits, -1).numpy()
    return answers, sum(map(len, waveforms)) / 16_000


# Each takes a model and files at 16 kHz, and gives the probabilities and the seconds of audio.
WAYS = {
    "torch": functools.partial(_torch, 1),
    "torch_batched": functools.partial(_torch, _ROWS),
    "sersl": functools.partial(_sersl, None),
    "sersl_bfloat16": functools.partial(_sersl, "bfloat16"),
    "sersl_int8": functools.partial(_sersl, "int8"),
}
