"""Room 6: frontends, encoders, pooling and heads as Flax NNX modules."""
