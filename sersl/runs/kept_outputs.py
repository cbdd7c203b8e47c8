"""Outputs of a frozen encoder, or of its lower layers, computed once for a corpus and kept.

`sersl.data.store` reads them. They lie in `<corpus>/<version>/outputs/<fingerprint>/`; the
fingerprint is of the weights, the settings and what the pooling needs, so that other outputs are
never taken for these.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.annotation.sidecar_parts import SidecarParts, clear_partials, fingerprint
from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig, MeshConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE, num_frames
from sersl.corpora.labels import LabelView
from sersl.corpora.sidecar import is_finished, outputs_folder
from sersl.data.batch import OutputShape
from sersl.data.buckets import Bucket, evaluation_buckets
from sersl.data.pipeline import evaluation_batches
from sersl.data.sources import CorpusSource
from sersl.data.store import OUTPUT_DTYPE, OutputReader
from sersl.models.encoder import SpeechEncoder
from sersl.models.pooling.pooling import Pooling
from sersl.parallel.agreement import all_agree, most
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import batch_sharding, path_name
from sersl.runs.initial_weights import InitialWeights
from sersl.training.loop import Preempted
from sersl.training.observe import Progress

SCHEMA = 1  # layout of the records, and the way they are computed
_WHAT = "the encoder outputs"
_PART_SECONDS = 900  # of audio: what an interrupted run computes again at most
_BATCH_SECONDS = 48.0  # of audio at once, on each device
_OPTIONS = "group_size:1,uncompressed"  # of ArrayRecord: half-precision numbers hardly compress
# Settings of the encoder that change training only, or speed.
_IRRELEVANT = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "layer_drop",
    "attention",
    "scan_layers",
    "remat",
)
# Settings newer than the first kept outputs. At their default they are left out of the identity, so
# that outputs of before are found.
_LATER = ("num_coefficients", "projection", "side_layers", "side_from", "side_onto", "final_norm")

Preemption = Callable[[int], bool]  # as in `sersl.training.loop.Guards`


def _never(_step: int) -> bool:
    return False


class OutputStore:
    """Makes, finds and opens the outputs of one frozen encoder for any corpus.

    Attributes:
      num_frozen: lower layers whose output is kept, all frames of it; None where the whole encoder
        is frozen and only what the pooling needs is kept.
      shape: of what is kept of an utterance.
    """

    def __init__(
        self, config: FinetuneConfig, weights: InitialWeights, *, num_frozen: int | None = None
    ):
        """Names the outputs by weights and settings; computes none.

        Args:
          config: of the run, with the sizes of the weights and without dropout in the encoder.
          weights: with the whole encoder.
          num_frozen: lower layers that never train, if the others do. For a pooling that reads all
            layers, the hidden states before their output are kept too.

        Raises:
          UserError: the weights lack a part of the encoder.
        """
        self._config = config
        self.num_frozen = num_frozen
        encoder = dataclasses.replace(self._config.encoder, scan_layers=False)
        model = nnx.eval_shape(
            lambda: SpeechEncoder(self._config.frontend, encoder, key=jax.random.key(0))
        )
        self._graph, state = nnx.split(model)
        self._params = weights.params["encoder"]
        self._run = jax.jit(self._outputs)
        wanted, given = (
            [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
            for tree in (nnx.to_pure_dict(state), self._params)
        )
        if wanted != given:
            raise UserError(
                f"{weights.source} holds a part of an encoder only, so its outputs cannot be kept: "
                "add --config.store=off"
            )
        pooling = self._config.pooling
        self._pooling = nnx.eval_shape(
            lambda: Pooling(encoder.last_layer, encoder.width, pooling, key=jax.random.key(0))
        )
        highest = encoder.last_layer if num_frozen is None else num_frozen
        layers = 1 if pooling.layers == "last" else highest + 1
        vectors = self._pooling.count_vectors if num_frozen is None else 0
        self.shape = OutputShape(layers, vectors, encoder.width)
        settings = _identity_of(encoder)
        self._identity = {
            "schema": SCHEMA,
            "weights": _digest(self._params),
            "frontend": _identity_of(self._config.frontend),
            "encoder": {k: v for k, v in settings.items() if k not in _IRRELEVANT},
            "layers": "last" if pooling.layers == "last" else "all",
            "standardize_layers": num_frozen is None
            and pooling.standardize_layers
            and pooling.layers != "last",
            "shape": dataclasses.asdict(self.shape),
            # One vector of a layer was always the mean, before there were maxima.
            **({"statistic": "maximum"} if pooling.kind == "max" and num_frozen is None else {}),
            **({} if num_frozen is None else {"num_frozen": num_frozen}),
        }

    def open(
        self, source: CorpusSource, say: Callable[[str], None], *, preempted: Preemption = _never
    ) -> OutputReader:
        """Opens the outputs for a corpus; computes what is missing. All processes must call this.

        Args:
          source: the corpus.
          say: called with lines for people.
          preempted: whether to leave; one process asks before every batch, several, whose shares
            differ, before every part.

        Returns:
          A reader of all its utterances.

        Raises:
          UserError: no room to write, or a record is damaged.
          Preempted: before the end; the parts that are complete are kept.
        """
        index, identity = source.index, dict[str, Any](self._identity)
        if source.speed != 1.0:
            identity["speed"] = source.speed
        folder = outputs_folder(index, fingerprint(identity))
        summary = identity | {
            "corpus_fingerprint": index.fingerprint,
            "num_utterances": len(index),
            "utterance_ids_sha256": hashlib.sha256(
                "\n".join(index.column("utterance_id")).encode()
            ).hexdigest(),
        }
        if not all_agree(is_finished(folder, summary)):
            self._make(source, folder, summary, say, preempted)
        else:
            clear_partials(folder)
            say(f"encoder outputs of {_name(source)}: found in {folder}")
        return OutputReader(index, folder, expected=summary, num_samples=source.num_samples)

    def _make(
        self,
        source: CorpusSource,
        folder: Path,
        summary: dict[str, Any],
        say: Callable[[str], None],
        preempted: Preemption,
    ) -> None:
        parts = SidecarParts(
            folder,
            summary,
            source.num_samples,
            what=_WHAT,
            most_samples=_PART_SECONDS * SAMPLE_RATE,
            options=_OPTIONS,
        )
        parts.prepare()
        size = self._bytes(source)
        say(
            f"encoder outputs of {_name(source)}: {len(source)} utterances, "
            f"{size / 1e6:,.1f} MB, kept in {folder}"
        )
        _check_room(parts.folder, 2 * size)  # the parts, then the whole of them
        if window := self._window:
            say(
                f"each utterance is padded to {window:g} s, the window that the encoder was "
                "imported with; `sersl import` without --exact_window runs it on the audio alone"
            )
        mesh = make_mesh(MeshConfig(), jax.local_devices())
        leave = preempted if jax.process_count() == 1 else _never
        # Each process computes its share; one that cannot see the others' files computes the rest.
        for shard in ((jax.process_index(), jax.process_count()), (0, 1)):
            share = parts.share(shard)
            progress = Progress(f"{_name(source)} through the encoder", total=share.total,
                                start=share.done, enabled=jax.process_index() == 0)  # fmt: skip
            try:
                with jax.set_mesh(mesh):
                    for number in range(most(len(share.to_do))):
                        if preempted(0):  # all processes ask equally often
                            raise Preempted(0)
                        if number < len(share.to_do):
                            part = share.to_do[number]
                            records = self._records(source, parts.rows[part], mesh, leave=leave)
                            parts.write(part, share.counted(records, None))
                            progress.show(share.done, {})
            except Preempted:
                kept = len(source) - sum(len(parts.rows[part]) for part in parts.missing())
                say(f"{_WHAT} of {kept} of {len(source)} utterances of {_name(source)} are kept")
                raise
            finally:
                progress.close()
            all_agree(True)
        parts.join()
        all_agree(True)

    def _bytes(self, source: CorpusSource) -> int:
        frames = num_frames(source.num_samples)
        vectors = self.shape.vectors * len(source) or int(frames.sum())
        return OUTPUT_DTYPE.itemsize * self.shape.layers * vectors * self.shape.width

    def _records(
        self, source: CorpusSource, rows: range, mesh: Mesh, *, leave: Preemption
    ) -> Iterator[bytes]:
        found: dict[int, bytes] = {}
        sharding = batch_sharding(mesh)
        params = jax.device_put(self._params, NamedSharding(mesh, P()))
        buckets = self._buckets(source, mesh)
        batches = evaluation_batches(
            [source],
            np.arange(rows.start, rows.stop),
            LabelView(()),
            buckets=buckets,
            data=self._config.data,
        )
        for batch in batches:
            if leave(0):
                raise Preempted(0)
            waveform, valid = jax.device_put((batch["waveform"], batch["valid"]), sharding)
            outputs = np.asarray(self._run(params, waveform, valid)).astype(OUTPUT_DTYPE)
            if not np.isfinite(outputs[batch["utterance_index"] >= 0]).all():
                raise UserError(
                    f"an output of the encoder for corpus {source.index.corpus!r} is not finite in "
                    "float16: add --config.store=off"
                )
            for output, row in zip(outputs, batch["utterance_index"].tolist(), strict=True):
                if row >= 0:
                    vectors = self.shape.of(num_frames(int(source.num_samples[row])))[1]
                    found[row] = output[:, :vectors].tobytes()
        for row in rows:
            yield found[row]

    @property
    def _window(self) -> float:
        """Seconds to which every input is padded; 0: it is not."""
        frontend = self._config.frontend
        return frontend.window_seconds if frontend.kind == "whisper" else 0.0

    def _buckets(self, source: CorpusSource, mesh: Mesh) -> tuple[Bucket, ...]:
        seconds = _BATCH_SECONDS * mesh.size
        buckets = evaluation_buckets(
            source.num_samples,
            num_buckets=0,
            seconds_per_batch=seconds,
            row_multiple=mesh.size,
        )
        if not self._window:
            return buckets
        most = mesh.size * max(1, int(seconds / self._window) // mesh.size)
        return tuple(dataclasses.replace(one, rows=min(one.rows, most)) for one in buckets)

    def _outputs(self, params, waveform, valid):
        encoded = nnx.merge(self._graph, nnx.State(params))(waveform, valid)
        if self.num_frozen is None:
            return self._pooling.outputs(encoded.hidden_states, encoded.valid)
        first = self.num_frozen + 1 - self.shape.layers
        return jnp.moveaxis(encoded.hidden_states[first : self.num_frozen + 1], 0, 1)


def _name(source: CorpusSource) -> str:
    at = "" if source.speed == 1.0 else f" at speed {source.speed:g}"
    return f"{source.index.corpus}{at}"


def _digest(params: Any) -> str:
    """Names weights, a nested dict of arrays: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{_WHAT} need {_megabytes(needed)} MB in {folder.parent}, and {_megabytes(free)} MB "
            "are free: make room, or add --config.store=off"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}" if size >= 1e7 else f"{size / 1e6:.2g}"


def _identity_of(config: FrontendConfig | EncoderConfig) -> dict[str, Any]:
    defaults = dataclasses.asdict(type(config)())
    return {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in _LATER or value != defaults[name]
    }
