"""Classifiers on statistics of the audio, in the workdir of a fine-tuning run."""
