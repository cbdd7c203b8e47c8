"""Evaluation protocols: the folds, and the proof that no fold leaks."""
