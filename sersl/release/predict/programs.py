"""The compiled network of a model on the devices of this machine, and its batches."""

import dataclasses
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.models.fusion.view_parts import ViewInput
from sersl.parallel.mesh import make_mesh
from sersl.release.architecture import Architecture
from sersl.release.folder import ReleasedModel
from sersl.release.int8_weights import quantized
from sersl.release.label_facts import LabelFacts
from sersl.release.predict.given_tables import NO_TABLES, GivenTables, Tables
from sersl.release.predict.network_outputs import DialogueNetwork, calibrated
from sersl.release.predict.one_cpu import compute_in_parts
from sersl.release.predict.padding import Batch, Planner, padded_batch
from sersl.release.predict.precision import check_precision
from sersl.release.predict.with_views import WithViews

Arrays = dict[str, np.ndarray]


class Network(DialogueNetwork):
    """Computes outputs of stretches of audio in batches; several threads may use it at once.

    With several devices the rows of a batch are divided over all of them.
    """

    def __init__(
        self,
        released: ReleasedModel,
        *,
        precision: str | None = None,
        tables: Tables = NO_TABLES,
        calibrate: bool = True,
    ):
        """Puts the parameters on the devices.

        Args:
          released: from `read_model`.
          precision: one of PRECISIONS; None: as the model was trained.
          tables: files of the views that are tables, by name.
          calibrate: whether probabilities are at the temperature of the model, or at 1.

        Raises:
          UserError: an unknown precision, or a table is wrong.
        """
        check_precision(precision)
        self.tables = GivenTables(released.architecture, tables)
        architecture = _in_precision(released.architecture.for_this_machine(), precision)
        self._labels = released.labels if calibrate else released.labels.uncalibrated
        self.has_heads = architecture.heads is not None
        params = released.params if self.has_heads else released.params["encoder"]
        devices = jax.local_devices()
        planner = functools.partial(
            Planner,
            num_parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
            platform=devices[0].platform,
            num_devices=len(devices),
        )
        self._planner = planner
        self._planners: dict[object, Planner] = {}
        self._lock = threading.Lock()
        model = architecture.build()
        if len(devices) == 1 and devices[0].platform == "cpu":
            compute_in_parts(model)
        self._graph = nnx.graphdef(model)
        self._mesh = make_mesh(MeshConfig(data=-1), devices) if len(devices) > 1 else None
        if precision == "int8":
            params = jax.tree.map(_quantize, params)
        self._params = jax.tree.map(self._put, params)
        self._scores = {
            frames: jax.jit(functools.partial(self._forward, frames=frames))
            for frames in (False, True)
        }
        self.has_dropout = architecture.has_dropout
        self._with_dropout = jax.jit(self._dropout_passes)
        self._hidden = jax.jit(self._hidden_states, static_argnames=("layers", "frames"))

    def scores(
        self,
        waveforms: Sequence[np.ndarray],
        recordings: Sequence[WithViews] = (),
        *,
        frames: bool = False,
        share: float = 1.0,
    ) -> Iterator[tuple[int, Arrays]]:
        """Computes the outputs of the heads.

        Args:
          waveforms: float32 [N] each, 16 kHz, 0.1 to 30 s.
          recordings: that they are of, where views of tables come from; empty: they have none.
          frames: also the probabilities of each frame.
          share: of all work that these waveforms are, see `Planner.plan`.

        Yields:
          (index of a waveform, {"category": [C] probabilities, "dimensions": [D], "embedding": [E],
          and "frames" [T, C], with padding}), in any order.
        """

        def program(batch: Batch, params: dict[str, Any], *arrays: Any) -> dict[str, jax.Array]:
            views = self.tables.inputs(recordings, batch.indices, rows=batch.shape.rows)
            return self._scores[frames](params, *arrays, views)

        yield from self._batches(frames, program, waveforms, share)

    def passes(
        self,
        waveforms: Sequence[np.ndarray],
        recordings: Sequence[WithViews] = (),
        *,
        num_passes: int,
        address: tuple[int, int],
        share: float = 1.0,
    ) -> Iterator[tuple[int, Arrays]]:
        """Computes probabilities several times with dropout.

        Args:
          waveforms: as `scores`.
          recordings: as `scores`.
          num_passes: K.
          address: seed, and number of this call, for the units that are dropped.
          share: as `scores`.

        Yields:
          (index of a waveform, {"category": [K, C]}).
        """
        key = jax.random.fold_in(jax.random.key(address[0]), address[1])
        count = itertools.count()

        def program(batch: Batch, params: dict[str, Any], *arrays: Any) -> dict[str, jax.Array]:
            keys = jax.random.split(jax.random.fold_in(key, next(count)), num_passes)
            views = self.tables.inputs(recordings, batch.indices, rows=batch.shape.rows)
            return self._with_dropout(params, *arrays, keys, views)

        yield from self._batches(("passes", num_passes), program, waveforms, share)

    def hidden(
        self,
        waveforms: Sequence[np.ndarray],
        *,
        layers: tuple[int, ...],
        frames: bool = False,
        share: float = 1.0,
    ) -> Iterator[tuple[int, Arrays]]:
        """Computes hidden states of the encoder.

        Args:
          waveforms: as `scores`.
          layers: numbers of the hidden states, 0 to L.
          frames: those of each frame instead of their mean over real frames.
          share: as `scores`.

        Yields:
          (index of a waveform, {"states": float32 [layers, D], or [T, layers, D] with padding}).
        """

        def program(batch: Batch, params: dict[str, Any], *arrays: Any) -> dict[str, jax.Array]:
            return self._hidden(params, *arrays, layers=layers, frames=frames)

        yield from self._batches((layers, frames), program, waveforms, share)

    def _batches(
        self,
        key: object,
        program: Callable[..., dict[str, jax.Array]],
        waveforms: Sequence[np.ndarray],
        share: float,
    ) -> Iterator[tuple[int, Arrays]]:
        with self._lock:
            planner = self._planners.setdefault(key, self._planner())
            plan = planner.plan([len(waveform) for waveform in waveforms], share=share)
        running: tuple[Batch, dict[str, jax.Array]] | None = None
        for batch in plan:
            rows = [waveforms[i] for i in batch.indices]
            started = batch, self._run(functools.partial(program, batch), rows, batch)
            # The device works on this batch while the previous one is read.
            if running is not None:
                yield from _rows(*running)
            running = started
        if running is not None:
            yield from _rows(*running)

    def _run(
        self, program: Callable[..., dict[str, jax.Array]], rows: list[np.ndarray], batch: Batch
    ) -> dict[str, jax.Array]:
        waveform, valid = padded_batch(rows, rows=batch.shape.rows, length=batch.shape.num_samples)
        if self._mesh is None:
            return program(self._params, waveform, valid)
        sharding = NamedSharding(self._mesh, PartitionSpec(("data", "fsdp")))
        with jax.set_mesh(self._mesh):
            return program(self._params, *jax.device_put((waveform, valid), sharding))

    def _put(self, array: np.ndarray) -> jax.Array:
        if self._mesh is None:
            return jnp.asarray(array)
        return jax.device_put(array, NamedSharding(self._mesh, PartitionSpec()))

    def _forward(
        self,
        params: dict[str, Any],
        waveform: jax.Array,
        valid: jax.Array,
        views: Mapping[str, ViewInput],
        *,
        frames: bool,
    ) -> dict[str, jax.Array]:
        model = self._merged(params)
        return outputs_of(model, waveform, valid, views=views, labels=self._labels, frames=frames)

    def _dropout_passes(
        self,
        params: dict[str, Any],
        waveform: jax.Array,
        valid: jax.Array,
        keys: jax.Array,
        views: Mapping[str, ViewInput],
    ) -> dict[str, jax.Array]:
        model = self._merged(params)

        def one(key: jax.Array) -> jax.Array:
            output = model(waveform, valid, key=key, views=views)
            return calibrated(output.category, self._labels)

        # One pass after the other, so that they need the memory of one.
        return {"category": jax.lax.map(one, keys).swapaxes(0, 1)}

    def _hidden_states(
        self,
        params: dict[str, Any],
        waveform: jax.Array,
        valid: jax.Array,
        *,
        layers: tuple[int, ...],
        frames: bool,
    ) -> dict[str, jax.Array]:
        model = self._merged(params)
        output = (model.encoder if self.has_heads else model)(waveform, valid)
        states = output.hidden_states[jnp.array(layers)].astype(jnp.float32)
        if frames:
            return {"states": states.transpose(1, 2, 0, 3)}
        real = output.valid[None, :, :, None]
        mean = jnp.where(real, states, 0).sum(2) / jnp.maximum(real.sum(2), 1)
        return {"states": mean.swapaxes(0, 1)}

    def _merged(self, params: dict[str, Any]) -> Any:
        dense = jax.tree.map(_dense, params, is_leaf=lambda leaf: isinstance(leaf, _Quantized))
        return nnx.merge(self._graph, nnx.State(dense))


def outputs_of(
    model: Any,
    waveform: jax.Array,
    valid: jax.Array,
    *,
    labels: LabelFacts,
    views: Mapping[str, ViewInput] = MappingProxyType({}),
    frames: bool = False,
) -> dict[str, jax.Array]:
    """Computes all outputs of an `EmotionModel`.

    Args:
      model: the network.
      waveform: float32 [B, N].
      valid: bool [B, N].
      labels: whether several categories may apply, and the temperature.
      views: inputs of views from tables, by name.
      frames: also the probabilities of each frame.

    Returns:
      {"category": [B, C] probabilities, "dimensions": [B, D], "embedding": [B, E]}, uncertainties
      by name, and "frames" [B, T, C] if asked for.
    """
    output = model(waveform, valid, views=views)
    result = {
        "category": calibrated(output.category, labels),
        "dimensions": output.dimensions,
        "embedding": output.embedding,
        **model.uncertainty(output),
    }
    # What is not returned is not computed.
    if frames:
        result["frames"] = calibrated(output.frames, labels)
    return result


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Quantized:
    """A kernel as int8 with a scale for each output.

    Attributes:
      values: int8 [..., outputs].
      scale: float32 [outputs].
    """

    values: Any
    scale: Any


def _quantize(array: np.ndarray) -> Any:
    """Rounds a kernel; other arrays stay as they are."""
    parts = quantized(array)
    return array if parts is None else _Quantized(*parts)


def _dense(leaf: Any) -> jax.Array:
    """Gives a parameter of any shape in float32."""
    if isinstance(leaf, _Quantized):
        return leaf.values.astype(jnp.float32) * leaf.scale
    return leaf


def _in_precision(architecture: Architecture, precision: str | None) -> Architecture:
    if precision is None:
        return architecture
    dtype = "bfloat16" if precision == "bfloat16" else "float32"
    return dataclasses.replace(
        architecture, encoder=dataclasses.replace(architecture.encoder, dtype=dtype)
    )


def _rows(batch: Batch, outputs: dict[str, jax.Array]) -> Iterator[tuple[int, Arrays]]:
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    for row, index in enumerate(batch.indices):
        yield index, {name: value[row] for name, value in arrays.items()}


def check_process(process: int) -> None:
    """Refuses to compute in a forked child, where the threads of JAX do not run."""
    if process != os.getpid():
        raise UserError(
            "a model was loaded before this process was forked, and JAX never answers in a forked "
            "child: start processes with multiprocessing.get_context('spawn'), and load the model "
            "in each"
        )
