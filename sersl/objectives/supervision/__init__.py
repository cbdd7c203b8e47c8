"""Losses of fine-tuning beside cross-entropy and concordance."""
