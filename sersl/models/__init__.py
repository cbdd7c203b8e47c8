"""Frontends, encoders, pooling and heads as Flax NNX modules."""
