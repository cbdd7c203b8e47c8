"""Small prepared corpora with known samples, labels and annotation."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from sersl.audio.flac import encode_flac
from sersl.audio.prosody import PROSODY_NAMES
from sersl.core.lengths import num_frames
from sersl.corpora.index import INDEX_SCHEMA, SPLIT
from sersl.corpora.writing.builder import Info

CATEGORIES = ("angry", "sad", "", "neutral")


def waveform_of(corpus: str, row: int, num_samples: int) -> np.ndarray:
    """A noise that says which utterance it is from; exact in 16 bits."""
    rng = np.random.default_rng([len(corpus), ord(corpus[0]), row])
    return (rng.integers(-3000, 3000, num_samples) / 32768).astype(np.float32)


def intensity_of(row: int, num_samples: int) -> np.ndarray:
    frames = np.arange(num_frames(num_samples))
    return ((frames % 64) / 64 + row % 2).astype(np.float32)


def prosody_of(row: int, num_samples: int) -> np.ndarray:
    values = intensity_of(row, num_samples)[:, None] + np.arange(len(PROSODY_NAMES))
    return np.where(np.arange(len(values))[:, None] % 7 == 3, np.nan, values).astype(np.float32)


def prepare(data_dir: Path, corpus: str, lengths, *, annotator: str | None = None) -> None:
    """Writes a corpus as `sersl prepare` and `sersl annotate` do."""
    rows = [_row(corpus, i, int(n)) for i, n in enumerate(lengths)]

    class Corpus(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        name = corpus

        def _info(self):
            kinds = {pa.string(): str, pa.float64(): np.float64, pa.int64(): np.int64}
            features = {
                column.name: tfds.features.Text()
                if kinds[column.type] is str
                else tfds.features.Scalar(kinds[column.type])
                for column in INDEX_SCHEMA
            }
            features["audio"] = tfds.features.Text()
            return Info(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {SPLIT: self._generate_examples()}

        def _generate_examples(self):
            for i, row in enumerate(rows):
                audio = encode_flac(waveform_of(corpus, i, row["num_samples"]))
                yield i, row | {"audio": audio}

    Corpus(data_dir=str(data_dir), file_format="array_record").download_and_prepare()
    folder = data_dir / corpus / "1.0.0"
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / "index.parquet")
    summary = {
        "corpus": corpus,
        "version": "1.0.0",
        "fingerprint": f"print-{corpus}",
        "licence": "",
        "num_utterances": len(rows),
    }
    (folder / "prepare.json").write_text(json.dumps(summary))
    if annotator is not None:
        annotate(folder, corpus, lengths, annotator)


def annotate(folder: Path, corpus: str, lengths, annotator: str) -> None:
    """Writes a sidecar."""
    sidecar = folder / "sidecars" / annotator
    sidecar.mkdir(parents=True)
    writer = ArrayRecordWriter(str(sidecar / "sidecar-00000-of-00001.array_record"), "group_size:1")
    for i, n in enumerate(lengths):
        arrays = {"intensity": intensity_of(i, n), "prosody": prosody_of(i, n)}
        writer.write(safetensors.numpy.save({k: v.astype(np.float16) for k, v in arrays.items()}))
    writer.close()
    summary = {
        "schema": 1,
        "annotator": annotator,
        "fingerprint": "0",
        "corpus_fingerprint": f"print-{corpus}",
        "num_utterances": len(lengths),
        "num_frames": int(sum(num_frames(int(n)) for n in lengths)),
        "prosody_names": list(PROSODY_NAMES),
        "utterance_ids_sha256": "",
    }
    (sidecar / "sidecar.json").write_text(json.dumps(summary))


def _row(corpus: str, i: int, num_samples: int) -> dict:
    row = {c.name: "" if c.type == pa.string() else float("nan") for c in INDEX_SCHEMA}
    return row | {
        "utterance_id": f"{corpus}-{i}",
        "corpus": corpus,
        "speaker": "" if i % 5 == 4 else f"s{i % 3}",
        "category": CATEGORIES[i % len(CATEGORIES)],
        "arousal": i / 100 if i % 2 else float("nan"),
        "num_samples": num_samples,
        "duration": num_samples / 16000,
        "path": f"{i}.wav",
    }
