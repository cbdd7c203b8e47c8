"""Predictions of a model, metrics, confidence intervals and the report."""
