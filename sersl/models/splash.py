"""Attention on TPU with JAX's splash kernel, which keeps the scores in on-chip memory.

The T x T scores never reach HBM, neither forward nor backward. The kernel takes blocks of 128
frames, one row and no mesh; this file applies it to a batch.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention
from jax.sharding import PartitionSpec

LANES = 128  # length of a TPU vector; blocks are multiples of it
LONGEST_BLOCK = 1024  # frames; the scores of such a block take 4 MiB of on-chip memory
_REAL, _PADDING = 1, 0  # segments: frames attend to those of the same segment


def splash(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    seen: jax.Array,
    *,
    interpret: bool = False,
) -> jax.Array:
    """Computes softmax(query key^T / sqrt(d)) value over the frames to attend to.

    On a mesh every device computes its own rows (axes data and fsdp) and heads (axis tensor).

    Args:
      query: [B, T, H, d].
      key: like query.
      value: like query.
      seen: bool [B, T], the frames to attend to, at least one in each row.
      interpret: runs the kernel step by step on any platform, for tests.

    Returns:
      Like query; softmax in float32.
    """
    attend = functools.partial(_attend, interpret=interpret)
    if not jax.sharding.get_abstract_mesh().axis_names:
        return attend(query, key, value, seen)
    rows = ("data", "fsdp")
    heads = PartitionSpec(rows, None, "tensor")
    return jax.shard_map(
        attend,
        in_specs=(heads, heads, heads, PartitionSpec(rows)),
        out_specs=heads,
        check_vma=False,  # the kernel does not declare along which axes its results vary
    )(query, key, value, seen)


def blocks(num_frames: int) -> tuple[int, int]:
    """Divides T frames into the fewest blocks of one size.

    Returns:
      (number of blocks, frames of a block, a multiple of 128); their product is at least T.
    """
    count = -(-num_frames // LONGEST_BLOCK)
    return count, -(-num_frames // (count * LANES)) * LANES


def _attend(query, key, value, seen, *, interpret):
    num_frames, num_heads, size = query.shape[1:]
    count, block = blocks(num_frames)
    missing = count * block - num_frames

    def by_head(x):
        return jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0))).swapaxes(1, 2)

    mask = splash_attention.FullMask((count * block, count * block))
    attend = splash_attention.make_splash_mha(
        splash_attention.MultiHeadMask([mask] * num_heads),
        block_sizes=splash_attention.BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            use_fused_bwd_kernel=True,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )

    def row(query, key, value, segments):
        everyone = jnp.full_like(segments, _REAL)
        return attend(query, key, value, splash_attention.SegmentIds(everyone, segments))

    segments = jnp.pad(
        jnp.where(seen, _REAL, _PADDING), ((0, 0), (0, missing)), constant_values=_PADDING
    )
    mixed = jax.vmap(row)(by_head(query * size**-0.5), by_head(key), by_head(value), segments)
    return mixed.swapaxes(1, 2)[:, :num_frames]
